"""The vision-language families that are served, by the `architectures` of their config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmup.engine.model_files import read_json
from warmup.words.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """What transformers calls the family's classes, and how its checkpoints name things.

    vision_up, vision_down: the linears of the vision encoder's MLP, into and out of its width.
    renames: from the start of a released checkpoint's tensor names to transformers' modules; the
    first that fits.
    """

    config_class: str
    model_class: str
    vision_up: tuple[str, ...]
    vision_down: str
    renames: tuple[tuple[str, str], ...]


_QWEN_RENAMES = (
    ("model.visual.", "model.visual."),
    ("model.language_model.", "model.language_model."),
    ("visual.", "model.visual."),
    ("model.", "model.language_model."),
)
FAMILIES = {
    "Qwen2_5_VLForConditionalGeneration": Architecture(
        "Qwen2_5_VLConfig",
        "Qwen2_5_VLForConditionalGeneration",
        ("gate_proj", "up_proj"),
        "down_proj",
        _QWEN_RENAMES,
    ),
    "Qwen2VLForConditionalGeneration": Architecture(
        "Qwen2VLConfig", "Qwen2VLForConditionalGeneration", ("fc1",), "fc2", _QWEN_RENAMES
    ),
}


def read_model(folder: Path) -> tuple[Architecture, Any]:
    """What transformers calls a folder's model, and its config object, from one reading.

    Raises `UsageError` naming config.json for a model or a value that is not served.
    """
    import transformers

    path = folder / "config.json"
    content = read_json(path)
    names = content.get("architectures")
    known = [name for name in names if name in FAMILIES] if isinstance(names, list) else []
    if not known:
        raise UsageError(
            f"{path}: the reference engine does not serve {names}",
            hint=f"it serves {', '.join(FAMILIES)};"
            " engines sglang, vllm and transformers serve others",
        )
    family = FAMILIES[known[0]]
    try:
        config = getattr(transformers, family.config_class).from_dict(content)
    except Exception as error:  # of many kinds: whatever a config's own checks raise
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"{path} is not a {family.config_class}",
            cause=reason[0] if reason else type(error).__name__,
        ) from error
    _refuse_unserved(config.text_config, path)
    return family, config


def _refuse_unserved(text: Any, path: Path) -> None:
    """What would be computed wrongly is not computed."""
    rope = (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default")
    found = {
        "hidden_act": (text.hidden_act, text.hidden_act == "silu"),
        "use_sliding_window": (text.use_sliding_window, not text.use_sliding_window),
        "rope_type": (rope, rope not in ("dynamic", "longrope")),
    }
    for name, (value, is_served) in found.items():
        if not is_served:
            raise UsageError(f"{path}: {name} {value!r} is not served by the reference engine")


def check_tp(config: Any, tp: int) -> None:
    """Raises `UsageError` where `tp` ranks cannot share this model evenly."""
    text = config.text_config
    sizes = {
        "num_attention_heads": text.num_attention_heads,
        "intermediate_size": text.intermediate_size,
        "vocab_size": text.vocab_size,
    }
    for name, size in sizes.items():
        if size % tp:
            raise UsageError(f"--tp {tp} does not divide {name} {size} of the model")
    heads = text.num_key_value_heads
    if heads % tp and tp % heads:
        raise UsageError(f"--tp {tp} neither divides nor is a multiple of the {heads} KV heads")


def get_max_len(config: Any, wished: int) -> int:
    """Tokens of one request: as wished, and no more than the model was made for."""
    return min(wished, int(config.text_config.max_position_embeddings))
