"""The null device's libraries, compiled once a session, and programs that load them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from warmup.target.build import build_libraries
from warmup.target.profile import encode_profile, parse_target

HEAD = """
import ctypes, os
L = os.environ["NULL_LIBRARIES"]
def load(name):
    return ctypes.CDLL(f"{L}/{name}", mode=ctypes.RTLD_GLOBAL)
cudart, cuda = load("libcudart.so.13"), load("libcuda.so.1")
P, S, I, F = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_float
cudart.cudaMalloc.argtypes = [P, S]
cudart.cudaFree.argtypes = [P]
cudart.cudaMemcpy.argtypes = [P, P, S, I]
cudart.cudaMemset.argtypes = [P, I, S]
cudart.cudaGetErrorName.restype = ctypes.c_char_p
def ref(value):
    return ctypes.byref(value)
def malloc(size):
    at = P()
    assert cudart.cudaMalloc(ref(at), size) == 0
    return at
"""


@cache
def get_libraries() -> Path:
    """In a folder of this process's own; it is removed with the session's temporary files."""
    return build_libraries(Path(mkdtemp(prefix="null-device-")))


def run(code: str, folder: Path, target: str = "h200x8") -> str:
    """What a program prints that has the libraries loaded (`HEAD`'s names)."""
    profile = folder / "profile"
    profile.write_text(encode_profile(parse_target(target)))
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        env={
            "NULL_LIBRARIES": str(get_libraries()),
            "WARMUP_CI_NULL_PROFILE": str(profile),
            "WARMUP_CI_NULL_TRACE": str(folder / "trace"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
