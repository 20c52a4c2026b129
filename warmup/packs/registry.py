"""Packs in an OCI registry (distribution-spec 1.1): GHCR, ECR, Harbor, a registry on loopback.

oras reads docker's config and credential helpers and answers challenges; the loops are ours, since
a pull must go on where it was cut, and nothing larger than a block is held in memory.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from warmup.packs import oci
from warmup.packs.oci import Descriptor, Index, TagList
from warmup.packs.policy import is_listed
from warmup.words.errors import HostError, IntegrityError, UsageError
from warmup.words.files import read_regular

_CHUNK = 1 << 16  # what comes of a larger one is lost where the connection is cut
_ACCEPT = {"Accept": f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}"}
_TIMEOUT_S = (10.0, 60.0)  # to connect, and between two reads
_ATTEMPTS = 5
_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0


class RegistryStore:
    """place: `HOST[:PORT]/REPOSITORY`. insecure: places that are spoken to in plain HTTP."""

    def __init__(self, place: str, insecure: tuple[str, ...]) -> None:
        try:
            import oras.container
            import oras.provider
        except ImportError as error:
            raise HostError(
                "packs need the extra `packs`", hint="pip install 'warmup-ci[packs]'"
            ) from error
        self._host, _, self._repository = place.partition("/")
        is_plain = is_listed(place, insecure)
        if is_plain and not is_loopback(self._host):
            raise UsageError(
                f"plain HTTP to {self._host} is refused",
                cause="`insecure_registries` may name loopback addresses only",
                hint="serve it over TLS",
            )
        self._oras: Any = oras.provider.Registry(hostname=self._host, insecure=is_plain)
        # Without its own retries, which sleep for minutes on what no retry mends.
        request = oras.provider.Registry.do_request
        self._request = getattr(request, "__wrapped__", request)
        self._oras.session.trust_env = True  # a company's proxy stands between it and its registry
        self._oras.session.request = _Requests(self._oras)
        self._base = f"{'http' if is_plain else 'https'}://{self._host}/v2/{self._repository}"
        with contextlib.suppress(OSError, ValueError):  # no docker config: anonymous
            if folder := os.environ.get("DOCKER_CONFIG"):  # oras knows of the one in HOME alone
                path = f"{folder}/config.json"
                data = read_regular(path, oci.MAX_MANIFEST_BYTES, follow=True)
                self._oras.auth._auth_config = {"auths": {}, **json.loads(data)}
            self._oras.auth.load_configs(oras.container.Container(place))

    def close(self) -> None:
        self._oras.session.close()

    def has_blob(self, blob: Descriptor) -> bool:
        response = self._ask("HEAD", f"/blobs/{blob.digest}", ok=(200, 404))
        return bool(response.status_code == 200)

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        if start >= blob.size:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._ask(
            "GET", f"/blobs/{blob.digest}", headers=headers, stream=True, ok=(200, 206)
        )
        skip = start if response.status_code == 200 else 0  # it does not know Range
        with contextlib.closing(response):
            for chunk in self._iterate(response, blob.digest):
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0

    def write_blob(self, blob: Descriptor, open_: Callable[[], BinaryIO]) -> None:
        """In one PUT behind a POST; from the start again where it is cut."""
        for attempt in range(_ATTEMPTS):
            begun = self._ask("POST", "/blobs/uploads/", ok=(202,))
            url = urljoin(f"{self._base}/", begun.headers.get("Location", ""))
            if urlsplit(url).hostname != urlsplit(self._base).hostname:
                raise IntegrityError(f"{self._host} sends uploads elsewhere", cause=url)
            url += ("&" if "?" in url else "?") + urlencode({"digest": blob.digest})
            with open_() as file:
                try:
                    headers = {
                        "Content-Type": "application/octet-stream",
                        "Content-Length": str(blob.size),
                    }
                    self._ask("PUT", url, headers=headers, data=file, ok=(201,), retry=False)
                    return
                except HostError:
                    if attempt + 1 == _ATTEMPTS or self.has_blob(blob):
                        if self.has_blob(blob):
                            return
                        raise
            time.sleep(_PAUSE_S * 2**attempt)

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        response = self._ask(
            "GET", f"/manifests/{reference}", headers=_ACCEPT, stream=True, ok=(200, 404)
        )
        with contextlib.closing(response):
            if response.status_code == 404:
                return None
            data = self._read_small(response, f"manifest {reference}")
        digest = reference if oci.is_digest(reference) else oci.get_digest(data)
        return digest, oci.check_digest(data, digest, "manifest")

    def write_manifest(self, data: bytes, media_type: str, tag: str | None) -> None:
        name = tag or oci.get_digest(data)
        headers = {"Content-Type": media_type}
        self._ask("PUT", f"/manifests/{name}", headers=headers, data=data, ok=(201,))

    def list_tags(self) -> list[str]:
        response = self._ask("GET", "/tags/list?n=100", stream=True, ok=(200, 404))
        with contextlib.closing(response):
            if response.status_code == 404:
                return []
            return oci.decode(self._read_small(response, "tags"), TagList, "tags").tags or []

    def list_referrers(self, digest: str) -> list[Descriptor]:
        """By the API where the registry has it, else by the tag that stands for it."""
        response = self._ask("GET", f"/referrers/{digest}", stream=True, ok=(200, 404, 400, 405))
        with contextlib.closing(response):
            if response.status_code == 200:
                data = self._read_small(response, "referrers")
                return oci.decode(data, Index, "referrers").manifests
        return self._list_tagged_referrers(digest)

    def add_referrer(self, digest: str, referrer: Descriptor) -> None:
        """Registries with the API list it by its `subject`; the others need the tag."""
        if any(each.digest == referrer.digest for each in self.list_referrers(digest)):
            return
        others = self._list_tagged_referrers(digest)
        index = oci.encode(Index(manifests=[*others, referrer]))
        self.write_manifest(index, oci.INDEX_TYPE, oci.get_referrers_tag(digest))

    def _list_tagged_referrers(self, digest: str) -> list[Descriptor]:
        found = self.read_manifest(oci.get_referrers_tag(digest))
        return [] if found is None else oci.decode(found[1], Index, "referrers").manifests

    def _read_small(self, response: Any, what: str) -> bytes:
        data = b""
        for chunk in self._iterate(response, what):
            data += chunk
            if len(data) > oci.MAX_MANIFEST_BYTES:
                raise IntegrityError(f"{what} refused", cause="it is too large")
        return data

    def _iterate(self, response: Any, what: str) -> Iterator[bytes]:
        import requests

        try:
            yield from response.iter_content(_CHUNK)
        except (requests.RequestException, OSError) as error:
            raise HostError(
                f"{self._host}: {what} was cut off", cause=_first_line(error)
            ) from error

    def _ask(
        self,
        method: str,
        path: str,
        *,
        ok: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        stream: bool = False,
        retry: bool = True,
    ) -> Any:
        """One exchange; tried again where the registry is busy, down or slow (429, 5xx)."""
        import requests

        url = path if path.startswith("http") else f"{self._base}{path}"
        problem: HostError | None = None
        for attempt in range(_ATTEMPTS if retry else 1):
            if attempt:
                time.sleep(self._pause_s)
            self._pause_s = min(_PAUSE_S * 2**attempt, _MAX_PAUSE_S)
            try:
                response = self._request(
                    self._oras, url, method, headers=dict(headers or {}), data=data, stream=stream
                )
            except requests.exceptions.MissingSchema as error:  # oras asks a realm for a token
                raise self._make_refusal(401, "a password is wanted") from error
            except (requests.RequestException, OSError) as error:
                problem = HostError(
                    f"cannot reach {self._host}",
                    cause=_first_line(error),
                    hint="is the registry up, and its name right?",
                )
                continue
            except ValueError as error:  # oras: a challenge that it cannot answer
                raise self._make_refusal(401, str(error), "HTTP 401 or 403") from error
            if response.status_code in ok:
                return response
            text = "" if stream else response.text[:200]
            response.close()
            if response.status_code not in (429, 500, 502, 503, 504):
                raise self._make_refusal(response.status_code, text)
            with contextlib.suppress(ValueError):
                self._pause_s = (
                    min(float(response.headers["Retry-After"]), _MAX_PAUSE_S)
                    if ("Retry-After" in response.headers)
                    else self._pause_s
                )
            problem = HostError(
                f"{self._host} answers HTTP {response.status_code}",
                cause=text or f"{method} {urlsplit(url).path}",
                hint="try again later",
            )
        assert problem is not None
        raise problem

    _pause_s = _PAUSE_S

    def _make_refusal(self, status: int, text: str, said: str = "") -> HostError:
        hints = {
            401: f"log in: docker login {self._host}",
            403: "this user may not do that in this repository",
            404: "is the repository's name right?",
        }
        what = f"{self._host}/{self._repository}: {said or f'HTTP {status}'}"
        return HostError(what, cause=" ".join(text.split()) or None, hint=hints.get(status))


class _Requests:
    """The session's `request`, with what oras leaves out: time limits, and registries that want a
    name and a password themselves (`Basic`), not a token."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._request = client.session.request
        self._headers: dict[str, str] = {}

    def __call__(self, method: str, url: str, **options: Any) -> Any:
        options = {"timeout": _TIMEOUT_S, **options}
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
