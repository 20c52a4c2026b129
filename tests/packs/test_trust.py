"""Who may have signed what is used here: every rule refuses before anything is unpacked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.packs.fleet import Key, Machine, get_document
from tests.packs.signers import Signers
from warmup.commands.verify import verify
from warmup.packs import oci
from warmup.packs.layout import LayoutStore
from warmup.packs.oci import ImageManifest
from warmup.words.errors import IntegrityError, UsageError, WarmupError

NOBODY = {"ssh": "rule `allowed_signers`", "sigstore": "rule `identities`"}


def refuse(reader: Machine, reference: str, **options: Any) -> str:
    """The cause of a refusal; nothing was unpacked, and no marker written."""
    with pytest.raises(IntegrityError) as caught:
        reader.pull(reference, **options)
    assert caught.value.exit_status == 4
    assert not reader.root.exists() or not [p for p in reader.root.rglob("*") if "kernel" in p.name]
    assert list(reader.home.markers.iterdir()) == []
    return f"{caught.value.what}: {caught.value.cause}"


def test_an_unsigned_pack_is_refused(writer: Machine, reader: Machine, store: str) -> None:
    writer.push(store)
    assert "rule `signed`" in refuse(reader, store)


def test_a_stranger_s_signature_is_refused(
    writer: Machine, reader: Machine, signers: Signers, store: str
) -> None:
    signers.push(writer, store, who="stranger")
    assert NOBODY[signers.kind] in refuse(reader, store)
    signers.push(writer, store)  # a second signature, of one who may
    assert reader.pull(store) == 0


def test_a_policy_that_names_nobody_refuses(
    writer: Machine, reader: Machine, signers: Signers, store: str
) -> None:
    signers.push(writer, store)
    reader.packs = {}
    assert NOBODY[signers.kind] in refuse(reader, store)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('namespaces="warmup-ci-pack",valid-before="20200101"', "signer"),
        ('namespaces="git"', "signer"),
    ],
)
def test_a_key_that_expired_or_is_for_another_use_is_refused(
    writer: Machine, reader: Machine, key: Key, store: str, tmp_path: Path, options: str, told: str
) -> None:
    writer.push(store, sign=key.sign)
    (tmp_path / "signers").write_text(key.make_line(options))
    assert "signature refused" in refuse(reader, store)


def test_a_revoked_key_is_refused(
    writer: Machine, reader: Machine, key: Key, store: str, tmp_path: Path
) -> None:
    writer.push(store, sign=key.sign)
    (tmp_path / "signers.revoked").write_text(key.public + "\n")
    assert "revoked" in refuse(reader, store).lower()


def test_an_old_signature_is_refused(
    writer: Machine, reader: Machine, signers: Signers, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signers.set_time(datetime.now(timezone.utc) - timedelta(days=8), monkeypatch)
    signers.push(writer, store)
    reader.packs["max_age_days"] = 7
    assert "rule `max_age_days`" in refuse(reader, store)
    reader.packs["max_age_days"] = 9
    assert reader.pull(store) == 0


def test_a_signature_of_the_future_is_refused(
    writer: Machine, reader: Machine, signers: Signers, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that runs ahead would make a pack young for as long."""
    signers.set_time(datetime.now(timezone.utc) + timedelta(days=2), monkeypatch)
    signers.push(writer, store)
    reader.packs["max_age_days"] = 7
    assert "rule `max_age_days`" in refuse(reader, store)


def test_a_revoked_pack_is_refused_whoever_signed_it(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signers.push(writer, store, json_output=True)
    reader.packs["revoked"] = [get_document(capsys)["digest"]]
    assert "rule `revoked`" in refuse(reader, store)
    assert "rule `revoked`" in refuse(reader, store, allow_unsigned=True)


def test_a_pack_that_was_pulled_before_is_judged_again(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing has to be fetched any more, and the policy is another."""
    signers.set_time(datetime.now(timezone.utc) - timedelta(days=8), monkeypatch)
    signers.push(writer, store)
    capsys.readouterr()
    reader.pull(store, json_output=True)
    digest = get_document(capsys)["digest"]
    rules: dict[str, dict[str, Any]] = {
        "max_age_days": {"max_age_days": 7},
        "revoked": {"revoked": [digest]},
        NOBODY[signers.kind][6:-1]: {"allowed_signers": "", "identities": []},
    }
    for rule, changes in rules.items():
        before, reader.packs = reader.packs, {**reader.packs, **changes}
        with pytest.raises(IntegrityError) as caught:
            reader.pull(store)
        assert f"rule `{rule}`" in (caught.value.cause or "")
        reader.packs = before
        assert reader.pull(store) == 0


def test_an_older_pack_than_the_last_one_is_refused(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whoever can write to the registry moves the tag back to a pack with a hole in it."""
    now = datetime.now(timezone.utc)
    signers.set_time(now - timedelta(days=1), monkeypatch)
    signers.push(writer, f"{store}:main")
    index = Path(store.removeprefix("dir:"), "index.json")
    old = index.read_bytes()
    (writer.root / "triton" / "K2").mkdir()
    (writer.root / "triton" / "K2" / "a.cubin").write_bytes(b"2")
    writer.mark()
    signers.set_time(now, monkeypatch)
    signers.push(writer, f"{store}:main")
    first = Machine(reader.path.with_name("first"), packs=reader.packs)
    assert first.pull(f"{store}:main") == 0
    new = index.read_bytes()
    index.write_bytes(old)
    with pytest.raises(IntegrityError) as caught:
        first.pull(f"{store}:main")
    assert "rule `rollback`" in (caught.value.cause or "")
    assert verify(first.session, reference=f"{store}:main") == 4  # as `pull` answers
    capsys.readouterr()
    assert reader.pull(f"{store}:main", json_output=True) == 0  # which never saw the newer one
    digest = get_document(capsys)["digest"]
    index.write_bytes(new)
    accepted = json.loads((first.home.path / "packs" / "accepted.json").read_text())["packs"]
    assert first.pull(f"{store}@{accepted[f'{store}:main']['digest']}") == 0
    assert first.pull(f"{store}@{digest}") == 0  # asked for by its digest, after a newer one


def test_a_damaged_record_of_what_was_accepted_is_no_reason_to_accept(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    writer.push(store, sign=key.sign)
    folder = reader.home.path / "packs"
    folder.mkdir(mode=0o700)
    (folder / "accepted.json").write_text("{")
    assert "cannot tell which packs were accepted" in refuse(reader, store)


def test_another_pack_s_signature_is_refused(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signers.push(writer, f"{store}:good", json_output=True)
    good = get_document(capsys)["digest"]
    writer.compile("evil")
    writer.mark()
    writer.push(f"{store}:main", json_output=True)
    evil = get_document(capsys)["digest"]
    layout = LayoutStore("dir", store.removeprefix("dir:"), create=False)
    (referrer,) = layout.list_referrers(good)
    found = layout.read_manifest(referrer.digest)
    assert found is not None
    manifest = oci.decode(found[1], ImageManifest, "signature")
    subject = oci.Descriptor(media_type=oci.MANIFEST_TYPE, digest=evil, size=1)
    forged = oci.encode(msgspec.structs.replace(manifest, subject=subject))
    layout.write_manifest(forged, oci.MANIFEST_TYPE, None)
    layout.add_referrer(evil, oci.describe(oci.MANIFEST_TYPE, forged))
    assert "it is of another pack" in refuse(reader, f"{store}:main")


def test_a_registry_that_is_not_allowed_is_not_asked(reader: Machine) -> None:
    reader.packs["registries"] = ["ghcr.io/org"]
    for reference in ("oci://127.0.0.1:1/a/b", "oci://ghcr.io/organisation/x"):
        assert "rule `registries`" in refuse(reader, reference)


def test_allow_unsigned_is_loud_and_not_for_ci(
    writer: Machine, reader: Machine, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store)
    reader.environ["CI"] = "true"
    with pytest.raises(UsageError, match="refused where CI=true"):
        reader.pull(store, allow_unsigned=True)
    assert not reader.root.exists()
    reader.packs["allow_unsigned"] = True
    capsys.readouterr()
    assert reader.pull(store, allow_unsigned=True, json_output=True) == 0
    assert "warning:" in capsys.readouterr().err


def test_allow_unsigned_takes_a_stranger_s_pack_as_unsigned(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signers.push(writer, store, who="stranger")
    reader.environ["CI"] = "true"
    with pytest.raises(UsageError, match="refused where CI=true"):
        reader.pull(store, allow_unsigned=True)
    assert not reader.root.exists()
    del reader.environ["CI"]
    capsys.readouterr()
    assert reader.pull(store, allow_unsigned=True, json_output=True) == 0
    told = capsys.readouterr()
    assert "warning:" in told.err
    assert json.loads(told.out)["signer"] is None


@pytest.mark.parametrize("trust_proof", [False, True])
@pytest.mark.parametrize("proven", [False, True])
def test_a_proof_counts_where_the_policy_says_so(
    writer: Machine, reader: Machine, signers: Signers, store: str, trust_proof: bool, proven: bool
) -> None:
    writer.mark(proven=proven)
    signers.push(writer, store)
    reader.packs["trust_proof"] = trust_proof
    assert reader.pull(store) == 0
    (path,) = reader.home.markers.iterdir()
    assert json.loads(path.read_text())["proven"] is (trust_proof and proven)


def test_a_proof_of_nobody_does_not_count(
    writer: Machine, reader: Machine, signers: Signers, store: str
) -> None:
    signers.push(writer, store, who="stranger")
    reader.packs["trust_proof"] = True
    reader.pull(store, allow_unsigned=True)
    (path,) = reader.home.markers.iterdir()
    assert json.loads(path.read_text())["proven"] is False


def test_verify_says_who_when_and_what(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signers.push(writer, store)
    capsys.readouterr()
    assert verify(reader.session, reference=store, json_output=True) == 0
    found = get_document(capsys)
    assert (found["signer"]["kind"], found["signer"]["name"]) == (signers.kind, signers.name)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["signer"]["created"])
    assert abs(age) < timedelta(minutes=5)
    assert {each["name"] for each in found["ingredients"]} >= {"torch", "gpu_name"}
    assert found["launches"][0]["seconds"] == 41.5
    assert found["families"]["triton"]["entries"] == 1
    assert verify(reader.session, reference=store.removeprefix("dir:")) == 0
    told = capsys.readouterr().out
    assert f"yes: {store} is signed by {signers.name}" in told
    assert not reader.root.exists()


def test_verify_says_no_and_which_rule(
    writer: Machine, reader: Machine, signers: Signers, store: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signers.push(writer, store, who="stranger")
    capsys.readouterr()
    assert verify(reader.session, reference=store) == 4
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"no: {store}: ")
    assert NOBODY[signers.kind] in told[0]
    with pytest.raises(IntegrityError):  # whose document has status 4 and the cause
        verify(reader.session, reference=store, json_output=True)
    assert verify(reader.session, reference=store, allow_unsigned=True) == 0
    assert capsys.readouterr().out.startswith(f"unsigned: {store}")
    reader.environ["CI"] = "true"
    with pytest.raises(UsageError, match="refused where CI=true"):
        verify(reader.session, reference=store, allow_unsigned=True)


def test_another_image_is_not_a_pack(reader: Machine, tmp_path: Path) -> None:
    layout = LayoutStore("dir", str(tmp_path / "store"), create=True)
    layout.write_manifest(b"{}", oci.MANIFEST_TYPE, "main")
    with pytest.raises(IntegrityError):
        reader.pull(f"dir:{tmp_path}/store:main", allow_unsigned=True)
    with pytest.raises(WarmupError, match="there is no pack"):
        reader.pull(f"dir:{tmp_path}/store:other")
    with pytest.raises(WarmupError, match="cannot open"):
        reader.pull(f"dir:{tmp_path}/nowhere:main")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("text", ["", "ftp://x/y", "oci://host", "dir:", "oci://h/r:bad tag"])
def test_what_is_not_a_reference_is_told(reader: Machine, text: str) -> None:
    with pytest.raises(UsageError):
        reader.pull(text)


@pytest.mark.parametrize("sign", ["KEY", "gpg:x", "ssh:", "ssh:/nowhere", "sigstore:/nowhere"])
def test_what_cannot_sign_is_told(writer: Machine, store: str, sign: str) -> None:
    with pytest.raises(UsageError):
        writer.push(store, sign=sign)


def test_an_unknown_key_of_the_policy_is_told(reader: Machine, store: str) -> None:
    reader.packs["alowed_signers"] = "x"
    with pytest.raises(UsageError, match=r"workflow\.toml: packs"):
        reader.pull(store)
