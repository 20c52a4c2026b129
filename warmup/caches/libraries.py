"""Where the dynamic loader of a server would find a library (ld.so(8)).

And what a server may have loaded by then: the libraries of the packages that its interpreter has,
which then serve whoever needs one of their names.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from warmup.caches.elf import Needs
from warmup.words.files import read_head

# The driver's, of which a host that only builds has none; `doctor` looks for a driver.
_OF_DRIVER = re.compile(r"lib(cuda|nvidia-[a-z-]+|nvcuvid)\.so(\.\d+)*")
_SYSTEM = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"  # elf/cache.c of glibc 2.36: 48 bytes, then 24 an entry
_CACHE_ENTRY = struct.Struct("<iIIIQ")
_MAX_CACHE_BYTES = 64 << 20


class Libraries:
    """Each is looked for once.

    env: of servers. cuda_home: "" where there is none. packages: folders where the servers'
    interpreters look for packages.
    """

    def __init__(self, env: Mapping[str, str], cuda_home: str, packages: Sequence[str]) -> None:
        self._env, self._cuda_home, self._packages = env, cuda_home, packages
        self._found: dict[str, bool] = {}

    def list_missing(self, needs: Needs, origin: str) -> list[str]:
        """Needed libraries that are nowhere. origin: the folder of the one that needs them."""
        own = [
            folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
            for folder in needs.runpath or needs.rpath
        ]
        return [name for name in needs.libraries if not self._is_there(name, own)]

    def _is_there(self, name: str, own: list[str]) -> bool:
        if _OF_DRIVER.fullmatch(name) is not None:
            return True
        if "/" in name:
            return Path(name).exists()
        if any(Path(folder, name).exists() for folder in own):
            return True
        if name not in self._found:
            self._found[name] = self.find(name) is not None or name in self._of_packages
        return self._found[name]

    def find(self, name: str) -> str | None:
        """Where the loader finds a library that nobody names a folder of."""
        paths = (*(f"{each}/{name}" for each in self._folders), *self._cached.get(name, []))
        return next((path for path in paths if Path(path).exists()), None)

    @cached_property
    def _folders(self) -> list[str]:
        said = self._env.get("LD_LIBRARY_PATH", "").split(":")
        toolkit = self._cuda_home and f"{self._cuda_home}/lib64"
        multiarch = [str(each) for each in Path("/usr/lib").glob("*-linux-gnu*")]
        return [folder for folder in (*said, toolkit, *_SYSTEM, *multiarch) if folder]

    @cached_property
    def _cached(self) -> Mapping[str, list[str]]:
        """Name → paths, as `ldconfig` wrote them down; empty where it did not."""
        data = read_head(_CACHE, _MAX_CACHE_BYTES)
        data = data[max(0, data.find(_CACHE_MAGIC)) :]
        found: dict[str, list[str]] = {}
        if not data.startswith(_CACHE_MAGIC):
            return found
        count = int.from_bytes(data[20:24], "little")
        table = data[48 : 48 + count * _CACHE_ENTRY.size]
        for _, *places, _, _ in _CACHE_ENTRY.iter_unpack(table):
            name, path = (os.fsdecode(data[at : data.find(b"\0", at)]) for at in places)
            found.setdefault(name, []).append(path)
        return found

    @cached_property
    def _of_packages(self) -> frozenset[str]:
        """Names of the libraries in packages: `torch/lib`, `nvidia/*/lib`, `numpy.libs`, …"""
        found: set[str] = set()
        for folder in self._packages:
            site = Path(folder)
            for pattern in ("*.so*", "../*.so*", "*/*.so*", "*/lib/*.so*", "nvidia/*/lib/*.so*"):
                found.update(path.name for path in site.glob(pattern))
        return frozenset(found)
