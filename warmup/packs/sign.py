"""`--sign`: with what a pack is signed. What cannot sign is told before hours of warming."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from warmup.packs.attach import Attachment
from warmup.packs.keyless import KeylessSigning
from warmup.packs.oci import Descriptor
from warmup.packs.ssh import SshSigning
from warmup.words.errors import UsageError

_HINT = "write --sign ssh:KEY, or --sign sigstore"


class Signing(Protocol):
    """A key, or an identity, that signs."""

    def sign(self, image: Descriptor, version_key: str) -> Attachment:
        """Raises UsageError for what cannot sign, HostError for what fails."""


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
