"""A tiny random text model in Hugging Face layout: Llama, a trained tokenizer, a chat template.

`python -m warmup.engine.tiny.text DIR` writes it, offline, the same weights each time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>")
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
_CORPUS = (
    "a runner is warm for a model when starting its server compiles nothing",
    "user: warmup\nassistant: the server is fired up and ready to roll",
    "system: cold caches are filled once, before the tests, and held to account after",
)


def make(folder: Path, *, seed: int = 0, **sizes: int) -> None:
    """Write the model to `folder`, made if missing; about 300 KB, float32.

    sizes: fields of its config.json in place of these.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = _make_tokenizer()
    default = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**default, **sizes},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
        do_sample=False,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_tokenizer() -> Any:
    """Byte-level BPE: every text has tokens, and every token text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    pad, begin, end = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        chat_template=_CHAT_TEMPLATE,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
