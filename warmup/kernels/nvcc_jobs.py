"""Build one DeepGEMM cache entry from its source: the handler of a compile worker (`start`).

As DeepGEMM does (csrc/jit/compiler.hpp): in a temporary folder, synced, then renamed whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT_S = 900


def start(args: list[str]) -> Callable[[dict[str, Any]], Any]:
    """args: the folder to build in, on the file system of the cache."""
    building = Path(args[0]) / f"build-{os.getpid()}"

    def handle(payload: dict[str, Any]) -> Any:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        build(building, payload["source"], payload["argv"], payload["files"])
        publish(building, Path(payload["entry"]))
        return payload["entry"]

    return handle


def build(folder: Path, source: str, argv: list[str], files: dict[str, str]) -> None:
    """argv: nvcc's, with {folder} where it reads kernel.cu and writes kernel.cubin.

    Raises RuntimeError with nvcc's last lines.
    """
    (folder / "kernel.cu").write_bytes(source.encode("utf-8", "surrogateescape"))
    command = [arg.replace("{folder}", str(folder)) for arg in argv]
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT_S,
        check=False,
    )
    cubin = folder / "kernel.cubin"
    if done.returncode or not cubin.is_file() or not cubin.stat().st_size:
        told = done.stdout.decode("utf-8", "replace").strip()[-1500:]
        raise RuntimeError(f"nvcc ended with {done.returncode}: {told}")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def publish(folder: Path, entry: Path) -> None:
    """Rename the finished folder to its entry; another's that is there already is as good."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    try:
        folder.rename(entry)
    except OSError:
        if not (entry / "kernel.cubin").is_file():
            raise
        shutil.rmtree(folder)
