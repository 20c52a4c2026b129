"""A tiny random Qwen2-VL in Hugging Face layout; see qwen2_5_vl.py for what it shares.

`python -m warmup.engine.tiny.qwen2_vl DIR` writes it, offline, the same weights each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from warmup.engine.tiny import qwen2_5_vl


def make(folder: Path, *, seed: int = 0) -> None:
    """Write the model to `folder`, made if missing; about 1 MB, float32."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer = qwen2_5_vl.make_tokenizer()
    config = Qwen2VLConfig(
        text_config={**qwen2_5_vl.TEXT, **qwen2_5_vl.get_text_ids(tokenizer)},
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": qwen2_5_vl.TEXT["hidden_size"],
            "mlp_ratio": 2,
            "num_heads": 2,
            "initializer_range": 0.2,
        },
        tie_word_embeddings=True,  # as the 2B has it, so that tied heads are tried as well
        **qwen2_5_vl.get_image_ids(tokenizer),
    )
    qwen2_5_vl.write(folder, Qwen2VLForConditionalGeneration, config, tokenizer, seed)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
