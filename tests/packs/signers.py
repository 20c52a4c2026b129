"""Who may sign and who may not, with an SSH key and with sigstore: one face for both."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.packs.fleet import Key, Machine
from warmup.packs import ssh

if TYPE_CHECKING:
    from tests.packs.sigstore_service import Sigstore

GITHUB = "https://token.actions.githubusercontent.com"
ORG = "https://github.com/org"
PROVENANCE = "https://slsa.dev/provenance/v1"
WORKFLOW = "org/ci/.github/workflows/warm.yml@refs/heads/main"


class SshSigners:
    """folder: where the policy's files lie."""

    def __init__(self, folder: Path, keys: dict[str, Key]) -> None:
        self.folder, self.keys = folder, keys
        self.kind, self.name = "ssh", keys["writer"].principal
        (folder / "signers").write_text(keys["writer"].make_line())
        self.policy: dict[str, Any] = {"allowed_signers": "signers"}

    def push(self, writer: Machine, to: str, who: str = "writer", **options: Any) -> int:
        return writer.push(to, sign=self.keys[who].sign, **options)

    def set_time(self, when: datetime, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(ssh, "datetime", make_clock(when))


class SigstoreSigners:
    """A workflow of ours, by its token; a stranger's is of another repository."""

    def __init__(self, folder: Path, service: Sigstore) -> None:
        self.folder, self.service = folder, service
        self.kind, self.name = "sigstore", f"https://github.com/{WORKFLOW}"
        identity = {"identity": self.name, "issuer": GITHUB, "repository": f"{ORG}/ci"}
        (folder / "root.json").write_text(json.dumps(service.make_root()))
        (folder / "client.json").write_text(json.dumps(service.make_config()))
        self.policy: dict[str, Any] = {
            "identities": [{**identity, "ref": "refs/heads/main"}],
            "trust_root": "root.json",
        }

    def push(
        self, writer: Machine, to: str, who: str = "writer", claims: Any = None, **options: Any
    ) -> int:
        stranger = {"repository": "evil/ci"} if who == "stranger" else {}
        token = self.service.make_token(**stranger, **(claims or {}))
        writer.environ["SIGSTORE_ID_TOKEN"] = token
        return writer.push(to, sign=f"sigstore:{self.folder}/client.json", **options)

    def set_time(self, when: datetime, patch: pytest.MonkeyPatch) -> None:
        import sigstore.sign

        self.service.now = when
        patch.setattr(sigstore.sign, "datetime", make_clock(when))


Signers = SshSigners | SigstoreSigners


def make_clock(when: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return when

    return Clock


def make_statement(
    digest: str, predicate_type: str = PROVENANCE, kind: str = "https://in-toto.io/Statement/v1"
) -> bytes:
    """As @actions/attest writes it."""
    subject = {"name": "ghcr.io/org/jit", "digest": {"sha256": digest.partition(":")[2]}}
    predicate: dict[str, Any] = {"buildDefinition": {}, "runDetails": {}}
    found = {"_type": kind, "subject": [subject], "predicateType": predicate_type}
    return json.dumps({**found, "predicate": predicate}).encode()


def sign(signers: SigstoreSigners, content: bytes, *, is_statement: bool = True) -> bytes:
    """A bundle, by the library's own signer."""
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    config = ClientTrustConfig.from_json((signers.folder / "client.json").read_text())
    token = IdentityToken(signers.service.make_token())
    with SigningContext.from_trust_config(config).signer(token) as signer:
        made = signer.sign_dsse(Statement(content)) if is_statement else None
        text: str = (made or signer.sign_artifact(content)).to_json()
        return text.encode()
