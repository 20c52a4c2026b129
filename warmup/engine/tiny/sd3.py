"""A tiny Stable Diffusion 3: all nine components, 64×64 by default."""

from __future__ import annotations

from pathlib import Path

from warmup.engine.tiny.parts import (
    make_clip_tokenizer,
    make_t5_tokenizer,
    seeded,
    strengthen,
    write_pipeline,
)


def make(folder: Path) -> None:
    import diffusers
    import transformers

    clip, t5 = make_clip_tokenizer(), make_t5_tokenizer()
    clip_config = transformers.CLIPTextConfig(
        vocab_size=len(clip), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=16,
        bos_token_id=clip.bos_token_id, eos_token_id=clip.eos_token_id,
        pad_token_id=clip.pad_token_id,
    )  # fmt: skip
    t5_config = transformers.T5Config(
        vocab_size=len(t5), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    with seeded():
        transformer = diffusers.SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
            attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
            caption_projection_dim=16, pooled_projection_dim=32, pos_embed_max_size=64,
        )  # fmt: skip
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=64, scaling_factor=1.5305, shift_factor=0.0609,
            use_quant_conv=False, use_post_quant_conv=False,
        )  # fmt: skip
        text_encoders = [transformers.CLIPTextModelWithProjection(clip_config) for _ in range(2)]
        text_encoder_3 = transformers.T5EncoderModel(t5_config)
    strengthen(transformer, vae)
    clip_class = "CLIPTextModelWithProjection"
    write_pipeline(
        folder,
        "StableDiffusion3Pipeline",
        {
            "transformer": ("diffusers", "SD3Transformer2DModel", transformer),
            "vae": ("diffusers", "AutoencoderKL", vae),
            "scheduler": (
                "diffusers",
                "FlowMatchEulerDiscreteScheduler",
                diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            ),
            "text_encoder": ("transformers", clip_class, text_encoders[0]),
            "text_encoder_2": ("transformers", clip_class, text_encoders[1]),
            "text_encoder_3": ("transformers", "T5EncoderModel", text_encoder_3),
            "tokenizer": ("transformers", "CLIPTokenizer", clip),
            "tokenizer_2": ("transformers", "CLIPTokenizer", clip),
            "tokenizer_3": ("transformers", "T5TokenizerFast", t5),
        },
        {"num_inference_steps": 4},
    )
