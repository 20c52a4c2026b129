"""Drop stale markers, their manifests, and the entries that nobody needs.

Safe beside a running server: what a fresh marker lists stays, and so does whatever is younger
than the oldest run that is alive (`runs/*/run.lock` is held). Corrupt and foreign markers are
`audit`'s to tell of, never dropped. Nothing outside the home and the cache folders is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import msgspec

from warmup.caches.api import remove_inside, take_snapshot
from warmup.state.gc_plan import GcPlan, choose_runs, choose_stale, find_oldest_live_run, make_plan
from warmup.state.home import Home
from warmup.state.judge import AuditedMarker, HostView, judge_markers, list_envs
from warmup.state.locks import hold_launch_lock
from warmup.words.errors import EXIT_FAILED, EXIT_OK, HostError, WarmupError
from warmup.words.escape import to_line, to_text
from warmup.words.files import Folder


class DroppedEntry(msgspec.Struct, frozen=True):
    family: str
    path: str
    bytes: int


class GcDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `gc --json`. In a dry run, what would be dropped. runs: their folders.

    bytes: of the dropped entries. left_bytes: of those that stay. spared: entries that stay for a
    run that is alive. held: markers that stay because another run holds their lock. failed: what
    could not be removed, with the reason.
    """

    schema: int = 1
    exit_code: int
    dry_run: bool
    markers: list[str]
    manifests: list[str]
    runs: list[str]
    entries: list[DroppedEntry]
    temporaries: list[str]
    bytes: int
    left_bytes: int
    spared: int
    held: list[str]
    failed: list[str]


def collect(
    view: HostView,
    *,
    families: Sequence[str],
    max_bytes: int | None,
    keep_last: int,
    keep_runs: int,
    is_needed: Callable[[Folder], bool],
    dry_run: bool,
) -> GcDocument:
    """Drop what nobody needs. Raises HostError where the home cannot be locked.

    max_bytes: keep what nobody needs, longest unused first to go, as long as all caches together
    fit. keep_last: stale markers of each launch to keep with their entries, newest first.
    keep_runs: folders of ended runs to keep, likewise. is_needed: whether `reap` needs a folder.
    """
    home = view.home
    with ExitStack() as stack:
        snapshot = take_snapshot(families, view.env, *list_envs(view))
        judged = judge_markers(view)
        dropped = choose_stale(judged.markers, keep_last)
        held: list[AuditedMarker] = []
        if not dry_run:
            dropped, held = _lock(stack, home, dropped)
        plan = make_plan(
            home,
            judged,
            snapshot,
            dropped=dropped,
            live_since=find_oldest_live_run(home),
            max_bytes=max_bytes,
            now=time.time(),
        )
        plan.runs = choose_runs(home, keep_runs, is_needed)
        failed = plan.unread + ([] if dry_run else list(_carry_out(plan, home)))
    is_over = max_bytes is not None and plan.left_bytes > max_bytes
    return GcDocument(
        exit_code=EXIT_FAILED if failed or is_over else EXIT_OK,
        dry_run=dry_run,
        markers=[str(home.markers / name) for name in plan.markers],
        manifests=[str(home.manifests / name) for name in plan.manifests],
        runs=[str(home.runs / name) for name in plan.runs],
        entries=[
            DroppedEntry(each.family, to_text(f"{each.root}/{each.entry}"), each.bytes)
            for each in plan.entries
        ],
        temporaries=[to_text(f"{root}/{path}") for root, path in plan.temporaries],
        bytes=plan.total_bytes - plan.left_bytes,
        left_bytes=plan.left_bytes,
        spared=plan.num_young,
        held=[marker.path for marker in held],
        failed=failed,
    )


def _lock(
    stack: ExitStack, home: Home, markers: Sequence[AuditedMarker]
) -> tuple[list[AuditedMarker], list[AuditedMarker]]:
    """Take the launch locks of these markers; (those that were free, those that are held).

    A run that warms a launch holds its lock from before it looks at the marker.
    """
    keys: dict[str, bool] = {}
    free: list[AuditedMarker] = []
    held: list[AuditedMarker] = []
    for marker in markers:
        key = marker.launch_key
        assert key is not None, "choose_stale takes no other"
        if key not in keys:
            try:
                stack.enter_context(hold_launch_lock(home, key, deadline=0.0))
                keys[key] = True
            except HostError:
                raise
            except WarmupError:
                keys[key] = False
        (free if keys[key] else held).append(marker)
    return free, held


def _carry_out(plan: GcPlan, home: Home) -> Iterator[str]:
    """Remove all of it, markers first: a crash half-way leaves waste, never a lie."""
    for where, names in (("markers", plan.markers), ("manifests", plan.manifests)):
        for name in names:
            unlink = partial(home.get_folder(where).unlink, name)
            yield from _try(unlink, str(home.path / where / name))
    for name in plan.runs:
        yield from _try(partial(home.get_folder("runs").remove, name), str(home.runs / name))
    inside = [(each.root, each.entry) for each in plan.entries] + plan.temporaries
    for root, name in inside:
        yield from _try(partial(remove_inside, root, name, prune=True), f"{root}/{name}")
    for where in ("", *Home.FOLDERS):
        folder = home.find_folder(where)
        if folder is not None:
            folder.collect_temporaries()


def _try(remove: Callable[[], object], path: str) -> Iterator[str]:
    try:
        remove()
    except FileNotFoundError:
        return
    except OSError as error:
        yield to_line(f"{path}: {error.strerror or error}")
