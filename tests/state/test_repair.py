"""What `run` puts right before it starts a server, on real cache folders."""

from __future__ import annotations

from pathlib import Path

from tests.caches.caches import make_cubin, write_deep_gemm
from warmup.caches.api import Facts, find_hazards, take_snapshot
from warmup.state.repair import repair_before_run


def make_env(folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "DG_JIT_CACHE_DIR": str(folder / "deep_gemm"),
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        "FLASHINFER_WORKSPACE_BASE": str(folder / "flashinfer"),
    }


def test_half_entries_go_into_quarantine_and_nothing_is_lost(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    half = write_deep_gemm(tmp_path / "deep_gemm", cubin=make_cubin())
    (half / "kernel.cubin").unlink()
    facts, families = Facts(env=env), ["deep_gemm"]
    (done,) = repair_before_run(families, [env], facts)
    assert (done.rule, done.state, done.path) == ("deep-gemm-half-written", "done", str(half))
    assert not half.exists()
    (aside,) = half.parent.glob(".tmp-quarantine-*")
    assert (aside / "kernel.cu").exists()
    assert aside.name in done.detail
    snapshot = take_snapshot(families, env)
    assert [list(root.entries) for root in snapshot.families["deep_gemm"] if root.entries] == []
    assert list(find_hazards(snapshot, facts)) == []
    assert list(repair_before_run(families, [env], facts)) == []


def test_a_broken_cubin_goes_aside_with_its_entry_once(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    entry = tmp_path / "triton" / "HASH"
    entry.mkdir(parents=True)
    for name in ("a.cubin", "b.cubin"):
        (entry / name).write_bytes(make_cubin()[:30])
    (done,) = repair_before_run(["triton"], [env], Facts(env=env))
    assert (done.rule, done.path) == ("cubin-broken", str(entry))
    assert not entry.exists()


def test_what_is_no_cubin_at_all_stays(tmp_path: Path) -> None:
    """No killed writer leaves that: it is a human's to judge."""
    env = make_env(tmp_path)
    (tmp_path / "triton" / "HASH").mkdir(parents=True)
    (tmp_path / "triton" / "HASH" / "a.cubin").write_bytes(b"a cubin of another kind")
    assert list(repair_before_run(["triton"], [env], Facts(env=env))) == []


def test_where_readers_may_see_halves_nothing_is_put_aside(tmp_path: Path) -> None:
    """ninja writes in place: it may be writing this very cubin."""
    env = make_env(tmp_path)
    entry = tmp_path / "flashinfer" / ".cache" / "flashinfer" / "0.7.2" / "90a" / "cached_ops" / "x"
    entry.mkdir(parents=True)
    (entry / "x.cubin").write_bytes(make_cubin()[:30])
    assert list(repair_before_run(["flashinfer"], [env], Facts(env=env))) == []
    assert (entry / "x.cubin").exists()


def test_a_lock_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    lock = tmp_path / "extensions" / "py311_cu130" / "ops" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    (done,) = repair_before_run(["torch_extensions"], [env], Facts(env=env))
    assert (done.rule, done.state, lock.exists()) == ("torch-extension-lock", "done", False)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    """The rights of a folder that others may write in are a human's to change: not even tried."""
    env = make_env(tmp_path)
    entry = tmp_path / "triton" / "HASH"
    entry.mkdir(parents=True)
    (entry / "launcher.so").write_bytes(b"code")
    (entry / "launcher.so").chmod(0o666)
    assert list(repair_before_run(["triton"], [env], Facts(env=env))) == []
