"""DeepGEMM folders that assert in the server, or that no server will look at again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below, remove_inside
from warmup.words.escape import from_text
from warmup.words.files import read_head

_FIRST = ("kernel.cu", "kernel.cubin")
_DEEP_JIT = (*_FIRST, "meta.json", ".committed")


class _Config(msgspec.Struct):
    include_dirs: list[str] = []


class _Meta(msgspec.Struct):
    config: _Config


def check(scope: Scope) -> Iterator[Finding]:
    yield from _check_half_written(scope)
    yield from _check_include_path(scope)


def _check_half_written(scope: Scope) -> Iterator[Finding]:
    """Entries that lack a file of their generation (54e2261: csrc/jit; 0.2.5: deep_jit)."""
    root = scope.found.root
    for entry, files in scope.found.entries.items():
        missing = _find_missing(entry, [file.name for file in files])
        if missing:
            message = f"the folder lacks {', '.join(missing)}"
            yield HALF_WRITTEN.make_finding(scope, f"{root}/{entry}", message, entry=entry)
    for folder in scope.found.empty:
        if folder.startswith("cache/") and folder.count("/") == 1:
            yield HALF_WRITTEN.make_finding(
                scope, f"{root}/{folder}", "the folder is empty", entry=folder
            )


def _find_missing(entry: str, names: list[str]) -> list[str]:
    wanted = _FIRST if entry.startswith("cache/kernel.") else _DEEP_JIT
    return [name for name in wanted if name not in names]


def repair_half_written(finding: Finding) -> str:
    """Remove the folder. Builders work elsewhere and rename, so none is inside it."""
    if not is_half(finding):
        return "nothing left to do"
    remove_inside(from_text(finding.root), from_text(finding.entry))
    return f"removed {finding.entry}"


def is_half(finding: Finding) -> bool:
    """Raises OSError where it is gone."""
    entry = from_text(finding.entry)
    with open_below(from_text(finding.root), entry) as folder:
        return bool(_find_missing(entry, folder.list_names()))


def _check_include_path(scope: Scope) -> Iterator[Finding]:
    """Kernels compiled against headers of another place than the installed package's.

    Only deep_jit writes down where (`meta.json`); the older key holds the path itself, and there
    the version vector's `deep_gemm_include` tells.
    """
    installed = scope.facts.deep_gemm_includes
    if not installed:
        return
    for entry, _, path in scope.iter_files("meta.json"):
        try:
            meta = msgspec.json.decode(read_head(path, 1 << 20, scope.open_file), type=_Meta)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue
        used = [each for each in meta.config.include_dirs if "deep_gemm" in Path(each).parts]
        foreign = [each for each in used if each.rstrip("/") not in installed]
        if foreign:
            message = f"compiled with {foreign[0]}, installed is {installed[0]}"
            yield INCLUDE_PATH.make_finding(scope, path, message, entry=entry)


HALF_WRITTEN = Rule(
    id="deep-gemm-half-written",
    severity="error",
    summary="A DeepGEMM folder lacks a file: the server asserts, or compiles it for ever",
    link="https://github.com/deepseek-ai/DeepGEMM/issues/301",
    repair=repair_half_written,
    fix="remove the folder; the next start compiles it",
    is_half=is_half,
)
INCLUDE_PATH = Rule(
    id="deep-gemm-include-path",
    severity="warning",
    summary="A DeepGEMM kernel was compiled against another include path than the installed",
    link="https://github.com/vllm-project/vllm/issues/48190",
)
GROUP = RuleGroup((HALF_WRITTEN, INCLUDE_PATH), ("deep_gemm",), check)
