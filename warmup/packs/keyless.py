"""Signatures without a key of one's own: sigstore, as cosign and `actions/attest` use it.

A certificate of minutes says who somebody was (a workflow of a repository, by its OIDC token), a
transparency log says when it signed. Kept as a bundle (sigstore's protobuf-specs,
sigstore_bundle.proto) that is attached to the pack. Of the forms that are in use three vouch for a
pack: the in-toto statements of cosign's `sign` and of build provenance, and a plain signature over
the image manifest.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from warmup.packs.policy import Identity, Signer
from warmup.words.errors import HostError, IntegrityError, UsageError, WarmupError
from warmup.words.files import read_regular

BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE_BYTES = 1 << 20
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
# What says "this image is ours". Others (a scan, a list of parts) say something else about it.
_PREDICATES = (SIGN_PREDICATE, "https://slsa.dev/provenance/v1")
_STATEMENT = "https://in-toto.io/Statement/v1"
_PAYLOAD = "application/vnd.in-toto+json"
# Fulcio's live ten minutes. Of one that lives for months nobody could tell when it signed.
_MAX_LIFETIME = timedelta(hours=1)


def verify_bundle(
    data: bytes, digest: str, identities: Sequence[Identity], trust_root: Path | None
) -> Signer:
    """Who signed the image manifest of this digest, and when: to within the certificate's minutes.

    trust_root: a TrustedRoot file, None for the public one. Raises IntegrityError for a signature
    that does not hold or is not by one of these, UsageError, HostError.
    """
    require()
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle
    from sigstore_models.common.v1 import HashAlgorithm

    verifier = _open_verifier(trust_root)
    rule = _Identities(identities)
    try:
        bundle = Bundle.from_json(data)
        if "dsseEnvelope" in msgspec.json.decode(data):
            kind, payload = verifier.verify_dsse(bundle, rule)
            _check_statement(kind, payload, digest)
        else:
            wanted = bytes.fromhex(digest.partition(":")[2])
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=wanted)
            verifier.verify_artifact(hashed, bundle, rule)
    except WarmupError:
        raise
    except Exception as error:  # whatever hostile bytes raise in the libraries is a refusal
        raise IntegrityError("signature refused", cause=get_cause(error)) from error
    assert rule.found is not None  # the verifier asked the rule
    return _make_signer(rule.found, bundle.signing_certificate)


def _make_signer(identity: Identity, certificate: Any) -> Signer:
    """Raises IntegrityError where the certificate tells no time, or one that does not count."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end - begin > _MAX_LIFETIME:
        cause = f"its certificate lives from {begin} to {end}: nobody can tell when it signed"
        raise IntegrityError("signature refused", cause=cause)
    created = begin.isoformat(timespec="seconds")
    if identity.since is not None and begin < identity.since:
        cause = f"rule `identities`: {identity.identity} signed {created}, before {identity.since}"
        raise IntegrityError("signature refused", cause=cause)
    return Signer(kind="sigstore", name=identity.identity, created=created, issuer=identity.issuer)


class _Identities:
    """A verification policy of sigstore's (`sigstore.verify.policy.VerificationPolicy`): one of
    these signed. found: which one."""

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._identities = identities
        self.found: Identity | None = None

    def verify(self, cert: Any) -> None:
        from sigstore.errors import VerificationError
        from sigstore.verify import policy

        why = ""
        for each in self._identities:
            issuer = [policy.OIDCIssuer(each.issuer), policy.OIDCIssuerV2(each.issuer)]
            rules: list[Any] = [policy.Identity(identity=each.identity), policy.AnyOf(issuer)]
            if each.repository:
                rules.append(policy.OIDCSourceRepositoryURI(each.repository))
            if each.ref:
                rules.append(policy.OIDCSourceRepositoryRef(each.ref))
            try:
                policy.AllOf(rules).verify(cert)
            except VerificationError as error:
                why = str(error)
            else:
                self.found = each
                return
        raise VerificationError(f"rule `identities`: the policy names nobody like that: {why}")


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _InToto(msgspec.Struct, frozen=True, kw_only=True):
    """in-toto attestation framework, statement.md."""

    type_: str = msgspec.field(name="_type")
    subject: list[_Subject]
    predicate_type: str = msgspec.field(name="predicateType")


def _check_statement(kind: str, payload: bytes, digest: str) -> None:
    """Raises IntegrityError where it does not vouch for this image, ValueError for other data."""
    found = msgspec.json.decode(payload, type=_InToto)
    if kind != _PAYLOAD or found.type_ != _STATEMENT:
        cause = f"its statement is of the type {kind!r:.100}, {found.type_!r:.100}"
        raise IntegrityError("signature refused", cause=cause)
    if found.predicate_type not in _PREDICATES:
        cause = f"it says something else of the pack: {found.predicate_type!r:.100}"
        raise IntegrityError("signature refused", cause=cause)
    wanted = digest.partition(":")[2]
    if not any(each.digest.get("sha256") == wanted for each in found.subject):
        raise IntegrityError("signature refused", cause="it is of another pack")


def _open_verifier(path: Path | None) -> Any:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier
    from sigstore_models.trustroot.v1 import TrustedRoot as Inner

    if path is None:
        return Verifier(trusted_root=fetch_public().trusted_root)
    try:
        data = read_regular(path, MAX_BUNDLE_BYTES, follow=True)
        return Verifier(trusted_root=TrustedRoot(Inner.from_json(data)))
    except (OSError, ValueError, Error) as error:
        raise UsageError(
            f"cannot read the trust root {path}",
            cause=get_cause(error),
            hint="a TrustedRoot as `cosign trusted-root create` writes it",
        ) from error


def fetch_public() -> Any:
    """The public service's configuration, through TUF. Raises HostError."""
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig

    try:
        return ClientTrustConfig.production()
    except (Error, OSError) as error:
        raise HostError(
            "cannot fetch sigstore's trust root",
            cause=get_cause(error),
            hint="without a network: [packs] trust_root = FILE",
        ) from error


def require() -> None:
    """Raises HostError without the extra `sigstore`."""
    if importlib.util.find_spec("sigstore") is None:
        raise HostError(
            "signatures of sigstore need the extra `sigstore`",
            hint="pip install 'warmup-ci[packs,sigstore]'",
        )


def get_cause(error: BaseException) -> str:
    """Its first line, and that of what lies behind it."""
    texts = [str(each) or type(each).__name__ for each in (error, error.__cause__) if each]
    return ": ".join(text.strip().splitlines()[0][:300] for text in texts)
