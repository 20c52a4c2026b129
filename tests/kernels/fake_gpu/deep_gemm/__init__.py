"""As much of DeepGEMM as a worker asks for: it selects, and writes its cache as DeepGEMM does.

Every call is a line of `$FAKE_CALLS`. A shape whose N is `FAKE_DIES_AT` kills its process the
first time. `FAKE_SELECTS_AS`: the version as which it selects, not saying so. `FAKE_NVCC`: the
release in its keys.
"""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path
from typing import Any

from warmup.kernels.digest import CsrcKeys
from warmup.kernels.selection import Kernel, Selector
from warmup.kernels.shapes import Kind, Shape

__version__ = "0.2.5"
_SELECTS_AS = os.environ.get("FAKE_SELECTS_AS", __version__)
_KEYS = CsrcKeys(Path(__file__).parent / "include", os.environ.get("FAKE_NVCC", "13.0"))
_TYPES = {"NORMAL": "Normal", "CONTIG": "MGroupedContiguous", "MASKED": "MGroupedMasked"}
_num_sms = 0
_selectors: dict[tuple[Shape, int], Selector] = {}


def set_num_sms(num_sms: int) -> None:
    global _num_sms
    _num_sms = num_sms


def fp8_gemm_nt(a: Any, b: Any, d: Any, c: Any = None, compiled_dims: str = "") -> None:
    _build("NORMAL", a[0].shape[0], b[0].shape, 1)


def m_grouped_fp8_gemm_nt_contiguous(
    a: Any, b: Any, d: Any, layout: Any, compiled_dims: str = "nk"
) -> None:
    assert a[0].shape[0] % 128 == 0 and layout.shape == a[0].shape[:1]
    _build("CONTIG", a[0].shape[0], b[0].shape[1:], b[0].shape[0])


def fp8_m_grouped_gemm_nt_masked(
    a: Any, b: Any, d: Any, masked_m: Any, expected_m: int, compiled_dims: str = "nk"
) -> None:
    _build("MASKED", expected_m, b[0].shape[1:], b[0].shape[0])


def _build(kind: Kind, m: int, sizes: Any, groups: int) -> None:
    n, k = sizes
    shape = Shape(kind, n, k, groups)
    key = (shape, _num_sms)
    selector = _selectors.setdefault(key, Selector(shape, _num_sms, version=_SELECTS_AS))
    build(shape, m, _make_source(selector.select(m)))


def _make_source(kernel: Kernel) -> str:
    """As upstream prints it, as far as it is read back (warmup/kernels/check.py)."""
    blocks = f"{kernel.block_m}, {kernel.block_n}, 128, 128, 128, 64"
    on_a = str(kernel.is_multicast_on_a).lower()
    rest = f"{kernel.stages}, 128, 256, {kernel.cluster}, {on_a}, {kernel.num_sms}"
    sizes = f"0, {kernel.n}, {kernel.k}, {kernel.groups}"
    kind = f"GemmType::{_TYPES[kernel.kind]}"
    return f"(&sm90_fp8_gemm_1d2d_impl<Major::K, {sizes}, {blocks}, {rest}, {kind}>);"


def build(shape: Shape, m: int, text: str) -> None:
    """text: the kernel's source."""
    with Path(os.environ["FAKE_CALLS"]).open("a") as calls:
        calls.write(f"{shape} m={m}\n")
    mark = Path(os.environ["FAKE_CALLS"] + ".died")
    if str(shape.n) == os.environ.get("FAKE_DIES_AT") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    root = Path(os.environ["DG_JIT_CACHE_DIR"])
    name = f"sm90_{shape.kind}"
    entry = root / "cache" / f"kernel.{name}.{_KEYS.get_digest(name, text.encode())}"
    if entry.exists():
        return
    building = root / "tmp" / uuid.uuid4().hex
    building.mkdir(parents=True)
    (building / "kernel.cu").write_text(text)
    (building / "kernel.cubin").write_text("cubin")
    building.rename(entry)
