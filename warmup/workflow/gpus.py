"""Which GPUs a server gets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.words.errors import WarmupError


def get_visible(env: Mapping[str, str], indices: Sequence[int]) -> tuple[str, ...]:
    """The devices a server may use: CUDA_VISIBLE_DEVICES where it is set, else all of `indices`.

    Names are kept as they are written there: an index, or a `GPU-…`/`MIG-…` uuid.
    """
    said = env.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return tuple(str(index) for index in indices)
    if not indices:
        return ()
    return tuple(name.strip() for name in said.split(",") if name.strip())


def assign(tp: int, visible: Sequence[str], *, is_required: bool) -> str:
    """The first `tp` visible devices, comma-separated; "" on a host without any.

    is_required: whether a server of this engine needs one GPU a rank (`command` may not).
    Raises WarmupError where the host has GPUs, but too few.
    """
    if is_required and visible and len(visible) < tp:
        raise WarmupError(
            f"needs {tp} GPUs",
            cause=f"this host shows {len(visible)}: {', '.join(visible)}",
            hint="lower TP, or free CUDA_VISIBLE_DEVICES",
        )
    return ",".join(visible[:tp])
