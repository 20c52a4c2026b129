"""Compiles one Triton kernel for an H200, without a GPU, into TRITON_CACHE_DIR.

`tree_triton.py NUMBER`: the kernel adds NUMBER, so another number is another kernel.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,type-arg"

import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def add_number(x, n, number: tl.constexpr, block: tl.constexpr):
    offsets = tl.program_id(0) * block + tl.arange(0, block)
    mask = offsets < n
    tl.store(x + offsets, tl.load(x + offsets, mask=mask) + number, mask=mask)


triton.compile(
    ASTSource(
        add_number,
        {"x": "*fp32", "n": "i32", "number": "constexpr", "block": "constexpr"},
        {(2,): int(sys.argv[1]), (3,): 128},
    ),
    target=GPUTarget("cuda", 90, 32),
)
