"""`warmup-ci audit`: hold markers against reality, and caches against their known hazards."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from warmup.caches.hazards.deep_gemm import INCLUDE_PATH
from warmup.caches.hazards.rule import Facts, Finding
from warmup.caches.hazards.rules import find_hazards, get_rule
from warmup.caches.walk import Snapshot, take_snapshot
from warmup.commands.audit_markers import Judged, Present, judge_markers
from warmup.commands.audit_report import (
    Audit,
    Damage,
    Repair,
    Unneeded,
    get_exit_code,
    render,
)
from warmup.report.output import DataOutput
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.encoding import encode_json
from warmup.words.errors import UsageError
from warmup.words.escape import from_text, get_printable, to_line, to_text
from warmup.words.names import FAMILY_NAMES

_CAPABILITY = re.compile(r"\d+\.\d+")


def audit(
    home: Home,
    env: Mapping[str, str],
    vector: VersionVector,
    present: Present,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    deep: bool = False,
    fix: bool = False,
    dry_run: bool = False,
    json_output: bool = False,
    sarif: bool = False,
) -> int:
    """Print what is wrong. Returns 0 (nothing but notes), 1 (findings), 4 (bytes were changed).

    env, vector: of this host, for the caches; present: for the markers. deep: hash every listed
    file. fix: do away with what is repairable, then look again; dry_run: only say what that is.
    Raises UsageError.
    """
    if json_output and sarif:
        raise UsageError("--json and --format sarif exclude each other")
    facts = get_facts(env, vector)
    envs = [env, *present.list_envs()]
    repairs: list[Repair] = []
    if fix and not dry_run:
        hazards = find_hazards(take_snapshot(families, *envs), facts)
        repairs = [_repair(finding) for finding in hazards if finding.is_repairable]
    snapshot = take_snapshot(families, *envs)
    findings = list(find_hazards(snapshot, facts))
    if dry_run:
        repairs = [_plan(finding) for finding in findings if finding.is_repairable]
    judged = judge_markers(home, present, snapshot=snapshot, deep=deep)
    findings += _find_moved_packages(judged, facts)
    _print(_make_audit(judged, findings, snapshot, repairs), json_output, sarif)
    return get_exit_code(judged.markers, findings, _list_damage(judged))


def get_facts(env: Mapping[str, str], vector: VersionVector) -> Facts:
    """What the rules need to know of this host, as the version vector says it."""
    values = {each.name: each.value for each in vector.ingredients if each.value != "none"}
    includes = values.get("deep_gemm_include", "")
    return Facts(
        env=env,
        deep_gemm_includes=tuple(includes.split(", ")) if includes else (),
        cuda_home=values.get("cuda_home", ""),
        capabilities=tuple(_CAPABILITY.findall(values.get("compute_capability", ""))),
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
        values = {each.name: each.value for each in marker.version_vector}
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


def _plan(finding: Finding) -> Repair:
    return Repair(finding.rule, finding.path, "planned", get_rule(finding.rule).fix)


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
            str(Path(from_text(each.root), from_text(each.entry), from_text(each.name))),
            each.kernel,
            each.problem,
        )
        for each in judged.mismatches
        if each.problem != "is missing"  # which makes the marker dangling already
    ]


def _make_audit(
    judged: Judged, findings: list[Finding], snapshot: Snapshot, repairs: list[Repair]
) -> Audit:
    damage = _list_damage(judged)
    return Audit(
        exit_code=get_exit_code(judged.markers, findings, damage),
        markers=judged.markers,
        findings=findings,
        damage=damage,
        unneeded=list_unneeded(snapshot, judged),
        repairs=repairs,
    )


def _print(found: Audit, json_output: bool, sarif: bool) -> None:
    out = DataOutput(sys.stdout)
    if sarif:
        from warmup.commands.audit_sarif import make_sarif

        out.line(encode_json(make_sarif(found)).decode())
    elif json_output:
        out.line(encode_json(found).decode())
    else:
        for line in render(found):
            out.line(get_printable(line))
