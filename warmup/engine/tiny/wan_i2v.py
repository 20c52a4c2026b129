"""A tiny Wan 2.1 image to video: 64×64, 9 frames by default."""

from __future__ import annotations

from pathlib import Path

from warmup.engine.tiny.parts import (
    get_video_vae_sizes,
    make_t5_tokenizer,
    seeded,
    strengthen,
    write_pipeline,
)


def make(folder: Path) -> None:
    import diffusers
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = make_t5_tokenizer()
    text_config = transformers.UMT5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    vision_config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=16, projection_dim=16,
    )  # fmt: skip
    with seeded():
        transformer = diffusers.WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=12, out_channels=4,
            text_dim=32, freq_dim=32, ffn_dim=32, num_layers=2, image_dim=16,
            added_kv_proj_dim=24, rope_max_seq_len=64,
        )  # fmt: skip
        vae = diffusers.AutoencoderKLWan(**get_video_vae_sizes())
        text_encoder = transformers.UMT5EncoderModel(text_config)
        image_encoder = transformers.CLIPVisionModel(vision_config)
    strengthen(transformer, vae)
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    write_pipeline(
        folder,
        "WanImageToVideoPipeline",
        {
            "transformer": ("diffusers", "WanTransformer3DModel", transformer),
            "vae": ("diffusers", "AutoencoderKLWan", vae),
            "scheduler": ("diffusers", "UniPCMultistepScheduler", scheduler),
            "text_encoder": ("transformers", "UMT5EncoderModel", text_encoder),
            "tokenizer": ("transformers", "T5TokenizerFast", tokenizer),
            "image_encoder": ("transformers", "CLIPVisionModel", image_encoder),
            "image_processor": ("transformers", "CLIPImageProcessor", image_processor),
        },
        {"width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 4},
    )
