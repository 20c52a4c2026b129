"""One request's failure stays that request's: caught on each rank, agreed on by all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from warmup.engine.messages import Failure, RequestError

if TYPE_CHECKING:
    from warmup.engine.ranks import Ranks

T = TypeVar("T")
_log = logging.getLogger("warmup.engine")


def contain(ranks: Ranks, work: Callable[[], T]) -> T:
    """Run `work`, which enters no collective, on every rank; all succeed or all raise alike.

    Raises `RequestError` with the failure of the lowest rank that has one.
    """
    from warmup.engine.ranks import RankLost

    result: T
    failure: Failure | None = None
    try:
        result = work()
    except RankLost:
        raise
    except RequestError as error:
        failure = error.failure
    except Exception as error:
        failure = _describe(error)
    agreed = ranks.agree(failure)
    if agreed is not None:
        raise RequestError(agreed)
    return result


def _describe(error: Exception) -> Failure:
    from warmup.engine.ranks import is_out_of_memory

    if is_out_of_memory(error):
        return Failure("oom", f"out of memory: {error}")
    _log.exception("a request failed")
    return Failure("internal", f"{type(error).__name__}: {error}")
