"""Compile the null device's libraries, once for each state of their sources.

Six shared objects over one core, by `cc` alone: no CUDA header, no CUDA library. Stubs for every
documented symbol that no source defines are generated from `native/symbols/*.txt`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.locks import try_lock

NATIVE = Path(__file__).parent / "native"
CORE_SOURCES = ("core.c", "memory.c", "streams.c", "modules.c")
_FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
_TIMEOUT_S = 120.0
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Library:
    """One library to claim to be. soname: how a program asks for it. source: its own file.

    symbols: file of names to stub. version: the ELF symbol version that programs ask for, "" where
    the real one has none. defines: for the compiler. links: other null libraries that it calls.
    """

    soname: str
    source: str
    symbols: str
    version: str = ""
    defines: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


LIBRARIES = (
    Library("libcuda.so.1", "cuda.c", "libcuda.txt"),
    Library(
        "libcudart.so.13",
        "cudart.c",
        "libcudart.txt",
        version="libcudart.so.13",
        links=("libcuda.so.1",),
    ),
    Library("libcublas.so.13", "cublas.c", "libcublas.txt", version="libcublas.so.13"),
    Library(
        "libcublasLt.so.13",
        "cublas.c",
        "libcublasLt.txt",
        version="libcublasLt.so.13",
        defines=("-DLT",),
    ),
    Library("libnccl.so.2", "nccl.c", "libnccl.txt"),
    Library("libnvidia-ml.so.1", "nvml.c", "libnvidia-ml.txt"),
)
CORE = "libwarmup_null.so"
PROGRAMS = "bin"  # beside the libraries


def get_source_hash() -> str:
    """16 hex digits over names and contents of all that is compiled."""
    digest = hashlib.sha256()
    for path in sorted(NATIVE.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(NATIVE)}\0".encode() + path.read_bytes() + b"\0")
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:16]


def build_libraries(state: Path) -> Path:
    """The folder that holds the libraries, and PROGRAMS, under `state`; made where it is missing.

    Raises HostError: no compiler, or what it said.
    """
    name = get_source_hash()
    with Folder.open(state, create=True) as folder:
        built = state / name
        if built.is_dir():
            return built
        lock = try_lock(folder, f"{name}.lock", patience_s=_PATIENCE_S)
        if lock is None:
            raise HostError(f"another process compiles the null device in {folder.path}")
        with lock:
            if not built.is_dir():
                _build(folder, name)
    return built


def _build(folder: Folder, name: str) -> None:
    """In a folder beside the final one, renamed when whole: a killed build leaves no half."""
    aside = f"{name}.tmp"
    folder.remove(aside)
    with folder.open_folder(aside, create=True) as inside:
        out = inside.path
        _write_versions_header(out)
        _compile([str(NATIVE / source) for source in CORE_SOURCES], out, CORE, ("-lpthread",))
        for library in LIBRARIES:
            _build_library(library, out)
        (out / PROGRAMS).mkdir()
        program = out / PROGRAMS / "nvidia-smi"
        shutil.copyfile(NATIVE / program.name, program)
        program.chmod(0o755)  # an installed package need not have kept it
    folder.rename(aside, name)


def _build_library(library: Library, out: Path) -> None:
    stubs = out / f"{library.soname}.stubs.c"
    stubs.write_text(make_stubs(library))
    flags = [*library.defines, f"-I{out}", f"-L{out}", "-Wl,-rpath,$ORIGIN", "-lwarmup_null"]
    flags += [f"-l:{link}" for link in library.links]
    if library.version:
        script = out / f"{library.soname}.map"
        script.write_text(f"{library.version} {{ global: cu*; __cuda*; local: *; }};\n")
        flags.append(f"-Wl,--version-script={script}")
    sources = [str(NATIVE / library.source), str(stubs)]
    _compile(sources, out, library.soname, (*flags, "-ldl", "-lpthread"))


def make_stubs(library: Library) -> str:
    """C source of a weak definition for each listed symbol: one that a source defines wins."""
    names = (NATIVE / "symbols" / library.symbols).read_text().split()
    head = "int null_stub_result(const char *symbol);\n"
    attributes = '__attribute__((weak, visibility("default")))'
    return head + "".join(
        f'{attributes} int {name}(void) {{ return null_stub_result("{name}"); }}\n'
        for name in names
    )


def _write_versions_header(out: Path) -> None:
    rows = (NATIVE / "symbols" / "libcuda.versions.txt").read_text().splitlines()
    listed = "".join(
        f'    {{"{name}", {first}, "{symbol}"}},\n'
        for name, first, symbol in (row.split() for row in rows)
    )
    text = (
        "static const struct { const char *name; int first; const char *symbol; } versions[] = {\n"
    )
    (out / "versions.h").write_text(f"{text}{listed}}};\n")


def _compile(sources: list[str], out: Path, soname: str, flags: tuple[str, ...]) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise HostError(
            "the null device cannot be compiled",
            cause="neither cc nor gcc is on PATH",
            hint="install a C compiler (Debian: apt-get install gcc libc6-dev)",
        )
    command = [
        compiler,
        *_FLAGS,
        f"-Wl,-soname,{soname}",
        "-o",
        str(out / soname),
        *sources,
        *flags,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise HostError(
            f"the null device cannot be compiled: {soname}",
            cause=(done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0],
            hint=f"{compiler} must be able to build a shared library",
        )
