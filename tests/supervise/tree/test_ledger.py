from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.supervise.trees import DEADLINE_S, read_ledger
from warmup.supervise.tree import ledger
from warmup.words.files import Folder


def make_ledger() -> ledger.Ledger:
    return ledger.Ledger(
        run_id="r1",
        boot_id=ledger.get_boot_id(),
        pid_namespace=ledger.get_pid_namespace(),
        cookie=(1 << 61) + 1,
        orchestrator=ledger.get_process(os.getpid()),
        servers=(ledger.ServerEntry(ledger.Process(2, 3)),),
    )


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    with Folder.open(tmp_path) as folder:
        ledger.write(folder, make_ledger())
    assert read_ledger(tmp_path) == make_ledger()
    assert [path.name for path in tmp_path.iterdir()] == [ledger.LEDGER_NAME]


def test_this_boot_and_this_namespace_are_known() -> None:
    book = make_ledger()
    assert len(book.boot_id) == 36
    assert book.pid_namespace > 0
    assert book.is_of_this_boot
    assert book.is_of_this_namespace
    assert not dataclasses.replace(book, boot_id="x").is_of_this_boot
    assert not dataclasses.replace(book, pid_namespace=1).is_of_this_namespace


def test_an_orchestrator_is_known_by_pid_and_start() -> None:
    book = make_ledger()
    assert book.has_living_orchestrator
    recycled = ledger.Process(os.getpid(), book.orchestrator.start - 1)
    assert not dataclasses.replace(book, orchestrator=recycled).has_living_orchestrator
    process = subprocess.Popen(["true"])
    zombie = ledger.get_process(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not dataclasses.replace(book, orchestrator=zombie).has_living_orchestrator
    process.wait(DEADLINE_S)
    assert ledger.get_process(process.pid) == ledger.Process(process.pid, 0)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    with Folder.open(tmp_path) as folder:
        ledger.write(folder, dataclasses.replace(make_ledger(), schema=2))
    with pytest.raises(msgspec.DecodeError, match="schema 2"):
        read_ledger(tmp_path)


@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_a_damaged_ledger_is_an_error_or_another_ledger(at: int, bit: int, cut: bool) -> None:
    """Whatever it says then, a cookie that nobody wears harms nobody."""
    data = bytearray(msgspec.json.encode(make_ledger()))
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ledger.LEDGER_NAME).write_bytes(data)
        try:
            assert isinstance(read_ledger(Path(folder)), ledger.Ledger)
        except msgspec.DecodeError as error:
            assert str(error)
