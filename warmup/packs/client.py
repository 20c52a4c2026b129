"""Exchanges with a registry: who we are, when to try again, when to give up.

oras reads docker's config and credential helpers and answers challenges; it is loaded once that
is needed. How often, how long and how slowly an answer may come is decided here.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from warmup.packs import oci
from warmup.packs.policy import is_listed
from warmup.words.errors import HostError, IntegrityError, UsageError
from warmup.words.files import read_regular
from warmup.words.timeout import call_within

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 16  # what comes of a larger one is lost where the connection is cut
_TIMEOUT_S = (10.0, 60.0)  # to connect, and between two reads
_HEAD_S = 120.0  # for the head of an answer, redirects and tokens included
_SLOWEST = 1 << 10  # bytes a second, over each window: less is not an answer
_WINDOW_S = 30.0
_ATTEMPTS = 5
_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_BUSY = (429, 500, 502, 503, 504)
_MAX_SMALL_BYTES = 1 << 20  # of what is not streamed: tokens, errors, the bodies of redirects
_HEADERS = {"Accept-Encoding": "identity"}


class RegistryClient:
    """place: `HOST[:PORT]/REPOSITORY`. insecure: places that are spoken to in plain HTTP."""

    def __init__(self, place: str, insecure: tuple[str, ...]) -> None:
        self._place = place
        self.host, _, self.repository = place.partition("/")
        self._is_plain = is_listed(place, insecure)
        if self._is_plain and not is_loopback(self.host):
            raise UsageError(
                f"plain HTTP to {self.host} is refused",
                cause="`insecure_registries` may name loopback addresses only",
                hint="serve it over TLS",
            )
        self.base = f"{'http' if self._is_plain else 'https'}://{self.host}/v2/{self.repository}"

    @cached_property
    def _oras(self) -> Any:
        try:
            import oras.container
            import oras.provider
        except ImportError as error:
            raise HostError(
                "packs need the extra `packs`", hint="pip install 'warmup-ci[packs]'"
            ) from error
        found: Any = oras.provider.Registry(hostname=self.host, insecure=self._is_plain)
        found.session.trust_env = True  # a company's proxy stands between it and its registry
        found.session.request = _Requests(found)
        with contextlib.suppress(OSError, ValueError):  # no docker config: anonymous
            if folder := os.environ.get("DOCKER_CONFIG"):  # oras knows of the one in HOME alone
                data = read_regular(f"{folder}/config.json", oci.MAX_MANIFEST_BYTES, follow=True)
                found.auth._auth_config = {"auths": {}, **json.loads(data)}
            found.auth.load_configs(oras.container.Container(self._place))
        return found

    def close(self) -> None:
        if "_oras" in self.__dict__:
            self._oras.session.close()

    def glance(self, path: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Headers of what anybody may ask for, in one exchange; none where it is not given so."""
        import requests

        with contextlib.suppress(requests.RequestException, OSError), requests.Session() as session:
            url, known = f"{self.base}{path}", dict(headers)
            act = functools.partial(session.head, url, headers=known, timeout=_TIMEOUT_S)
            found = call_within(_HEAD_S, act)
            if found.status_code == 200:
                return found.headers
        return {}

    def ask(
        self,
        method: str,
        path: str,
        *,
        ok: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        stream: bool = False,
        retry: bool = True,
    ) -> requests.Response:
        """One answer of these statuses; asked for again where the registry is busy, down or slow.

        path: below the repository, or a URL. Raises HostError.
        """
        url = path if path.startswith("http") else f"{self.base}{path}"
        headers = {**_HEADERS, **(headers or {})}
        problem, pause_s = HostError(f"{self.host} was not asked"), 0.0
        for attempt in range(_ATTEMPTS if retry else 1):
            time.sleep(pause_s)
            pause_s = min(_PAUSE_S * 2**attempt, _MAX_PAUSE_S)
            try:
                response = self._send(method, url, headers=headers, data=data, stream=stream)
            except _NotReached as error:
                problem = error
                continue
            if response.status_code in ok:
                return response
            text = "" if stream else response.text[:200]
            response.close()
            if response.status_code not in _BUSY:
                raise self._make_refusal(response.status_code, text)
            with contextlib.suppress(KeyError, ValueError):
                wanted_s = float(response.headers["Retry-After"])
                if wanted_s >= 0:  # not so for NaN
                    pause_s = min(wanted_s, _MAX_PAUSE_S)
            problem = HostError(
                f"{self.host} answers HTTP {response.status_code}",
                cause=text or f"{method} {urlsplit(url).path}",
                hint="try again later",
            )
        raise problem

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        import requests

        # Without oras's own retries, which sleep for minutes on what no retry mends.
        request = type(self._oras).do_request
        request = getattr(request, "__wrapped__", request)
        act = functools.partial(request, self._oras, url, method, **options)
        try:
            # A head that drips never times out; how long an upload may take depends on its size.
            size = int(options["headers"].get("Content-Length", 0))
            response: requests.Response = call_within(_HEAD_S + size / _SLOWEST, act)
        except requests.exceptions.MissingSchema as error:  # oras asks a realm for a token
            raise self._make_refusal(401, "a password is wanted") from error
        except (requests.RequestException, OSError) as error:
            raise _NotReached(
                f"cannot reach {self.host}",
                cause=_first_line(error),
                hint="is the registry up, and its name right?",
            ) from error
        except (ValueError, AttributeError) as error:  # oras: a challenge that it cannot answer
            text = str(error) if isinstance(error, ValueError) else "its challenge cannot be read"
            raise self._make_refusal(401, text, "HTTP 401 or 403") from error
        return response

    def iterate(self, response: requests.Response, what: str) -> Iterator[bytes]:
        """The body, as it comes. Raises HostError where it is cut off, or drips for ever."""
        import requests
        from urllib3.exceptions import HTTPError

        read = getattr(response.raw, "read1", None)  # urllib3 2: what is there, not all of a chunk
        chunks = iter(lambda: read(_CHUNK), b"") if read else response.iter_content(_CHUNK)
        begin, came = time.monotonic(), 0
        try:
            for chunk in chunks:
                yield chunk
                came += len(chunk)
                if (now := time.monotonic()) - begin > _WINDOW_S:
                    if came < _SLOWEST * _WINDOW_S:
                        raise HostError(
                            f"{self.host}: {what} comes too slowly",
                            cause=f"{came} bytes in {now - begin:.0f} s",
                            hint="is the network, or a proxy, all but down?",
                        )
                    begin, came = now, 0
        except (requests.RequestException, HTTPError, OSError) as error:
            raise HostError(f"{self.host}: {what} was cut off", cause=_first_line(error)) from error

    def read_small(self, response: requests.Response, what: str) -> bytes:
        """A body of at most `oci.MAX_MANIFEST_BYTES`. Raises IntegrityError for a larger one."""
        data = b""
        for chunk in self.iterate(response, what):
            data += chunk
            if len(data) > oci.MAX_MANIFEST_BYTES:
                raise IntegrityError(f"{what} refused", cause="it is too large")
        return data

    def _make_refusal(self, status: int, text: str, said: str = "") -> HostError:
        hints = {
            401: f"log in: docker login {self.host}",
            403: "this user may not do that in this repository",
            404: "is the repository's name right?",
        }
        what = f"{self.host}/{self.repository}: {said or f'HTTP {status}'}"
        return HostError(what, cause=" ".join(text.split()) or None, hint=hints.get(status))


class _NotReached(HostError):
    """No answer at all: worth another try."""


class _Requests:
    """The session's `request`, with what oras leaves out: limits of time and size, and registries
    that want a name and a password themselves (`Basic`), not a token."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._request = client.session.request
        self._headers: dict[str, str] = {}

    def __call__(self, method: str, url: str, **options: Any) -> Any:
        # `requests` would read whole what is not streamed, and what a redirect carries.
        bound = functools.partial(_bound, is_wanted=bool(options.get("stream")))
        options = {"timeout": _TIMEOUT_S, **options, "stream": True, "hooks": {"response": bound}}
        known = self._headers if urlsplit(url).netloc == self._client.hostname else {}
        headers = {**known, **(options.pop("headers", None) or {})}
        response = self._request(method, url, headers=headers, **options)
        if response.status_code not in (401, 403):
            return response
        with contextlib.closing(response):
            response.raw.read(_CHUNK)
        password = getattr(self._client.auth, "_basic_auth", None)
        challenge = response.headers.get("WWW-Authenticate", "")
        if not challenge.lower().startswith("basic") or not password or self._headers:
            return response
        self._headers = {"Authorization": f"Basic {password}"}
        return self(method, url, headers=headers | self._headers, **options)


def _bound(response: requests.Response, *, is_wanted: bool, **_: Any) -> None:
    """Read a body that the caller does not stream. Raises HostError for one that is too large."""
    if is_wanted and not response.is_redirect:
        return
    data = b""
    for chunk in response.iter_content(_CHUNK):
        data += chunk
        if len(data) > _MAX_SMALL_BYTES:
            response.close()
            raise HostError(
                f"{urlsplit(response.url).netloc} answers without end",
                cause=f"more than {_MAX_SMALL_BYTES} bytes, HTTP {response.status_code}",
            )
    response._content = data


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def is_loopback(host: str) -> bool:
    """Whether `HOST[:PORT]` can only mean this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
