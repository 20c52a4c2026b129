"""A second pull looks at little, and at all that could have changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.commands.warmed import make_vector
from tests.packs.fleet import Key, Machine, get_document
from tests.packs.registries import serve_proxy, serve_registry
from tests.packs.signers import make_clock
from warmup.packs import pull as pull_module
from warmup.packs import ssh
from warmup.words.errors import IntegrityError


@pytest.fixture
def whole_pulls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was pulled whole, by name: the true pull runs, and is counted."""
    seen: list[str] = []
    real = pull_module.Pull._pull

    def count(self: pull_module.Pull, packs: object) -> object:
        seen.append(str(self.source))
        return real(self, packs)  # type: ignore[arg-type]

    monkeypatch.setattr(pull_module.Pull, "_pull", count)
    return seen


@pytest.fixture
def pulled(
    writer: Machine, reader: Machine, key: Key, store: str, whole_pulls: list[str]
) -> Machine:
    writer.push(f"{store}:main", sign=key.sign)
    reader.pull(f"{store}:main")
    assert whole_pulls == [f"{store}:main"]
    whole_pulls.clear()
    return reader


def test_it_says_the_same_again(
    pulled: Machine, store: str, whole_pulls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    pulled.pull(f"{store}:main", json_output=True)
    quick = get_document(capsys)
    for receipt in (pulled.home.path / "packs" / "receipts").iterdir():
        receipt.write_text("{")
    assert whole_pulls == []
    pulled.pull(f"{store}:main", json_output=True)
    assert get_document(capsys) == quick
    assert whole_pulls == [f"{store}:main"]
    assert {name: each["placed"] for name, each in quick["families"].items()} == {
        "deep_gemm": 0,
        "triton": 0,
    }


def test_a_registry_is_asked_once(
    writer: Machine, reader: Machine, key: Key, tmp_path: Path, whole_pulls: list[str]
) -> None:
    with serve_registry(tmp_path / "registry") as host, serve_proxy(host, pass_on) as (proxy, seen):
        for machine in (writer, reader):
            machine.packs["insecure_registries"] = [host, proxy]
        writer.push(f"oci://{host}/a:main", sign=key.sign)
        reader.pull(f"oci://{proxy}/a:main")
        assert len(seen) > 4
        del seen[:]
        reader.pull(f"oci://{proxy}/a:main")
        assert [request.split(b"\r\n")[0] for request in seen] == [
            b"HEAD /v2/a/manifests/main HTTP/1.1"
        ]
    assert len(whole_pulls) == 1


def pass_on(number: int, data: bytes) -> bytes:
    return data


def test_a_file_that_is_gone_or_other_comes_back(
    pulled: Machine, store: str, whole_pulls: list[str]
) -> None:
    cubin = next(pulled.root.rglob("kernel.cubin"))
    good = cubin.read_bytes()
    for damage in (cubin.unlink, lambda: cubin.write_bytes(b"x")):
        damage()
        pulled.pull(f"{store}:main")
        assert cubin.read_bytes() == good
    assert len(whole_pulls) == 2


@pytest.fixture
def seeded(pulled: Machine, store: str, whole_pulls: list[str]) -> Iterator[Machine]:
    """Two ingredients are off: the entries are here, and no marker stands for them."""
    pulled.vector = make_vector(torch="2.14", compute_capability="9.0", gpu_name="H100")
    pulled.pull(f"{store}:main")
    assert whole_pulls == [f"{store}:main"]
    whole_pulls.clear()
    yield pulled


def test_what_no_marker_stands_for_is_looked_at_too(
    seeded: Machine, store: str, whole_pulls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    seeded.pull(f"{store}:main", json_output=True)
    assert get_document(capsys)["launches"][0]["state"] == "seed"
    assert whole_pulls == []
    for marker in seeded.home.markers.iterdir():
        marker.unlink()
    cubin = next(seeded.root.rglob("kernel.cubin"))
    good = cubin.read_bytes()
    cubin.write_bytes(b"x")
    seeded.pull(f"{store}:main")
    assert cubin.read_bytes() == good


def test_a_signature_that_counts_no_more_is_refused(
    pulled: Machine, key: Key, store: str, tmp_path: Path
) -> None:
    (tmp_path / "signers.revoked").write_text(key.public + "\n")
    with pytest.raises(IntegrityError) as caught:
        pulled.pull(f"{store}:main")
    assert "revoked" in f"{caught.value.cause}".lower()


def test_a_signature_that_has_grown_old_is_refused_until_there_is_another(
    writer: Machine, reader: Machine, key: Key, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = datetime.now(timezone.utc) - timedelta(days=8)
    monkeypatch.setattr(ssh, "datetime", make_clock(old))
    writer.push(f"{store}:main", sign=key.sign)
    reader.pull(f"{store}:main")
    reader.packs["max_age_days"] = 7
    with pytest.raises(IntegrityError, match="pack refused"):
        reader.pull(f"{store}:main")
    monkeypatch.setattr(ssh, "datetime", datetime)
    writer.push(f"{store}:main", sign=key.sign)  # the same pack, signed again
    assert reader.pull(f"{store}:main") == 0


def test_another_pack_under_the_tag_is_pulled(
    writer: Machine, pulled: Machine, key: Key, store: str, whole_pulls: list[str]
) -> None:
    writer.compile("other")
    writer.mark()
    writer.push(f"{store}:main", sign=key.sign)
    pulled.pull(f"{store}:main")
    assert (pulled.root / "triton" / "Kother").is_dir()
    assert whole_pulls == [f"{store}:main"]


def test_a_marker_that_is_gone_is_derived_again(
    pulled: Machine, store: str, whole_pulls: list[str]
) -> None:
    for marker in pulled.home.markers.iterdir():
        marker.unlink()
    pulled.pull(f"{store}:main")
    assert pulled.session.check(pulled.launches[0]).is_warm
    assert whole_pulls == [f"{store}:main"]
