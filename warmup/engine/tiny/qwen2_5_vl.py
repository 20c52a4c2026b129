"""A tiny random Qwen2.5-VL in Hugging Face layout: model, tokenizer, image processor.

`python -m warmup.engine.tiny.qwen2_5_vl DIR` writes it, offline, the same weights each time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Sizes in pixels of area. The largest image is 8×8 merged patches: 64 tokens.
MIN_PIXELS = 56 * 56
MAX_PIXELS = 28 * 28 * 64
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,  # large, so that the answer depends on every token of the prompt
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}


def make(folder: Path, *, seed: int = 0, **text: Any) -> None:
    """Write the model to `folder`, made if missing; about 1 MB, float32.

    text: fields of the text model's config in place of these.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = make_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, **text, **get_text_ids(tokenizer)},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": {**TEXT, **text}["hidden_size"],
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.2,
        },
        **get_image_ids(tokenizer),
    )
    write(folder, Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed)


def write(folder: Path, model_class: Any, config: Any, tokenizer: Any, seed: int) -> None:
    """The checkpoint of `model_class(config)` and what a server of it reads beside it."""
    import torch
    from transformers import GenerationConfig
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
        for weight in model.parameters():
            if weight.dim() == 1:  # norms and biases: no two alike, so that none can be mixed up
                weight.data += torch.randn_like(weight) * 0.1
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
        do_sample=False,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    Qwen2VLImageProcessorPil(size=size).save_pretrained(folder)


def make_tokenizer() -> Any:
    """One token per byte and no merges: 256 bytes and the special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from warmup.engine.vlm.tokens import CHAT_TEMPLATE

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )


def get_text_ids(tokenizer: Any) -> dict[str, int]:
    """Vocabulary rounded up to a multiple of 8, so that tensor parallel sizes divide it."""
    return {
        "vocab_size": -(-len(tokenizer) // 8) * 8,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def get_image_ids(tokenizer: Any) -> dict[str, int]:
    to_id = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": to_id("<|image_pad|>"),
        "video_token_id": to_id("<|video_pad|>"),
        "vision_start_token_id": to_id("<|vision_start|>"),
        "vision_end_token_id": to_id("<|vision_end|>"),
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]))
