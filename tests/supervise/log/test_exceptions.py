from __future__ import annotations

import pytest

from warmup.supervise.log.exceptions import find_reason, find_trouble, list_exceptions

PLAIN = """\
loading
Traceback (most recent call last):
  File "a.py", line 3, in <module>
    load()
    ^^^^^^
ValueError: no such model

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 5, in <module>
    raise RuntimeError("cannot serve")
RuntimeError: cannot serve
"""
SGLANG = """\
[2026-11-24 10:00:00 TP1] Scheduler hit an exception: Traceback (most recent call last):
  File "scheduler.py", line 1, in run
    step()
torch.OutOfMemoryError: CUDA out of memory
INFO:     127.0.0.1:51122 - "GET /health HTTP/1.1" 503 Service Unavailable
"""
VLLM = """\
(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:708]   File "core.py", line 699, in run
(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:708] ValueError: head size 80
(APIServer pid=6) Traceback (most recent call last):
(APIServer pid=6)   File "x.py", line 2
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1
  | ExceptionGroup: two (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "a.py", line 9
    | KeyError: 'x'
    +------------------------------------
"""
BARE = """\
Traceback (most recent call last):
  File "a.py", line 1
    queue.get_nowait()
_queue.Empty
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PLAIN, "RuntimeError: cannot serve"),
        (SGLANG, "torch.OutOfMemoryError: CUDA out of memory"),
        (VLLM, "ValueError: head size 80"),
        (GROUP, "KeyError: 'x'"),
        (BARE, "_queue.Empty"),
        ("usage: x\nx: error: bad argument: --y\nbye\n", "x: error: bad argument: --y"),
        ("all is well\n0 errors\n", None),
        ("", None),
    ],
)
def test_the_line_that_says_why(text: str, reason: str | None) -> None:
    assert find_reason(text.splitlines()) == reason


@pytest.mark.parametrize("text", [PLAIN, SGLANG, BARE])
def test_a_traceback_that_is_not_finished_names_nothing_wrong(text: str) -> None:
    """However far it has been written, what is named is an exception that stands there."""
    whole = list_exceptions(text.splitlines())
    known = {*whole, "ValueError: no such model"}
    lines = text.splitlines()
    for num_lines in range(len(lines)):
        assert set(list_exceptions(lines[:num_lines])) <= known


def test_the_first_line_of_trouble() -> None:
    assert find_trouble(["ready", "0 errors", *PLAIN.splitlines()]) == 3
    assert find_trouble(["x: error: bad argument", "bye"]) == 0
    assert find_trouble(["all is well", "0 errors"]) is None
