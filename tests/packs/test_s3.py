"""Packs in an object store that speaks S3: moto's server, where it is installed.

It is in no extra of ours: `pip install 'moto[server]'`, or a folder with it on PYTHONPATH.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packs.fleet import Key, Machine, get_document
from tests.packs.registries import find_port, wait_for
from warmup.commands.verify import verify
from warmup.packs import layout, oci
from warmup.packs.layout import LayoutStore
from warmup.words.errors import HostError, IntegrityError, WarmupError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None, reason="opt-in: moto[server] is not installed"
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import requests

    port = find_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            requests.put(f"http://127.0.0.1:{port}/bucket", timeout=30).raise_for_status()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def place(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of this test alone, and the environment that names the endpoint."""
    set_endpoint(monkeypatch, endpoint)
    return f"s3://bucket/{tmp_path.name}"


def set_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)


def test_a_bucket_keeps_what_a_folder_keeps(
    writer: Machine, reader: Machine, key: Key, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert writer.push(f"{place}:main", sign=key.sign, json_output=True) == 0
    pushed = get_document(capsys)
    assert writer.push(f"{place}:main", sign=key.sign, json_output=True) == 0
    again = get_document(capsys)
    assert (again["digest"], again["sent_bytes"]) == (pushed["digest"], 0)
    assert verify(reader.session, reference=f"{place}:main") == 0
    capsys.readouterr()
    assert reader.pull(pushed["reference"], json_output=True) == 0
    assert get_document(capsys)["signer"]["name"] == "writer@example"
    assert reader.session.check(reader.launches[0]).is_warm
    assert reader.pull(f"{place}:main") == 0
    with pytest.raises(WarmupError, match="there is no pack") as caught:
        reader.pull(f"{place}:other")
    assert "there are main" in (caught.value.cause or "")


def test_a_blob_that_was_changed_in_the_bucket_is_refused(
    writer: Machine, reader: Machine, key: Key, place: str, endpoint: str
) -> None:
    import obstore
    from obstore.store import from_url

    writer.push(f"{place}:main", sign=key.sign)
    bucket = from_url(place)
    listed = [each for page in obstore.list(bucket, "blobs/sha256") for each in page]
    for each in listed:
        data = bytearray(bytes(obstore.get(bucket, each["path"]).bytes()))
        data[-1] ^= 1
        obstore.put(bucket, each["path"], bytes(data))
    with pytest.raises(IntegrityError):
        reader.pull(f"{place}:main")
    assert not reader.root.exists()


def test_many_writers_lose_no_tag(writer: Machine, place: str) -> None:
    """Each moves a tag of its own in the one index, by conditional writes."""
    tags = [f"t{number}" for number in range(6)]
    threads = [threading.Thread(target=tag_manifest, args=(place, tag)) for tag in tags]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert LayoutStore("s3", place.removeprefix("s3://"), create=False).list_tags() == tags


def tag_manifest(place: str, tag: str) -> None:
    store = LayoutStore("s3", place.removeprefix("s3://"), create=True)
    store.write_manifest(tag.encode(), oci.MANIFEST_TYPE, tag)


def test_a_bucket_that_is_down_or_not_there_is_told(
    reader: Machine, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WarmupError, match="there is no pack"):
        reader.pull("s3://nobucket/a:main")
    monkeypatch.setattr(layout, "_RETRY_S", 1)
    set_endpoint(monkeypatch, f"http://127.0.0.1:{find_port()}")
    with pytest.raises(HostError, match=r"cannot read index\.json"):
        reader.pull(f"{place}:main")
