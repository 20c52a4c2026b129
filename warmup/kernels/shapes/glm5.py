"""GLM-5: DeepSeek's latent and sparse attention with sizes of its own.

Facts: sglang 0.5.22 and 0.5.23, srt/models/glm4_moe.py (GlmMoeDsaForCausalLM is a
DeepseekV2ForCausalLM); transformers 5.23, models/glm_moe_dsa.
"""

from __future__ import annotations

from warmup.kernels.products import Products
from warmup.kernels.shapes.deepseek import derive_mla, derive_mlps

name = "glm5"
classes = ("GlmMoeDsaForCausalLM",)
model_types = ("glm_moe_dsa",)


def derive(products: Products) -> None:
    derive_mla(products)
    derive_mlps(products, classes)
