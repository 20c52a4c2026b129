"""A tiny Qwen-Image-Edit: 64×64 by default, its language model a Qwen2.5-VL of two layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmup.engine.tiny.parts import (
    get_video_vae_sizes,
    make_qwen_tokenizer,
    seeded,
    strengthen,
    write_json,
    write_pipeline,
)


def make_qwen_config(tokenizer: Any) -> Any:
    """A Qwen2.5-VL config of two layers each for sight and language."""
    from transformers import Qwen2_5_VLConfig

    def token(word: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(word))

    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]
            },
            "bos_token_id": None, "eos_token_id": token("<|im_end|>"), "pad_token_id": None,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


class _Processor:
    """Writes what Qwen2VLProcessor would, which can't be made without torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        config = {
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor",
            "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2,
            "min_pixels": 56 * 56, "max_pixels": 12845056,
        }  # fmt: skip
        write_json(folder / "preprocessor_config.json", config)


def make(folder: Path) -> None:
    import diffusers
    import transformers

    tokenizer = make_qwen_tokenizer()
    with seeded():
        transformer = diffusers.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
        vae = diffusers.AutoencoderKLQwenImage(**get_video_vae_sizes())
        text_encoder = transformers.Qwen2_5_VLForConditionalGeneration(make_qwen_config(tokenizer))
    strengthen(transformer, vae)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192,
        shift_terminal=0.02, time_shift_type="exponential",
    )  # fmt: skip
    write_pipeline(
        folder,
        "QwenImageEditPipeline",
        {
            "transformer": ("diffusers", "QwenImageTransformer2DModel", transformer),
            "vae": ("diffusers", "AutoencoderKLQwenImage", vae),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", scheduler),
            "text_encoder": (
                "transformers",
                "Qwen2_5_VLForConditionalGeneration",
                text_encoder,
            ),
            "tokenizer": ("transformers", "Qwen2Tokenizer", tokenizer),
            "processor": ("transformers", "Qwen2VLProcessor", _Processor(tokenizer)),
        },
        {"width": 64, "height": 64, "num_inference_steps": 4},
    )
