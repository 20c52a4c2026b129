"""The control group of a server, where one can be had: everybody in it, and gone with its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.supervise.trees import (
    end,
    get_leader_pid,
    get_shim_pid,
    list_bearers,
    read_ledger,
    reap_home,
    reap_orphans,
    spawn_nasty_run,
    start,
    start_nasty,
    wait_until,
    wait_until_gone,
)
from warmup.supervise.tree import cgroup, clear, cookie, proc
from warmup.supervise.tree.cgroup import NO_GROUP, ControlGroup, list_groups
from warmup.supervise.tree.supervisor import Supervisor

_COOKIE = cookie.find_new_cookie() or 0
pytestmark = pytest.mark.skipif(not cgroup.find_parent(), reason="no control group is to be had")


def list_own(run_dir: Path) -> list[ControlGroup]:
    book = read_ledger(run_dir)
    return list_groups(book.cgroup_parent, cookie.get_run_cookies(book.cookie))


def test_a_servers_processes_are_in_its_group_and_the_group_goes_with_them(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    with Supervisor(run_dir, warn=print) as supervisor:
        server, pids = start_nasty(supervisor, tmp_path, "session", "orphan", "closed")
        other = start(supervisor, tmp_path, ["sleep", "60"])
        groups = {group.path: set(group.list_pids()) for group in list_own(run_dir)}
        assert len(groups) == 2
        assert {server.leader_pid, *pids} in groups.values()
        assert {other.leader_pid} in groups.values()
        server.stop(0)
        (group,) = list_own(run_dir)
        assert group.list_pids() == [other.leader_pid]
    assert list_own(run_dir) == []


@pytest.mark.parametrize("is_shim_killed", [False, True])
def test_a_killed_orchestrator_leaves_no_group(tmp_path: Path, is_shim_killed: bool) -> None:
    """Its shim removes the group; where that was killed too, `reap` does."""
    run_dir, process = spawn_nasty_run(tmp_path)
    assert get_leader_pid(run_dir) in list_own(run_dir)[0].list_pids()
    if is_shim_killed:
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(get_shim_pid(run_dir), signal.SIGKILL)
    process.kill()
    end(process)
    if is_shim_killed:
        (run,) = reap_home(tmp_path, print).runs
        assert run.state == "cleared"
    wait_until_gone(run_dir)
    assert list_bearers(run_dir) == []
    wait_until(lambda: not list_own(run_dir), "the group to be removed")
    reap_orphans()


@pytest.mark.parametrize("is_large", [False, True])
def test_a_group_is_killed_at_one_blow_if_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Also those that wear no cookie, and without looking at each of them first."""
    monkeypatch.setattr(cgroup, "_MANY", 1 if is_large else 2)
    group = ControlGroup.get(cgroup.find_parent(), _COOKIE).make()
    pid = os.fork()
    if pid == 0:
        group.enter()
        signal.pause()
        os._exit(0)
    wait_until(group.list_pids, "the member")
    ended = clear.end_bearers(range(0), groups=[group])
    if not is_large:
        assert ended == clear.Ended()
        assert proc.is_living(pid)
        assert group.kill() == [pid]
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    group.remove()
    assert not Path(group.path).exists()


def test_no_group_is_made_where_its_name_is_taken_or_nobody_can_be_marked(tmp_path: Path) -> None:
    parent = cgroup.find_parent()
    group = ControlGroup.get(parent, _COOKIE).make()
    assert ControlGroup.get(parent, _COOKIE).make() == NO_GROUP
    group.remove()
    assert ControlGroup.get(parent, 0).make() == ControlGroup.get("", _COOKIE).make() == NO_GROUP
    assert (
        ControlGroup.get(str(tmp_path), _COOKIE).make() == NO_GROUP
    )  # a folder that is no group's
    assert list(tmp_path.iterdir()) == []
    NO_GROUP.enter()
    assert NO_GROUP.kill() == NO_GROUP.list_pids() == []


def test_a_group_that_only_a_survivor_holds_goes_later(tmp_path: Path) -> None:
    group = ControlGroup.get(cgroup.find_parent(), _COOKIE).make()
    pid = os.fork()
    if pid == 0:
        group.enter()
        signal.pause()
        os._exit(0)
    wait_until(group.list_pids, "the member")
    group.remove()
    assert list_groups(cgroup.find_parent(), range(_COOKIE, _COOKIE + 1)) == [group]
    group.kill()
    os.waitpid(pid, 0)
    group.remove()
    assert list_groups(cgroup.find_parent(), range(_COOKIE, _COOKIE + 1)) == []


def test_no_group_stays_when_many_servers_end(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    with Supervisor(run_dir, warn=print) as supervisor:
        for _ in range(20):
            start(supervisor, tmp_path, ["sleep", "60"]).stop(0)
            assert list_own(run_dir) == []
