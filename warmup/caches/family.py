"""What a JIT cache family is: where it lives, what one entry is, what its key holds.

A family is data plus small pure functions over relative paths, so that one walker
(`warmup.caches.walk`) serves them all. One family has several roots, because the engines put
the same kernels in different places: with no variable set, a plain Triton program writes
`~/.triton/cache` and sglang 0.5.23 writes `~/.cache/sglang/triton`
(sglang/srt/environ.py, `third_party_cache_defaults`).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warmup.words.locations import expand, get_cache_home

Env = Mapping[str, str]

# Written by ninja, locks and editors beside the artifacts; rewritten by runs that compile nothing.
VOLATILE_NAMES = frozenset({".ninja_log", ".ninja_deps", ".ninja_lock", "lock", "index"})
# One search of the whole path: this is asked of every file.
TEMPORARY = re.compile(
    r"(?:^|/)(?:tmp\.pid_|\.staging[-/]|\.tmp|tmp[a-z0-9_]{8}(?:/|$))|\.tmp(?:[./]|$)"
)

TUNING_SUFFIXES = (".autotune.json", ".best_config")

# Ingredients that several families share: of what calls into Python or runs on the host, of what
# nvcc compiles.
HOST_CODE = ("python", "machine", "compute_capability", "source")
NVCC = ("nvcc", "nvcc_path", "cuda_home")
# Compilers of host code; exact, since as prefixes they would match anything.
HOST_COMPILERS = ("CC", "CXX", "CFLAGS", "CXXFLAGS")


def never(path: str) -> bool:
    """Of a family without temporaries under a name that we know, or without stores."""
    return False


def find_tuning(path: str) -> str | None:
    """What an autotuner's result is about, as `tuning of add_kernel`; None for any other file.

    Not code, but what was measured on one GPU: whoever finds it skips the timings, and with them
    the kernels of all candidates but the best. It is trusted wherever it was measured, so none may
    go into caches that were made without the GPU. Triton (3.9.0, runtime/autotuner.py,
    `check_disk_cache`) writes `<function>.autotune.json` in a folder of its own, under a key of
    sources, options and candidates. Inductor (torch 2.13, runtime/autotune_cache.py) writes
    `<hash>.best_config` beside the source that the hash is of. Each is an entry of its own.
    """
    name = path.rpartition("/")[2]
    for suffix in TUNING_SUFFIXES:
        if name.endswith(suffix):
            return f"tuning of {name.removesuffix(suffix)}"
    return None


def get_user(env: Env) -> str:
    """`getpass.getuser()` as a process with this environment would see it (CPython 3.13)."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if env.get(name):
            return env[name]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid_{os.getuid()}"


def get_temp_dir(env: Env) -> Path:
    """`tempfile.gettempdir()` as a process with this environment would see it."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        if env.get(name) and Path(env[name]).is_dir():
            return Path(env[name])
    return Path("/tmp")


def get_sglang_cache(env: Env) -> Path:
    """`SGLANG_CACHE_DIR` (sglang 0.5.23, srt/environ.py): all of its caches live under it."""
    return get_places(env, "SGLANG_CACHE_DIR", "~/.cache/sglang")[0]


def get_vllm_cache(env: Env) -> Path:
    """`VLLM_CACHE_ROOT`, else `$XDG_CACHE_HOME/vllm` (vllm 0.33.0, envs.py)."""
    return get_places(env, "VLLM_CACHE_ROOT", get_cache_home(env) / "vllm")[0]


def get_places(env: Env, variable: str, *defaults: str | Path) -> tuple[Path, ...]:
    """Where the variable puts a family, else where it lies by default."""
    said = env.get(variable)
    return unique([expand(str(each), env) for each in ((said,) if said else defaults)])


def unique(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Without repetitions, in order."""
    return tuple(dict.fromkeys(paths))


def is_temporary_path(path: str) -> bool:
    """Whether any part of the path looks like the temporary of an atomic write."""
    return TEMPORARY.search(path) is not None


def find_file_entry(path: str) -> str | None:
    """Families where every file is an entry of its own."""
    name = path.rpartition("/")[2]
    if name in VOLATILE_NAMES or name.endswith(".lock") or is_temporary_path(path):
        return None
    return path


def find_folder_entry(path: str) -> str | None:
    """Families where the folder that holds a file is the entry."""
    folder, _, name = path.rpartition("/")
    if not folder or name in VOLATILE_NAMES or name.endswith(".lock") or is_temporary_path(path):
        return None
    return folder


def get_last_part(root: Path, entry: str, names: Sequence[str]) -> str:
    """`get_kernel` where the entry's own name is all there is."""
    return find_tuning(entry) or entry.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One JIT cache family.

    variables: environment variables that move it, the strongest first.
    get_roots(env): folders where a server may look or write under `env`, strongest first.
    get_variables(root): variables that put the whole family into one folder, at or below `root`:
        a pack lays a family out in one.
    find_entry(path): the entry (path relative to the root, a folder or a file) that a file
        belongs to; None for what is not one: locks, logs, temporaries.
    is_temporary(path): left behind by an interrupted atomic write.
    get_kernel(root, entry, names): the kernel's name for a human; `names` are the entry's files.
    ingredients: what can invalidate it, in words of `warmup.state.version_vector`: what its key
        holds, or ought to; more rather than less. "source": the engine's own code.
    env_names: variables that change what it compiles; `TRITON_*` stands for all of that prefix.
    is_relocatable: whether a copy at another path is used. repair: what to do when it is not.
    is_atomic: whether readers see an entry whole or not at all.
    touched: file names whose mtime a mere hit moves, so that it proves nothing.
    is_store(name): a file, by its name in the entry, that servers write anew though they compile
        nothing, with what they have to add: a manifest binds that it is there, and no more.
    find_tuning(path): what an autotuner's result is about, as `tuning of add_kernel`; None for
        any other file.
    log_variables: what makes a server say that it compiles. compile_line: a regular
        expression of how it then says so; compiled when a log is read, not when this is.
    monitor_line: likewise, of an engine's monitor that says so of loads from disk, too.
    """

    name: str
    variables: tuple[str, ...]
    get_roots: Callable[[Env], tuple[Path, ...]]
    get_variables: Callable[[Path], dict[str, str]]
    find_entry: Callable[[str], str | None]
    get_kernel: Callable[[Path, str, Sequence[str]], str] = get_last_part
    ingredients: tuple[str, ...]
    env_names: tuple[str, ...]
    is_relocatable: bool
    repair: str
    is_atomic: bool
    is_temporary: Callable[[str], bool] = is_temporary_path
    touched: frozenset[str] = frozenset()
    is_store: Callable[[str], bool] = never
    find_tuning: Callable[[str], str | None] = find_tuning
    log_variables: dict[str, str] = field(default_factory=dict)
    compile_line: bytes = b""
    monitor_line: bytes = b""

    @property
    def has_stores(self) -> bool:
        return self.is_store is not never

    def is_touched(self, name: str) -> bool:
        """Whether this file's mtime says nothing of its content."""
        return name.rpartition("/")[2] in self.touched or self.is_store(name)

    def is_changed_by(self, variable: str) -> bool:
        """Whether this variable of a server's environment is one of `env_names`."""
        return any(
            variable.startswith(name[:-1]) if name.endswith("*") else variable == name
            for name in self.env_names
        )
