"""A tiny Flux 2: 64×64 by default, its language model a Mistral of four layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmup.engine.tiny.parts import get_byte_alphabet, seeded, strengthen, write_pipeline

_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}[/{{ message['role'] }}]"
    "{% endfor %}"
)


def _make_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", *get_byte_alphabet()]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
        chat_template=_CHAT_TEMPLATE,
    )


def make(folder: Path) -> None:
    import diffusers
    import transformers

    tokenizer = _make_tokenizer()
    language = {
        "model_type": "mistral", "vocab_size": len(tokenizer), "hidden_size": 16,
        "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
    }  # fmt: skip
    config = transformers.Mistral3Config(text_config=language, vision_config=vision)
    with seeded():
        transformer = diffusers.Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=48, timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
        )  # fmt: skip
        vae = diffusers.AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4,
            layers_per_block=1, sample_size=64,
        )  # fmt: skip
        text_encoder = transformers.Mistral3ForConditionalGeneration(config)
    strengthen(transformer, vae)
    write_pipeline(
        folder,
        "Flux2Pipeline",
        {
            "transformer": ("diffusers", "Flux2Transformer2DModel", transformer),
            "vae": ("diffusers", "AutoencoderKLFlux2", vae),
            "scheduler": (
                "diffusers",
                "FlowMatchEulerDiscreteScheduler",
                diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            ),
            "text_encoder": ("transformers", "Mistral3ForConditionalGeneration", text_encoder),
            "tokenizer": ("transformers", "PixtralProcessor", tokenizer),
        },
        {"num_inference_steps": 4},
    )
