"""Packs in a real registry: other tools read them, and whatever the network does is told."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.fleet import Key, Machine, get_document, read_tree
from tests.packs.registries import (
    find_port,
    make_answer,
    serve_answers,
    serve_proxy,
    serve_registry,
)
from warmup.commands.gc import gc
from warmup.packs import blobs, client
from warmup.packs import registry as registry_module
from warmup.words.errors import HostError, IntegrityError, UsageError


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, registry_module):
        monkeypatch.setattr(module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "_MAX_PAUSE_S", 0.05)
    monkeypatch.setattr(blobs, "_PAUSE_S", 0.01)


@pytest.fixture
def place(host: str, tmp_path: Path, writer: Machine, reader: Machine) -> str:
    """A repository of this test alone."""
    allow(host, writer, reader)
    return f"{host}/{tmp_path.name.replace('_', '-').lower()[:60].strip('-')}"


def allow(host: str, *machines: Machine) -> None:
    for machine in machines:
        machine.packs["insecure_registries"] = [host]


def test_a_registry_keeps_what_a_folder_keeps(
    writer: Machine, reader: Machine, key: Key, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert writer.push(f"oci://{place}", sign=key.sign, json_output=True) == 0
    pushed = get_document(capsys)
    assert pushed["reference"] == f"oci://{place}@{pushed['digest']}"
    assert writer.push(f"oci://{place}", sign=key.sign, json_output=True) == 0
    again = get_document(capsys)
    assert (again["digest"], again["sent_bytes"]) == (pushed["digest"], 0)
    assert reader.pull(f"oci://{place}", json_output=True) == 0
    found = get_document(capsys)
    assert found["signer"]["name"] == "writer@example"
    assert reader.session.check(reader.launches[0]).is_warm
    assert reader.pull(pushed["reference"], json_output=True) == 0
    assert get_document(capsys)["fetched_bytes"] == 0


@pytest.mark.needs("skopeo", "umoci")
def test_skopeo_and_umoci_read_it(writer: Machine, key: Key, place: str, tmp_path: Path) -> None:
    writer.push(f"oci://{place}:main", sign=key.sign)
    layout = f"{tmp_path}/layout"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{place}:main", f"oci:{layout}:main")
    labels = json.loads(run("skopeo", "inspect", f"oci:{layout}:main"))["Labels"]
    assert labels["warmup-ci.version-key"] == writer.vector.key
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:main", f"{tmp_path}/bundle")
    unpacked = read_tree(tmp_path / "bundle/rootfs")
    manifest = json.loads(unpacked.pop(".warmup-ci/manifest.json"))
    assert set(manifest["families"]) == {"deep_gemm", "triton"}
    assert unpacked == read_tree(writer.root)


@pytest.mark.needs("skopeo")
def test_a_pack_that_skopeo_copied_into_a_folder_is_pulled(
    writer: Machine, reader: Machine, place: str, tmp_path: Path
) -> None:
    writer.push(f"oci://{place}:main")
    layout = f"{tmp_path}/layout"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{place}:main", f"oci:{layout}:main")
    assert reader.pull(f"dir:{layout}:main", allow_unsigned=True) == 0
    assert reader.session.check(reader.launches[0]).is_warm


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(writer: Machine, size: int = 3 << 20) -> None:
    """Bytes that gzip cannot shorten, so that a layer takes more than one read."""
    import random

    folder = writer.root / "triton" / "Kbig"
    folder.mkdir()
    (folder / "big.cubin").write_bytes(random.Random(1).randbytes(size))
    writer.mark()


def test_a_connection_that_is_cut_goes_on_where_it_was(
    writer: Machine, reader: Machine, key: Key, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(writer)
    writer.push(f"oci://{place}", sign=key.sign)
    passed: dict[int, int] = {}

    def cut(number: int, data: bytes) -> bytes | None:
        passed[number] = passed.get(number, 0) + len(data)
        return data if passed[number] < 1 << 20 else None

    host, _, rest = place.partition("/")
    with serve_proxy(host, cut) as (proxy, seen):
        allow(proxy, reader)
        capsys.readouterr()
        reader.pull(f"oci://{proxy}/{rest}", json_output=True)
    assert any(b"Range: bytes=" in request for request in seen)
    assert reader.session.check(reader.launches[0]).is_warm
    assert get_document(capsys)["launches"][0]["state"] == "warm"


def test_a_connection_that_corrupts_is_told_and_nothing_is_unpacked(
    writer: Machine, reader: Machine, key: Key, place: str
) -> None:
    fill(writer)
    writer.push(f"oci://{place}", sign=key.sign)

    def corrupt(number: int, data: bytes) -> bytes:
        flipped = bytearray(data)
        if len(data) > 20000:
            flipped[15000] ^= 1
        return bytes(flipped)

    host, _, rest = place.partition("/")
    with serve_proxy(host, corrupt) as (proxy, _):
        allow(proxy, reader)
        with pytest.raises(IntegrityError, match="not what its digest says"):
            reader.pull(f"oci://{proxy}/{rest}")
    assert not list(reader.root.rglob("*.cubin"))
    assert not [path for path in reader.root.iterdir() if ".warmup-ci-pull-" in path.name]


def test_a_registry_that_is_down_is_told(reader: Machine) -> None:
    host = f"127.0.0.1:{find_port()}"
    allow(host, reader)
    with pytest.raises(HostError, match=f"cannot reach {host}"):
        reader.pull(f"oci://{host}/a")


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (401, "HTTP 401"),
        (403, "HTTP 401 or 403"),
        (404, "there is no pack"),
        (503, "answers HTTP 503"),
    ],
)
def test_what_a_registry_answers_is_told(reader: Machine, status: int, what: str) -> None:
    with serve_answers(make_answer(status)) as (host, _):
        allow(host, reader)
        with pytest.raises(Exception, match=what) as caught:
            reader.pull(f"oci://{host}/a")
    assert getattr(caught.value, "exit_status", None) in (1, 3)


def test_a_busy_registry_is_asked_again(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """429 with Retry-After, twice; then nothing of that name."""
    answers = iter([429, 429])

    def answer(handler: Any) -> None:
        make_answer(next(answers, 404), "Retry-After", "0")(handler)

    with serve_answers(answer) as (host, paths):
        allow(host, reader)
        with pytest.raises(Exception, match="there is no pack"):
            reader.pull(f"oci://{host}/a:main")
    assert paths[:3] == ["GET /v2/a/manifests/main"] * 3


@pytest.mark.parametrize("wanted", ["-5", "nan", "soon"])
def test_a_retry_after_that_nobody_can_wait_is_left_aside(
    reader: Machine, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.0)

    with serve_answers(make_answer(503, "Retry-After", wanted)) as (host, paths):
        allow(host, reader)
        with pytest.raises(HostError, match="answers HTTP 503"):
            reader.pull(f"oci://{host}/a:main")
    assert len(paths) == 5


@pytest.mark.parametrize("challenge", ["Bearer", 'Bearer service="x"', "Negotiate"])
def test_a_challenge_that_names_nobody_to_ask_is_told(reader: Machine, challenge: str) -> None:
    with serve_answers(make_answer(401, "WWW-Authenticate", challenge)) as (host, _):
        allow(host, reader)
        with pytest.raises(HostError, match="HTTP 401") as caught:
            reader.pull(f"oci://{host}/a:main")
    assert "docker login" in (caught.value.hint or "")


@pytest.mark.parametrize("at", ["token", "redirect", "upload"])
def test_what_no_caller_streams_ends_too(
    writer: Machine, reader: Machine, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of 256 MiB where a token, a redirect's few words or an upload's place is expected."""
    monkeypatch.setattr(client, "_PAUSE_S", 0.0)
    sent = 0

    def answer(handler: Any) -> None:
        nonlocal sent
        host, asked = handler.headers["Host"], f"{handler.command} {handler.path}"
        starts = {"token": "GET /token", "redirect": "GET /v2/", "upload": "POST /v2/"}
        is_endless = asked.startswith(starts[at])
        quiet = 401 if at == "token" else 404
        loud = {"token": 200, "redirect": 307, "upload": 202}[at]
        handler.send_response(loud if is_endless else quiet)
        handler.send_header("Location", f"http://{host}/elsewhere")
        if not is_endless:
            handler.send_header("WWW-Authenticate", f'Bearer realm="http://{host}/token"')
            handler.send_header("Content-Length", "0")
        handler.end_headers()
        for _ in range(4096 if is_endless else 0):
            handler.wfile.write(b" " * 65536)
            sent += 65536

    with serve_answers(answer) as (host, _):
        allow(host, reader, writer)
        with pytest.raises(HostError, match="answers without end"):
            if at == "upload":
                writer.push(f"oci://{host}/a:main")
            else:
                reader.pull(f"oci://{host}/a:main")
    assert 0 < sent < 64 << 20


def test_a_registry_that_sends_without_end_is_stopped(reader: Machine) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b" " * 65536)

    with serve_answers(answer) as (host, _):
        allow(host, reader)
        with pytest.raises(IntegrityError, match="manifest main refused"):
            reader.pull(f"oci://{host}/a:main")


def test_another_manifest_than_the_digest_s_is_refused(reader: Machine) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    with serve_answers(answer) as (host, _):
        allow(host, reader)
        with pytest.raises(IntegrityError, match="not what its digest says"):
            reader.pull(f"oci://{host}/a@sha256:{'0' * 64}")


@pytest.mark.parametrize(
    "name", ["a/b@sha256:abc", "a/b@sha512:abc", "a/b:no/such", "a/", f"a/b@sha256:{'A' * 64}"]
)
def test_a_name_that_no_pack_can_have_is_a_usage_error(reader: Machine, name: str) -> None:
    """A digest that is none would be asked for as a tag, and no rollback be seen."""
    with pytest.raises(UsageError, match=r"not a digest|does not name a repository"):
        reader.pull(f"oci://{name}")


def test_a_head_that_drips_does_not_hold_the_glance_of_a_second_pull(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_HEAD_S", 0.3)
    ended = threading.Event()

    def drip(handler: Any) -> None:
        while not ended.wait(0.02):
            handler.wfile.write(b"X")

    with serve_answers(drip) as (host, _):
        assert client.RegistryClient(f"{host}/a", (host,)).glance("/manifests/main", {}) == {}
        ended.set()


def test_plain_http_is_for_loopback_alone(reader: Machine) -> None:
    reader.packs["insecure_registries"] = ["registry.example"]
    with pytest.raises(UsageError, match="plain HTTP"):
        reader.pull("oci://registry.example/a")


@pytest.mark.slow
@pytest.mark.needs("perl")
@pytest.mark.parametrize("is_named", [False, True])
def test_a_registry_with_a_password(
    writer: Machine, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    """docker's config has the credentials, as `docker login` leaves it; DOCKER_CONFIG names one."""
    import base64

    hashed = run("perl", "-e", r'print crypt("hunter22", q($2y$05$abcdefghijklmnopqrstuu))')
    (tmp_path / "htpasswd").write_text(f"ci:{hashed}\n")
    more = f"auth: {{ htpasswd: {{ realm: r, path: {tmp_path}/htpasswd }} }}"
    with serve_registry(tmp_path / "registry", more) as host:
        allow(host, writer)
        with pytest.raises(HostError, match="HTTP 401") as caught:
            writer.push(f"oci://{host}/a")
        assert "docker login" in (caught.value.hint or "")
        for name, password in (
            (".docker", "wrong" if is_named else "hunter22"),
            ("own", "hunter22"),
        ):
            (Path.home() / name).mkdir()
            token = base64.b64encode(f"ci:{password}".encode()).decode()
            text = json.dumps({"auths": {host: {"auth": token}}})
            (Path.home() / name / "config.json").write_text(text)
        if is_named:
            monkeypatch.setenv("DOCKER_CONFIG", str(Path.home() / "own"))
        assert writer.push(f"oci://{host}/a", sign=key.sign) == 0


@contextlib.contextmanager
def serve_store(
    store: str, send_layer: Callable[[Any, bytes], None], *, spared: int = 0
) -> Iterator[str]:
    """A registry that serves the true manifests of this folder, and layers, but for the first
    `spared` that it is asked for, as it pleases."""
    folder = Path(store.removeprefix("dir:"))
    index = json.loads((folder / "index.json").read_bytes())
    tags = {m["annotations"]["org.opencontainers.image.ref.name"]: m for m in index["manifests"]}
    asked: list[str] = []

    def answer(handler: Any) -> None:
        name = handler.path.rpartition("/")[2]
        digest = tags[name]["digest"] if name in tags else name
        path = folder / "blobs" / digest.replace(":", "/")
        is_there = path.is_file() and "/referrers/" not in handler.path
        data = path.read_bytes() if is_there else b""
        handler.send_response(200 if data else 404)
        if "/blobs/" in handler.path and data[:2] == b"\x1f\x8b" and handler.command == "GET":
            asked.append(digest)
            if len(asked) > spared:
                send_layer(handler, data)
                return
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    with serve_answers(answer) as (host, _):
        yield host


def test_a_blob_that_is_longer_than_it_says_is_refused(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    """The registry serves the true manifests, and layers with more behind them."""
    writer.push(f"{store}:main", sign=key.sign)

    def append(handler: Any, data: bytes) -> None:
        handler.send_header("Content-Length", str(len(data) + 4))
        handler.end_headers()
        handler.wfile.write(data + b"more")

    with serve_store(store, append) as host:
        allow(host, reader)
        with pytest.raises(IntegrityError, match="refused") as caught:
            reader.pull(f"oci://{host}/a:main")
    assert "that it lists came" in (caught.value.cause or "")
    assert not reader.root.exists()


def test_a_registry_that_drips_for_ever_is_left(
    writer: Machine, reader: Machine, key: Key, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte at a time, so that no read ever times out; what came is kept, and gc drops it."""
    fill(writer)
    writer.push(f"{store}:main", sign=key.sign)
    monkeypatch.setattr(client, "_WINDOW_S", 0.2)
    ended = threading.Event()

    def drip(handler: Any, data: bytes) -> None:
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for at in range(len(data)):
            if ended.wait(0.01):
                return
            handler.wfile.write(data[at : at + 1])
            handler.wfile.flush()

    with serve_store(store, drip, spared=1) as host:
        allow(host, reader)
        with pytest.raises(HostError, match="comes too slowly"):
            reader.pull(f"oci://{host}/a:main")
        ended.set()
    assert not reader.root.exists() or not list(reader.root.rglob("*.cubin"))
    parts = list((reader.home.path / "packs" / "blobs").glob("*.part"))
    assert parts
    gc(reader.session, families=())
    assert not [part for part in parts if part.exists()]


def test_a_blob_that_ends_before_it_says_is_told(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    """However often it is asked for: no more comes, and nothing half is used."""
    writer.push(f"{store}:main", sign=key.sign)

    def cut(handler: Any, data: bytes) -> None:
        handler.send_header("Content-Length", str(len(data) // 2))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])

    with serve_store(store, cut, spared=1) as host:
        allow(host, reader)
        with pytest.raises(HostError, match="was cut off"):
            reader.pull(f"oci://{host}/a:main")
    assert not list(reader.root.rglob("*.cubin"))


def test_a_registry_whose_head_drips_is_left(
    reader: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_HEAD_S", 0.3)
    ended = threading.Event()

    def drip(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.02):
            handler.wfile.write(b"X-More: and more\r\n"[:1])

    with serve_answers(drip) as (host, _):
        allow(host, reader)
        with pytest.raises(HostError, match="cannot reach") as caught:
            reader.pull(f"oci://{host}/a:main")
        ended.set()
    assert "no answer for" in (caught.value.cause or "")
