from __future__ import annotations

import pytest

from tests.launch.helpers import make_launch, make_slots
from warmup.launch.engine_table import get_engine

ENGINE = get_engine("sglang")
SLOTS = make_slots(num_extra_ports=ENGINE.num_extra_ports)


def test_argv() -> None:
    launch = make_launch("sglang", tp=8, python="/env/bin/python")
    assert ENGINE.get_argv(launch, SLOTS) == [
        *("/env/bin/python", "-m", "sglang.launch_server", "--model-path", "org/model"),
        *("--tp-size", "8", "--host", "127.0.0.1", "--port", "21000"),
        *("--dist-init-addr", "127.0.0.1:21001", "--nccl-port", "21010"),
    ]


def test_revision_and_dummy_weights() -> None:
    argv = ENGINE.get_argv(make_launch("sglang", revision="abc", weights="dummy"), SLOTS)
    assert argv[-4:] == ["--revision", "abc", "--load-format", "dummy"]


@pytest.mark.parametrize(
    ("args", "is_explicit"),
    [
        ([], True),
        (["--dp", "8", "--enable-dp-attention"], True),
        (["--attn-dp-size", "8"], True),
        (["--dp-size", "1"], True),
        (["--dp-size", "2"], False),
        (["--data-parallel-size=2"], False),
    ],
)
def test_replicas_choose_their_own_rendezvous(args: list[str], is_explicit: bool) -> None:
    argv = ENGINE.get_argv(make_launch("sglang", fallback_args=args), SLOTS)
    assert ("--dist-init-addr" in argv) == is_explicit
    assert ("--nccl-port" in argv) == is_explicit


def test_dp_attentions_derived_ports_are_among_the_leased() -> None:
    # sglang 0.5.23, PortArgs.init_new: dist_init_port + 1 + (0 … 5), and NCCL's.
    argv = ENGINE.get_argv(make_launch("sglang"), SLOTS)
    first = int(argv[argv.index("--dist-init-addr") + 1].rpartition(":")[2])
    derived = {first, *range(first + 1, first + 7)}
    nccl = int(argv[argv.index("--nccl-port") + 1])
    assert derived <= set(SLOTS.extra_ports)
    assert nccl in SLOTS.extra_ports
    assert nccl not in derived


def test_the_answer_is_generated_text() -> None:
    launch = make_launch("sglang")
    assert ENGINE.get_request(launch).path == "/generate"
    assert ENGINE.find_fault(launch, 200, b'{"text": "hi", "meta_info": {}}') is None
    assert ENGINE.find_fault(launch, 200, b'{"text": "", "meta_info": {}}') is not None


def test_dead_schedulers_show_in_the_log() -> None:
    line = "[2026-01-01] Received sigquit from a child process. It usually means the child failed."
    assert any(pattern in line for pattern in ENGINE.crash_patterns)
    line = "[TP3] Scheduler hit an exception: Traceback (most recent call last):"
    assert any(pattern in line for pattern in ENGINE.crash_patterns)
    # What srt/utils/network.py says when it goes on to the next port is no crash.
    line = "Port 21001 is already in use, trying port 21002"
    assert not any(pattern in line for pattern in ENGINE.crash_patterns)
