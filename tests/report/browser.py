"""Headless Chromium, spoken to over its own pipe: what a page logs, fetches and looks like.

The DevTools protocol (chromedevtools.github.io/devtools-protocol) as JSON, each message ended by a
NUL, on descriptors 3 and 4 (`--remote-debugging-pipe`): no port, and nothing to install beside it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ARGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
_ANSWER_S = 60.0


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class View:
    """One page as it is shown. requests: addresses that it asked for, its own first. complaints:
    what it logged or raised."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        return self.browser.call(method, self, **params)

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def take_shot(self) -> bytes:
        """The page from top to end, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


class Browser:
    """One process; `open` shows pages in it, one after the other."""

    def __init__(self, program: str, folder: Path) -> None:
        """folder: for its profile, which is all that it writes."""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                command,
                "bash",
                program,
                *_ARGS,
                f"--user-data-dir={folder / 'profile'}",
            ],
            env=env,
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number = b"", 0
        self._views: dict[str, View] = {}

    def close(self) -> None:
        os.close(self._out)  # whereupon it ends
        try:
            self._process.wait(_ANSWER_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._in)

    @contextlib.contextmanager
    def open(self, path: Path, width: int, *, is_dark: bool) -> Iterator[View]:
        """A file, loaded in so many CSS pixels."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        told = self.call("Target.attachToTarget", targetId=target, flatten=True)
        view = self._views[told["sessionId"]] = View(self, told["sessionId"])
        for domain in ("Page", "Network", "Log", "Runtime"):
            view.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        view.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        view.call("Emulation.setEmulatedMedia", features=[scheme])
        view.call("Page.navigate", url=path.as_uri())
        while view.evaluate("document.readyState") != "complete":
            time.sleep(0.02)
        yield view
        self.call("Target.closeTarget", targetId=target)

    def call(self, method: str, view: View | None = None, **params: object) -> dict[str, Any]:
        """The result of one method. Events that come before it are kept in their views."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if view is not None:
            message["sessionId"] = view.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result
            self._note(found)

    def _note(self, event: dict[str, Any]) -> None:
        view, params = self._views.get(event.get("sessionId", "")), event.get("params", {})
        if view is None:
            return
        if event["method"] == "Network.requestWillBeSent":
            view.requests.append(params["request"]["url"])
        elif event["method"] in (
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
        ):
            view.complaints.append(json.dumps(params))

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _ANSWER_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self._in, 1 << 16) if ready else b""
            assert data, "chromium does not answer"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message
