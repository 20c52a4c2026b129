"""Packs signed without a key, against a sigstore of our own: every form that is in use, and whose
identities count."""

from __future__ import annotations

import base64
import json
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.needs import require
from tests.packs.fleet import Key, Machine, get_document
from tests.packs.registries import serve_answers, serve_registry
from tests.packs.signers import GITHUB, PROVENANCE, SigstoreSigners, make_statement, sign
from tests.packs.test_trust import refuse
from warmup.commands.push import check_push
from warmup.commands.verify import verify
from warmup.packs import keyless as product
from warmup.packs import oci
from warmup.packs import sign as signing
from warmup.packs.attach import Attachment, attach
from warmup.packs.keyless import BUNDLE_TYPE, SIGN_PREDICATE
from warmup.packs.layout import LayoutStore
from warmup.packs.oci import ImageManifest
from warmup.words.errors import HostError, UsageError

require("python:sigstore", "openssl")


@pytest.fixture
def trusting(reader: Machine, keyless: SigstoreSigners) -> Machine:
    reader.packs = dict(keyless.policy)
    return reader


def get_layout(store: str) -> LayoutStore:
    return LayoutStore("dir", store.removeprefix("dir:"), create=False)


def push_unsigned(writer: Machine, store: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The digest."""
    assert writer.push(store, json_output=True) == 0
    digest: str = get_document(capsys)["digest"]
    return digest


def attach_bundle(store: str, digest: str, bundle: bytes, predicate_type: str = "") -> None:
    layout = get_layout(store)
    found = layout.read_manifest(digest)
    assert found is not None
    attachment = Attachment(
        artifact_type=BUNDLE_TYPE,
        parts={BUNDLE_TYPE: bundle},
        annotations={"dev.sigstore.bundle.predicateType": predicate_type or PROVENANCE},
    )
    attach(layout, oci.describe(oci.MANIFEST_TYPE, found[1]), attachment)


@pytest.mark.needs("docker-registry", "skopeo")
@pytest.mark.parametrize("rekor", [1, 2])
def test_a_job_signs_and_another_machine_pulls_through_a_registry(
    tmp_path: Path, writer: Machine, trusting: Machine, keyless: SigstoreSigners, rekor: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As in GitHub Actions: the runner gives the job its token. With both versions of Rekor's API:
    a promise with a time, and an RFC 3161 timestamp."""
    config = tmp_path / "client.json"
    config.write_text(json.dumps(keyless.service.make_config(rekor)))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{keyless.service.url}/token?v=1")
    with serve_registry(tmp_path / "registry") as host:
        for machine in (writer, trusting):
            machine.packs = {**machine.packs, "insecure_registries": [host]}
        place = f"oci://{host}/org/jit"
        assert writer.push(f"{place}:main", sign=f"sigstore:{config}") == 0
        capsys.readouterr()
        assert trusting.pull(f"{place}:main", json_output=True) == 0
        pulled = get_document(capsys)
        assert verify(trusting.session, reference=f"{place}:main", json_output=True) == 0
        assert get_document(capsys)["signer"] == pulled["signer"]
    assert pulled["signer"] | {"created": ""} == {
        "kind": "sigstore",
        "name": keyless.name,
        "created": "",
        "issuer": GITHUB,
    }
    assert [each["state"] for each in pulled["launches"]] == ["warm"]


def test_it_is_attached_as_cosign_and_attest_do(
    writer: Machine, keyless: SigstoreSigners, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keyless.push(writer, store, json_output=True)
    digest = get_document(capsys)["digest"]
    layout = get_layout(store)
    (referrer,) = layout.list_referrers(digest)
    annotations = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": SIGN_PREDICATE,
    }
    assert (referrer.artifact_type, referrer.annotations) == (BUNDLE_TYPE, annotations)
    found = layout.read_manifest(referrer.digest)
    assert found is not None
    manifest = oci.decode(found[1], ImageManifest, "signature")
    assert manifest.artifact_type == BUNDLE_TYPE
    assert manifest.annotations == annotations
    assert manifest.config.media_type == "application/vnd.oci.empty.v1+json"
    assert [layer.media_type for layer in manifest.layers] == [BUNDLE_TYPE]
    assert manifest.subject is not None
    assert (manifest.subject.digest, manifest.subject.media_type) == (digest, oci.MANIFEST_TYPE)
    bundle = json.loads(b"".join(layout.read_blob(manifest.layers[0])))
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert payload["subject"][0]["digest"] == {"sha256": digest.partition(":")[2]}


@pytest.mark.parametrize("form", ["provenance", "plain signature", "without artifactType"])
def test_what_others_sign_counts(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str, form: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """`actions/attest` (and the form that it has for ECR), and a signature over the manifest."""
    digest = push_unsigned(writer, store, capsys)
    layout = get_layout(store)
    found = layout.read_manifest(digest)
    assert found is not None
    if form == "plain signature":
        attach_bundle(store, digest, sign(keyless, found[1], is_statement=False))
    elif form == "provenance":
        attach_bundle(store, digest, sign(keyless, make_statement(digest)))
    else:
        data = sign(keyless, make_statement(digest))
        layers = []
        for media_type, part in ((oci.CONFIG_TYPE, b"{}"), (BUNDLE_TYPE, data)):
            layers.append(oci.describe(media_type, part))
            with (store_path(store, layers[-1].digest)).open("wb") as file:
                file.write(part)
        manifest = oci.encode(ImageManifest(config=layers[0], layers=layers[1:]))
        layout.write_manifest(manifest, oci.MANIFEST_TYPE, None)
        listed = oci.describe(oci.MANIFEST_TYPE, manifest, artifact_type=BUNDLE_TYPE)
        layout.add_referrer(digest, listed)
    assert trusting.pull(store, json_output=True) == 0
    assert get_document(capsys)["signer"]["name"] == keyless.name


def store_path(store: str, digest: str) -> Path:
    return Path(store.removeprefix("dir:"), "blobs", "sha256", digest.partition(":")[2])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"predicate_type": "https://cosign.sigstore.dev/attestation/vuln/v1"}, "something else"),
        ({"digest": f"sha256:{'0' * 64}"}, "another pack"),
    ],
)
def test_a_statement_that_does_not_vouch_for_the_pack_is_refused(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    capsys: pytest.CaptureFixture[str], changes: dict[str, str], told: str,
) -> None:  # fmt: skip
    """By the right identity, but it says that the pack was scanned, or is of another one."""
    digest = push_unsigned(writer, store, capsys)
    statement = make_statement(**{"digest": digest, **changes})
    attach_bundle(store, digest, sign(keyless, statement))
    assert told in refuse(trusting, store)


@pytest.mark.parametrize(
    "claims",
    [
        {"ref": "refs/heads/topic"},
        {"ref": "refs/pull/7/merge"},
        {"repository": "evil/ci"},
        {"repository": "org/ci2"},
        {"iss": "https://token.example"},
        {"job_workflow_ref": "org/ci/.github/workflows/other.yml@refs/heads/main"},
        {"job_workflow_ref": "org/ci/.github/workflows/warm.yml@refs/heads/topic"},
    ],
)
def test_only_the_named_workflow_of_the_named_repository_and_branch_counts(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    claims: dict[str, str],
) -> None:  # fmt: skip
    keyless.push(writer, store, claims=claims)
    assert "rule `identities`" in refuse(trusting, store)
    keyless.push(writer, store)
    assert trusting.pull(store) == 0


def test_an_address_signs_too(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    issuer = "https://accounts.google.com"
    person = {"iss": issuer, "sub": "1", "email": "ci@example.com"}
    monkeypatch.setattr(keyless.service, "claims", person)
    keyless.push(writer, store)
    trusting.packs["identities"] = [{"identity": "ci@example.com", "issuer": issuer}]
    assert trusting.pull(store) == 0


def test_signatures_from_before_an_identity_s_time_do_not_count(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str
) -> None:
    keyless.push(writer, store)
    (identity,) = trusting.packs["identities"]
    now = datetime.now(timezone.utc)
    trusting.packs["identities"] = [{**identity, "since": now + timedelta(hours=1)}]
    assert "rule `identities`" in refuse(trusting, store)
    trusting.packs["identities"] = [{**identity, "since": now - timedelta(hours=1)}]
    assert trusting.pull(store) == 0


def test_a_certificate_that_lives_for_long_tells_no_time(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str
) -> None:
    keyless.service.authority.lifetime = timedelta(days=30)
    keyless.push(writer, store)
    assert "nobody can tell when it signed" in refuse(trusting, store)


def test_another_sigstore_s_signature_is_refused(
    tmp_path: Path, writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str
) -> None:
    """The same claims, another root: whoever runs a Fulcio of his own can have any name."""
    from tests.packs.sigstore_service import serve_sigstore

    with serve_sigstore(tmp_path / "other") as other:
        (tmp_path / "others").mkdir()
        SigstoreSigners(tmp_path / "others", other).push(writer, store)
    assert "signature refused" in refuse(trusting, store)


@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_each_part_of_the_root_is_asked(
    tmp_path: Path, writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    part: str,
) -> None:  # fmt: skip
    """A certificate that no log has seen, an entry that is in no log, a stranger's authority."""
    from tests.packs.sigstore_service import Sigstore

    (tmp_path / "other").mkdir()
    root = keyless.service.make_root()
    root[part] = Sigstore(tmp_path / "other").make_root()[part]
    (tmp_path / "root.json").write_text(json.dumps(root))
    keyless.push(writer, store)
    assert "signature refused" in refuse(trusting, store)


def test_a_signature_that_fails_moves_no_tag(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, key: Key, store: str
) -> None:
    keyless.push(writer, f"{store}:main")
    index = Path(store.removeprefix("dir:"), "index.json")
    before = json.loads(index.read_bytes())["manifests"]
    writer.compile("new")
    writer.mark()
    keyless.service.is_down = True
    with pytest.raises(HostError, match="cannot sign with sigstore"):
        keyless.push(writer, f"{store}:main")
    assert json.loads(index.read_bytes())["manifests"] == before
    assert trusting.pull(f"{store}:main") == 0


def test_a_service_that_says_nothing_is_not_waited_for(
    writer: Machine, keyless: SigstoreSigners, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = keyless.folder / "client.json"
        here = f"127.0.0.1:{silent.getsockname()[1]}"
        config.write_text(config.read_text().replace(keyless.service.url[7:], here))
        with pytest.raises(HostError, match="cannot sign with sigstore") as caught:
            keyless.push(writer, store)
    assert "no answer" in (caught.value.cause or "")


@pytest.mark.parametrize("is_github", [False, True])
def test_who_has_no_identity_is_told_before_anything_is_packed(
    writer: Machine, store: str, monkeypatch: pytest.MonkeyPatch, is_github: bool
) -> None:
    for name in ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    if is_github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(UsageError, match="nobody to sign as") as caught:
        check_push(writer.session, store, "sigstore")
    assert "id-token: write" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="nobody to sign as"):
        writer.push(store, sign="sigstore")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "no json"])
def test_a_broken_root_or_configuration_is_the_user_s_mistake(
    tmp_path: Path, writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    text: str,
) -> None:  # fmt: skip
    keyless.push(writer, store)
    for name in ("root.json", "client.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="cannot read the trust root"):
        trusting.pull(store)
    with pytest.raises(UsageError, match="cannot read"):
        keyless.push(writer, store)


def test_without_a_network_the_public_root_is_no_refusal(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    monkeypatch: pytest.MonkeyPatch, key: Key, tmp_path: Path,
) -> None:  # fmt: skip
    """Nobody could look: exit 3, and `run --from` goes on. An SSH signature beside it counts."""
    from sigstore.errors import TUFError
    from sigstore.models import ClientTrustConfig

    def fail(offline: bool = False) -> Any:
        raise TUFError("Failed to refresh TUF metadata")

    monkeypatch.setattr(ClientTrustConfig, "production", fail)
    keyless.push(writer, store)
    del trusting.packs["trust_root"]
    with pytest.raises(HostError, match="cannot fetch sigstore's trust root"):
        trusting.pull(store)
    assert not trusting.root.exists()
    writer.push(store, sign=key.sign)
    (tmp_path / "signers").write_text(key.make_line())
    trusting.packs["allowed_signers"] = "signers"
    assert trusting.pull(store) == 0


@pytest.mark.parametrize("is_stale", [False, True])
def test_the_public_root_comes_through_tuf(
    tmp_path: Path, writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    monkeypatch: pytest.MonkeyPatch, is_stale: bool,
) -> None:  # fmt: skip
    """Its repository is another one here; all else is as with the public one."""
    import sigstore.models

    from tests.packs.tuf_repository import trust_repository, write_repository

    known = write_repository(tmp_path / "tuf", keyless.service.make_config())
    if is_stale:  # signed by somebody else: whoever serves it cannot change it
        (tmp_path / "tuf" / "timestamp.json").unlink()
        write_repository(tmp_path / "evil", keyless.service.make_config())
        (tmp_path / "evil" / "timestamp.json").rename(tmp_path / "tuf" / "timestamp.json")

    def answer(handler: Any) -> None:
        path = tmp_path / "tuf" / handler.path[1:]
        data = path.read_bytes() if path.is_file() else b""
        handler.send_response(200 if data else 404)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    with serve_answers(answer) as (host, paths):
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        trust_repository(Path.home(), f"http://{host}", known)
        monkeypatch.setattr(sigstore.models, "DEFAULT_TUF_URL", f"http://{host}")
        keyless.push(writer, store)
        del trusting.packs["trust_root"]
        if is_stale:
            with pytest.raises(HostError, match="cannot fetch sigstore's trust root"):
                trusting.pull(store)
            assert not trusting.root.exists()
        else:
            assert trusting.pull(store) == 0
            assert any("/targets/" in path for path in paths)


def test_without_the_extra_it_is_told(
    writer: Machine, trusting: Machine, keyless: SigstoreSigners, store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keyless.push(writer, store)
    monkeypatch.setattr(product.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(HostError, match="need the extra `sigstore`"):
        trusting.pull(store)
    with pytest.raises(HostError, match="need the extra `sigstore`"):
        keyless.push(writer, store)
