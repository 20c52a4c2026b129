"""Images of the Model Cache Vault (MCV), which KServe's kernel caches are made of: one squashed
gzip layer of a plain image, what is in it told by labels of its config.

redhat-et/GKM 22359fbe, mcv/docs/spec-compat.md: `io.<kind>.cache/` and
`io.<kind>.manifest/manifest.json`; labels `cache.<kind>.image/{entry-count,summary,
cache-size-bytes}` (vLLM: `format` too), `io.kserve.km/*` for vLLM. What a reader unpacks must be as
many bytes as `cache-size-bytes`. mcv/pkg/cache/{types,triton,vllm}.go: the manifest's fields.
`dummy_key` is left out: it holds a hash of the Triton that is installed where MCV checks bare metal
(`--baremetal`), and is looked at nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from warmup.packs.archive import Member
from warmup.words import encoding
from warmup.words.secrets import is_secret_name

_MAX_JSON_BYTES = 4 << 20
_RANK = re.compile(r"rank_\d+_\d+")
_GROUP = "__grp__"
_AOT = "torch_aot_compile"
_MCV_WARP_SIZE = 32  # of every CUDA GPU


@dataclass(frozen=True)
class Kind:
    """name: as MCV and we call it. below: where the family's root lies in `io.<kind>.cache/`."""

    name: str
    below: str

    @property
    def cache(self) -> str:
        return "/".join(filter(None, (f"io.{self.name}.cache", self.below)))

    @property
    def manifest(self) -> str:
        return f"io.{self.name}.manifest/manifest.json"

    def get_label(self, name: str) -> str:
        return f"cache.{self.name}.image/{name}"


KINDS = (Kind("triton", ""), Kind("vllm", "torch_compile_cache"))


class _KernelTarget(msgspec.Struct, frozen=True):
    backend: str
    arch: int | str
    warp_size: int


class _KernelFile(msgspec.Struct, frozen=True):
    """What Triton (3.9, compiler.py) writes of a kernel beside it; other JSON has no hash."""

    hash: str
    target: _KernelTarget
    num_stages: int = 0
    num_warps: int = 0
    debug: bool = False
    ptx_version: int | None = None


class _KeyFactors(msgspec.Struct, frozen=True):
    """vLLM's cache_key_factors.json (vllm 0.33.0, compilation/backends.py)."""

    code_hash: str = ""
    config_hash: str = ""
    compiler_hash: str = ""
    env: dict[str, Any] = {}


@dataclass(frozen=True)
class McvImage:
    """members: of its one layer. labels: of its config."""

    members: list[Member]
    labels: dict[str, str]


def make_image(
    kind: Kind, folder: str, members: Sequence[Member], capability: str, root: str
) -> McvImage | None:
    """None where there is nothing that MCV would take for a cache of this kind.

    folder: of the family in a pack, in which its members lie. capability: of the GPU, `9.0`. root:
    where the entries lay when they were packed.
    """
    files = {member.path.removeprefix(f"{folder}/"): member for member in members}
    if kind.name == "triton":
        found = list(_list_kernels(files.values()))
        entries, targets, more = found, [_get_target(each) for each in found], {}
    else:
        entries = list(_list_models(files))
        kernels = [each for entry in entries for each in entry.get("triton", ())]
        cuda = {"backend": "cuda", "arch": f"sm_{capability.replace('.', '')}"}
        targets = [_get_target(each) for each in kernels]
        targets = targets or [{**cuda, "warp_size": _MCV_WARP_SIZE}]
        formats = sorted({entry["cacheFormat"] for entry in entries})
        more = {
            kind.get_label("format"): ",".join(formats),
            "io.kserve.km/framework": "vllm",
            "io.kserve.km/cache-type": "torch-compile",
            "io.kserve.km/cache-hash": ",".join(entry["vllmHash"] for entry in entries),
            "io.kserve.km/cache-mount-subpath": kind.below,
            "io.kserve.km/cache-root-env": f"VLLM_CACHE_ROOT={root.removesuffix('/' + kind.below)}",
        }
    if not entries:
        return None
    unique = list({encoding.encode(each): each for each in targets}.values())
    data = encoding.encode_pretty({kind.name: entries})
    moved = [
        Member(f"{kind.cache}/{path}", each.size, each.mtime_s, each.executable, each.open)
        for path, each in files.items()
    ]
    labels = {
        kind.get_label("entry-count"): str(len(entries)),
        kind.get_label("summary"): encoding.encode({"targets": unique}).decode(),
        kind.get_label("cache-size-bytes"): str(sum(each.size for each in moved)),
        **more,
    }
    return McvImage([*moved, Member.of_bytes(kind.manifest, data)], labels)


def _get_target(kernel: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kernel[name] for name in ("backend", "arch", "warp_size")}


def _list_kernels(members: Iterable[Member]) -> Iterable[dict[str, Any]]:
    """`TritonCacheMetadata` of each kernel among these files."""
    for member in members:
        name = member.path.rpartition("/")[2]
        if not name.endswith(".json") or name.startswith(_GROUP):
            continue
        found = _find(member, _KernelFile)
        if found is None or not found.hash:
            continue
        entry = {
            "hash": found.hash,
            "num_stages": found.num_stages,
            "num_warps": found.num_warps,
            "backend": found.target.backend,
            "arch": str(found.target.arch),
            "warp_size": found.target.warp_size,
        }
        optional = {"ptx_version": found.ptx_version, "debug": found.debug}
        yield entry | {key: value for key, value in optional.items() if value}


def _list_models(files: Mapping[str, Member]) -> Iterable[dict[str, Any]]:
    """`VLLMCacheMetadata` of each hash: `<hash>/rank_X_Y/…`, `torch_aot_compile/<hash>/…`."""
    by_hash: dict[str, dict[str, Member]] = {}
    for path, member in files.items():
        parts = path.split("/")
        depth = 2 if parts[0] == _AOT else 1
        if len(parts) > depth:
            by_hash.setdefault("/".join(parts[:depth]), {})["/".join(parts[depth:])] = member
    for name, inside in sorted(by_hash.items()):
        binary = list(_list_bundles(inside) if name.startswith(_AOT) else _list_binaries(inside))
        kernels = list(_list_kernels(m for p, m in inside.items() if "/triton_cache/" in f"/{p}"))
        told = {"binary": binary} if binary else {"triton": kernels}
        if binary or kernels:
            yield {"vllmHash": name.rpartition("/")[2], "cacheFormat": next(iter(told)), **told}


def _list_binaries(inside: Mapping[str, Member]) -> Iterable[dict[str, Any]]:
    for path, member in inside.items():
        rank, _, rest = path.partition("/")
        prefix, _, name = rest.partition("/")
        if not _RANK.fullmatch(rank) or name != "cache_key_factors.json":
            continue
        start = f"{rank}/{prefix}/"
        below = [each.removeprefix(start) for each in inside if each.startswith(start)]
        tops = {each.partition("/")[0] for each in below}
        artifacts = sorted(each for each in tops if each.startswith("artifact_compile_range_"))
        factors = _find(member, _KeyFactors)
        if factors is None or not artifacts:
            continue
        is_unpacked = any(each.startswith(f"{artifacts[0]}/") for each in below)
        yield {
            "rank": rank,
            "prefix": prefix,
            "artifact_count": len(artifacts),
            "artifact_names": artifacts,
            "code_hash": factors.code_hash,
            "config_hash": factors.config_hash,
            "compiler_hash": factors.compiler_hash,
            "cache_save_format": "unpacked" if is_unpacked else "binary",
            "target_device": str(factors.env.get("VLLM_TARGET_DEVICE", "")),
            "env": {key: item for key, item in factors.env.items() if not is_secret_name(key)},
        }


def _list_bundles(inside: Mapping[str, Member]) -> Iterable[dict[str, Any]]:
    for path in inside:
        rank, _, name = path.partition("/")
        if _RANK.fullmatch(rank) and name == "model":
            yield {
                "rank": rank,
                "prefix": "",
                "artifact_count": 1,
                "artifact_names": [name],
                "cache_save_format": "mega-aot",
            }


def _find(member: Member, kind: type[Any]) -> Any:
    if member.size > _MAX_JSON_BYTES:
        return None
    with member.open() as file:
        data = file.read()
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
