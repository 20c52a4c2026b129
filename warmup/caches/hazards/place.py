"""Where a cache lies: on memory, under /tmp, where locks are not honoured, what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator

from warmup.caches.family import get_temp_dir
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.words.locks import find_flock_fault
from warmup.words.mounts import Mount, find_mount
from warmup.words.names import FAMILY_NAMES

_IN_MEMORY = ("tmpfs", "ramfs")


def _check_volatile(scope: Scope) -> Iterator[Finding]:
    root = scope.found.root
    if not scope.found.entries:
        return
    mount = find_mount(root)
    real = os.path.realpath(root) + "/"
    temporary = {os.path.realpath(each) for each in ("/tmp", get_temp_dir(scope.facts.env))}
    if mount is not None and mount.kind in _IN_MEMORY:
        yield VOLATILE.make_finding(
            scope, root, f"it lies in memory ({mount.kind} at {mount.point})"
        )
    elif any(real.startswith(each + "/") for each in temporary):
        yield VOLATILE.make_finding(scope, root, "it lies in the temporary folder")


def _check_flock(scope: Scope) -> Iterator[Finding]:
    if not scope.found.entries:
        return
    mount = find_mount(scope.found.root)
    fault = (find_mount_fault(mount) if mount else None) or find_flock_fault(scope.found.root)
    if fault is not None:
        yield NO_FLOCK.make_finding(scope, scope.found.root, fault)


def find_mount_fault(mount: Mount) -> str | None:
    """Why locks on this mount do not hold between hosts, as its options say (nfs(5))."""
    local = {"nolock", "local_lock=all", "local_lock=flock"} & mount.options
    if mount.kind in ("nfs", "nfs4") and local:
        return f"{mount.point} ({mount.kind}, {min(local)}): other hosts do not see locks"
    if mount.kind == "lustre" and "flock" not in mount.options:
        return f"{mount.point} (lustre without flock): other hosts do not see locks"
    return None


def _check_links(scope: Scope) -> Iterator[Finding]:
    real = os.path.realpath(scope.found.root)
    for link in scope.found.links:
        path = f"{scope.found.root}/{link}"
        target = os.path.realpath(path)
        if target != real and not target.startswith(real + "/"):
            yield LINK_OUTSIDE.make_finding(scope, path, f"it leads outside the cache, to {target}")


def check(scope: Scope) -> Iterator[Finding]:
    yield from _check_volatile(scope)
    yield from _check_flock(scope)
    for problem in scope.found.problems:
        yield UNREADABLE.make_finding(scope, scope.found.root, problem)
    yield from _check_links(scope)


VOLATILE = Rule(
    id="root-volatile",
    severity="note",
    summary="A cache lies in memory or under /tmp: it is gone with the container or the boot",
    link="https://github.com/pytorch/pytorch/issues/121122",
)
NO_FLOCK = Rule(
    id="root-no-flock",
    severity="error",
    summary="A cache lies where flock is not honoured: two builders write one entry",
    link="https://github.com/tox-dev/filelock/issues/6",
)
UNREADABLE = Rule(
    id="cache-unreadable",
    severity="warning",
    summary="Part of a cache cannot be read: what lies there is neither used nor checked",
    link="https://github.com/pytorch/pytorch/pull/100870",
)
LINK_OUTSIDE = Rule(
    id="cache-link-outside",
    severity="warning",
    summary="A symbolic link leads out of a cache; nothing here follows it",
    link="https://github.com/inducer/pycuda/issues/54",
)
GROUP = RuleGroup((VOLATILE, NO_FLOCK, UNREADABLE, LINK_OUTSIDE), FAMILY_NAMES, check)
