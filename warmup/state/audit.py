"""Markers held against reality, and caches against their known hazards: what `audit` prints."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from warmup.caches.api import (
    INCLUDE_PATH,
    Facts,
    Finding,
    Snapshot,
    find_hazards,
    get_rule,
    take_snapshot,
)
from warmup.state.interpreter import get_interpreter
from warmup.state.judge import (
    BAD_STATES,
    AuditedMarker,
    HostView,
    Judged,
    judge_markers,
    list_envs,
)
from warmup.state.values import NONE
from warmup.words.errors import EXIT_FAILED, EXIT_INTEGRITY, EXIT_OK, UsageError
from warmup.words.escape import to_line, to_text

_CAPABILITY = re.compile(r"\d+\.\d+")


class Unneeded(msgspec.Struct, frozen=True):
    """Entries of one family that no fresh marker lists. paths: absolute."""

    entries: int
    bytes: int
    paths: list[str]


class Damage(msgspec.Struct, frozen=True):
    """A listed file whose content is not what the warm-up left, or cannot be told (`--deep`).

    path: absolute, in `escape.to_text`'s form, as all paths of this document.
    """

    family: str
    path: str
    kernel: str
    problem: str


class Repair(msgspec.Struct, frozen=True):
    """state: `planned` in a dry run. detail: what was done, or why it could not be."""

    rule: str
    path: str
    state: Literal["planned", "done", "failed"]
    detail: str


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `audit --json`. unneeded: per family."""

    schema: int = 1
    exit_code: int
    markers: list[AuditedMarker]
    findings: list[Finding]
    damage: list[Damage]
    unneeded: dict[str, Unneeded]
    repairs: list[Repair]


def get_exit_code(
    markers: Iterable[AuditedMarker], findings: Iterable[Finding], damage: Iterable[Damage]
) -> int:
    """4 where bytes are not what was written, 1 for anything else that is wrong, else 0."""
    states = {marker.state for marker in markers}
    if "corrupt" in states or any(damage):
        return EXIT_INTEGRITY
    is_bad = states & BAD_STATES or any(finding.severity != "note" for finding in findings)
    return EXIT_FAILED if is_bad else EXIT_OK


def make_audit(
    view: HostView, *, families: Sequence[str], deep: bool, fix: bool, dry_run: bool
) -> Audit:
    """Look at markers and caches. deep: hash every listed file. fix: do away with what is
    repairable, then look again; dry_run: only say what that is.
    """
    facts = get_facts(view)
    envs = [view.env, *list_envs(view)]
    repairs: list[Repair] = []
    if fix and not dry_run:
        hazards = find_hazards(take_snapshot(families, *envs), facts)
        repairs = [_repair(finding) for finding in hazards if finding.is_repairable]
    snapshot = take_snapshot(families, *envs)
    findings = list(find_hazards(snapshot, facts))
    if dry_run:
        repairs = [
            Repair(each.rule, each.path, "planned", get_rule(each.rule).fix)
            for each in findings
            if each.is_repairable
        ]
    judged = judge_markers(view, snapshot=snapshot, deep=deep)
    findings += _find_moved_packages(judged, facts)
    damage = _list_damage(judged)
    return Audit(
        exit_code=get_exit_code(judged.markers, findings, damage),
        markers=judged.markers,
        findings=findings,
        damage=damage,
        unneeded=list_unneeded(snapshot, judged),
        repairs=repairs,
    )


def get_facts(view: HostView) -> Facts:
    """What the rules need to know of this host and of the interpreters of its servers.

    Of an interpreter that only running it would tell, nothing is known.
    """
    values = {name: value for name, value in view.vector.values.items() if value != NONE}
    includes = values.get("deep_gemm_include", "")
    packages: dict[str, None] = {}
    for launch in (view.default, *view.launches):
        with contextlib.suppress(UsageError):
            found = get_interpreter(launch.python, view.get_env(launch), may_run=False)
            packages |= dict.fromkeys(found.paths)
    return Facts(
        env=view.env,
        deep_gemm_includes=tuple(includes.split(", ")) if includes else (),
        cuda_home=values.get("cuda_home", ""),
        capabilities=tuple(_CAPABILITY.findall(values.get("compute_capability", ""))),
        packages=tuple(packages),
    )


def list_unneeded(snapshot: Snapshot, judged: Judged) -> dict[str, Unneeded]:
    """Per family, entries that no fresh marker lists; families without any are left out."""
    found: dict[str, Unneeded] = {}
    for family, roots in snapshot.families.items():
        paths: list[str] = []
        size = 0
        for root in roots:
            needed = judged.needed.get((family, to_text(root.root)), set())
            for entry, files in root.entries.items():
                if to_text(entry) not in needed:
                    paths.append(to_text(f"{root.root}/{entry}"))
                    size += sum(file.size for file in files)
        if paths:
            found[family] = Unneeded(len(paths), size, paths)
    return found


def _find_moved_packages(judged: Judged, facts: Facts) -> Iterator[Finding]:
    """Stale markers whose DeepGEMM lay elsewhere: the older key holds that path, no file does."""
    installed = ", ".join(facts.deep_gemm_includes)
    for marker in judged.stale:
        family = marker.families.get("deep_gemm")
        values = marker.vector.values
        used = values.get("deep_gemm_include", "none")
        if family and family.entries and installed and used not in ("none", installed):
            yield Finding(
                rule=INCLUDE_PATH.id,
                severity=INCLUDE_PATH.severity,
                family="deep_gemm",
                root=to_text(family.root),
                path=to_text(family.root),
                message=to_line(
                    f"{marker.model}:{marker.tp} was warmed with {used}, installed is {installed}"
                ),
            )


def _repair(finding: Finding) -> Repair:
    """Repair one finding; what cannot be done is said, and the others go on."""
    repair = get_rule(finding.rule).repair
    assert repair is not None, f"{finding.rule} is marked repairable and has no repair"
    try:
        return Repair(finding.rule, finding.path, "done", repair(finding))
    except OSError as error:
        return Repair(finding.rule, finding.path, "failed", to_line(str(error)))


def _list_damage(judged: Judged) -> list[Damage]:
    return [
        Damage(
            each.family,
            "/".join(filter(None, (each.root, each.entry, each.name))),
            each.kernel,
            each.problem,
        )
        for each in judged.mismatches
        if each.problem != "is missing"  # which makes the marker dangling already
    ]
