"""Server warm-up: the plan's requests, one by one, through the ordinary scheduler path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.backends import HTTP, Warmup
from warmup.engine.client import RankClient
from warmup.engine.messages import RequestError

_log = logging.getLogger("warmup.engine")
MAX_RETRIES = 3


@dataclass
class WarmupReport:
    """What /server_info says of the warm-up. `failures`: name and reason of each that failed."""

    mode: str
    total: int = 0
    done: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    retries: int = 0
    seconds: float = 0.0

    @property
    def degraded(self) -> bool:
        return bool(self.failures)

    def to_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "total": self.total,
            "done": self.done,
            "failures": self.failures,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
        }


class WarmupFailed(Exception):
    """Under `--warmup-fail-policy abort`, the first failure ends start-up."""


async def run_warmups(
    client: RankClient,
    address: tuple[str, int],
    warmups: list[Warmup],
    report: WarmupReport,
    args: ServerArgs,
) -> None:
    """Run all; `report` grows as they go. address: host and port that we serve on.

    Raises `WarmupFailed` under `abort`. Under `continue` a failure is warned of and noted.
    """
    started = time.monotonic()
    report.total = len(warmups)
    with _image_folder(args.input_save_path) as folder:
        for warmup in warmups:
            left_s = started + args.warmup_deadline - time.monotonic()
            try:
                work = _run(client, address, warmup, report, folder)
                await asyncio.wait_for(work, max(left_s, 0.0))
                report.done.append(warmup.name)
            except asyncio.TimeoutError:
                late = f"not done within --warmup-deadline {args.warmup_deadline:g} s"
                _fail(report, warmup, late, args.fail_policy)
            except RequestError as error:
                if error.failure.kind == "unavailable":
                    # The ranks are gone: nothing is left that could serve degraded.
                    raise WarmupFailed(str(error)) from None
                _fail(report, warmup, str(error), args.fail_policy)
            finally:
                report.seconds = time.monotonic() - started


@contextlib.contextmanager
def _image_folder(wish: str) -> Iterator[str]:
    """`--input-save-path`, which the first rank makes; or a temporary folder, gone afterwards."""
    if wish:
        yield str(Path(wish).absolute())
        return
    with tempfile.TemporaryDirectory(prefix="warmup-image-") as folder:
        yield folder


def _fail(report: WarmupReport, warmup: Warmup, reason: str, policy: str) -> None:
    report.failures.append({"name": warmup.name, "reason": reason})
    if policy == "abort":
        raise WarmupFailed(f"{warmup.name}: {reason}")
    _log.warning("warm-up %s failed, serving degraded: %s", warmup.name, reason)


async def _run(
    client: RankClient,
    address: tuple[str, int],
    warmup: Warmup,
    report: WarmupReport,
    folder: str,
) -> None:
    """One warm-up; after an out-of-memory, and only that, the next smaller one."""
    payload = warmup.payload
    if warmup.image_size is not None:
        width, height = warmup.image_size
        wish = {"folder": folder, "width": width, "height": height}
        payload = {**payload, "image_path": await client.call("warmup_image", wish, warmup=True)}
    smaller = list(warmup.smaller[:MAX_RETRIES])
    while True:
        began = time.monotonic()
        try:
            await _send(client, address, warmup.kind, payload)
        except RequestError as error:
            if error.failure.kind != "oom" or not smaller:
                raise
            payload = {**payload, **smaller.pop(0)}
            report.retries += 1
            _log.warning("warm-up %s ran out of memory, retrying smaller", warmup.name)
        else:
            _log.info("warm-up %s took %.2f s", warmup.name, time.monotonic() - began)
            return


async def _send(
    client: RankClient, address: tuple[str, int], kind: str, payload: dict[str, Any]
) -> None:
    if kind != HTTP:
        await client.call(kind, payload, warmup=True)
        return
    from warmup.engine.listen import post

    await post(*address, **payload)
