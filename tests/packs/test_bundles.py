"""Bundles that were changed, made up, or recorded: what a hostile registry may serve."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import require
from tests.packs.signers import GITHUB, ORG, SigstoreSigners, make_statement, sign
from warmup.packs.keyless import verify_bundle
from warmup.packs.policy import Identity, read_policy
from warmup.words.errors import IntegrityError, UsageError

require("python:sigstore", "openssl")
RECORDED = Path(__file__).with_name("recorded") / "attestation.sigstore.json"
CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no certificate": lambda b: b["verificationMaterial"].pop("certificate"),
    "no log entry": lambda b: b["verificationMaterial"]["tlogEntries"].clear(),
    "two log entries": lambda b: b["verificationMaterial"]["tlogEntries"].append(
        copy.deepcopy(b["verificationMaterial"]["tlogEntries"][0])
    ),
    "no promise": lambda b: b["verificationMaterial"]["tlogEntries"][0].pop("inclusionPromise"),
    "another time": lambda b: b["verificationMaterial"]["tlogEntries"][0].update(
        integratedTime="1700000000"
    ),
    "no proof": lambda b: b["verificationMaterial"]["tlogEntries"][0].pop("inclusionProof"),
    "another index": lambda b: b["verificationMaterial"]["tlogEntries"][0].update(logIndex="99"),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "another payload type": lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
    "nothing signed": lambda b: b.pop("dsseEnvelope"),
    "an unknown form": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v9+json"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_bundle_is_refused(keyless: SigstoreSigners, change: str, tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    bundle = json.loads(sign(keyless, make_statement(digest)))
    assert check(keyless, json.dumps(bundle).encode(), digest)
    CHANGES[change](bundle)
    with pytest.raises(IntegrityError, match="signature refused"):
        check(keyless, json.dumps(bundle).encode(), digest)


def check(signers: SigstoreSigners, data: bytes, digest: str) -> str:
    identities = read_policy(signers.policy, "policy").identities
    return verify_bundle(data, digest, identities, signers.folder / "root.json").name


@pytest.fixture(scope="module")
def made(sigstore: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[SigstoreSigners, bytes]:
    sigstore.reset()
    signers = SigstoreSigners(tmp_path_factory.mktemp("made"), sigstore)
    return signers, sign(signers, make_statement(f"sha256:{'a' * 64}"))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 4000), byte=st.integers(32, 126), cut=st.booleans())
def test_no_byte_of_a_bundle_may_change_unseen(
    made: tuple[SigstoreSigners, bytes], at: int, byte: int, cut: bool
) -> None:
    """Either it is refused, or what it says is the same: who, and of which pack."""
    signers, data = made
    changed = data[:at] if cut else data[:at] + bytes([byte]) + data[at + 1 :]
    with contextlib.suppress(IntegrityError):
        assert check(signers, changed, f"sha256:{'a' * 64}") == signers.name
    with pytest.raises(IntegrityError):
        check(signers, changed, f"sha256:{'b' * 64}")


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["mediaType", "verificationMaterial", "dsseEnvelope", "tlogEntries"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_what_is_no_bundle_is_refused(made: tuple[SigstoreSigners, bytes], value: object) -> None:
    with pytest.raises(IntegrityError, match="signature refused"):
        check(made[0], json.dumps(value).encode(), f"sha256:{'a' * 64}")


def test_an_attestation_of_the_public_service_counts() -> None:
    """By `actions/attest` in a reusable workflow, in May 2024; recorded in github.com/cli/cli. Its
    subject says whose workflow file it was, and the repository who called it."""
    (root,) = [
        found
        for folder in resources.files("sigstore").joinpath("_store").iterdir()
        if folder.name.endswith("sigstore.dev")
        for found in folder.iterdir()
        if found.name == "trusted_root.json"
    ]
    workflow = "github/artifact-attestations-workflows/.github/workflows/attest.yml"
    who: dict[str, Any] = {
        "identity": f"https://github.com/{workflow}@09b495c3f12c7881b3cc17209a327792065c1a1d",
        "issuer": GITHUB,
        "repository": "https://github.com/malancas/attest-demo",
        "ref": "refs/heads/main",
    }
    digest = "sha256:49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25"
    data = RECORDED.read_bytes()
    with resources.as_file(root) as path:
        signer = verify_bundle(data, digest, [Identity(**who)], path)
        assert (signer.name, signer.created) == (who["identity"], "2024-05-24T19:14:24+00:00")
        other = Identity(**{**who, "repository": "https://github.com/github/other"})
        with pytest.raises(IntegrityError) as caught:
            verify_bundle(data, digest, [other], path)
    assert "rule `identities`" in (caught.value.cause or "")


@pytest.mark.parametrize("missing", ["repository", "ref", "identity", "issuer"])
def test_an_identity_that_anybody_could_have_is_no_policy(missing: str) -> None:
    """A reusable workflow lends its identity to whoever calls it."""
    identity = {"identity": "https://github.com/x", "issuer": GITHUB}
    identity |= {"repository": f"{ORG}/ci", "ref": "refs/heads/main"}
    assert read_policy({"identities": [identity]}, "policy").identities
    del identity[missing]
    with pytest.raises(UsageError, match=missing):
        read_policy({"identities": [identity]}, "policy")
