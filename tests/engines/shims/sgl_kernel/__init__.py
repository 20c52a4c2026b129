"""sglang's own kernels, which PyPI has built for CUDA alone. Its CPU server asks for a few by name
while it is imported and, with `torch_native` attention, calls none of them for a model like ours:
each says so, should it be called.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def is_not_here(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name} has no CPU build on PyPI")

    return is_not_here


class _Operators:
    """`torch.ops.sgl_kernel`. Of an operator that is there sglang registers shapes: those of other
    devices are not."""

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("_cpu"):
            raise AttributeError(name)
        return __getattr__(name)


torch.ops.sgl_kernel = _Operators()
