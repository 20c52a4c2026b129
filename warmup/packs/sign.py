"""`--sign`: with what a pack is signed. What cannot sign is told before hours of warming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from warmup.packs.attach import Attachment
from warmup.packs.keyless import (
    BUNDLE_TYPE,
    MAX_BUNDLE_BYTES,
    SIGN_PREDICATE,
    fetch_public,
    get_cause,
    require,
)
from warmup.packs.oci import Descriptor
from warmup.packs.ssh import SshSigning
from warmup.words.errors import HostError, UsageError
from warmup.words.files import read_regular
from warmup.words.timeout import call_within

_HINT = "write --sign ssh:KEY, or --sign sigstore"
_TOKEN = "SIGSTORE_ID_TOKEN"  # as cosign and GitLab name it
_TIMEOUT_S = 180.0


class Signing(Protocol):
    """A key, or an identity, that signs."""

    def sign(self, image: Descriptor, version_key: str) -> Attachment:
        """Raises UsageError for what cannot sign, HostError for what fails."""


@dataclass(frozen=True)
class KeylessSigning:
    """config: a ClientTrustConfig (sigstore's protobuf-specs), None for the public service."""

    config: Path | None
    environ: Mapping[str, str]

    def check(self) -> None:
        """Raises UsageError where there is nobody to sign as, HostError without the extra."""
        require()
        self._get_token()
        if self.config is not None:
            self._get_config()

    def sign(self, image: Descriptor, version_key: str) -> Attachment:
        """Raises UsageError, HostError for a service that fails."""
        require()
        from sigstore.dsse import StatementBuilder, Subject
        from sigstore.sign import SigningContext

        subject = {"name": version_key, "digest": {"sha256": image.digest.partition(":")[2]}}
        statement = StatementBuilder(
            [Subject.model_validate(subject)], predicate_type=SIGN_PREDICATE, predicate={}
        ).build()
        token, config = self._get_token(), self._get_config()

        def act() -> Any:
            with SigningContext.from_trust_config(config).signer(token) as signer:
                return signer.sign_dsse(statement)

        try:  # within a time: sigstore's clients wait forever for a service that says nothing
            bundle = call_within(_TIMEOUT_S, act)
        except Exception as error:  # of four services, each with errors of its own
            raise HostError(
                "cannot sign with sigstore", cause=get_cause(error), hint="try again later"
            ) from error
        annotations = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": SIGN_PREDICATE,
        }
        parts = {BUNDLE_TYPE: bundle.to_json().encode()}
        return Attachment(artifact_type=BUNDLE_TYPE, parts=parts, annotations=annotations)

    def _get_token(self) -> Any:
        from sigstore.oidc import IdentityError, IdentityToken, detect_credential

        try:
            raw = self.environ.get(_TOKEN) or detect_credential()
            if raw is not None:
                return IdentityToken(raw)
            cause = "this is not a CI system that gives its jobs an identity"
        except IdentityError as error:
            cause = get_cause(error)
        raise UsageError(
            "--sign sigstore: there is nobody to sign as",
            cause=cause,
            hint=f"in GitHub Actions: permissions: id-token: write; elsewhere a token in {_TOKEN}",
        )

    def _get_config(self) -> Any:
        from sigstore.models import ClientTrustConfig

        if self.config is None:
            return fetch_public()
        try:
            data = read_regular(self.config, MAX_BUNDLE_BYTES, follow=True)
            return ClientTrustConfig.from_json(data.decode())
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {self.config}", cause=get_cause(error)) from error


def parse_signing(text: str, environ: Mapping[str, str]) -> Signing:
    """`ssh:KEY` or `sigstore[:CLIENT_TRUST_CONFIG]`.

    Raises UsageError for what cannot sign here, HostError without the extra `sigstore`.
    """
    kind, _, path = text.partition(":")
    file = Path(path).expanduser() if path else None
    if kind == "ssh" and file is not None:
        if not file.is_file():
            raise UsageError(f"there is no key {file}")
        return SshSigning(file)
    if kind == "sigstore":
        signing = KeylessSigning(file, environ)
        signing.check()
        return signing
    raise UsageError(f"not a way to sign: {text[:100]!r}", hint=_HINT)
