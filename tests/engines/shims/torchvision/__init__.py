"""torchvision as PyPI has it, built for CUDA, beside a CPU build of torch: its operators cannot be
loaded, and its own Python asks for two of them while it is imported. They are declared here, never
computed; what sglang does on a CPU (resize, normalise) is Python.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

_here = str(Path(__file__).resolve().parents[1])
_spec = PathFinder.find_spec(
    __name__, [path for path in sys.path if str(Path(path).resolve()) != _here]
)
assert _spec is not None and _spec.loader is not None
_real = importlib.util.module_from_spec(_spec)
sys.modules[__name__] = _real
_spec.loader.exec_module(_real)
