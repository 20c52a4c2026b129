"""Who vouches for a pack, and whether that is enough here: asked before a byte is unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from warmup.packs import oci
from warmup.packs.oci import Descriptor, ImageManifest
from warmup.packs.policy import (
    Policy,
    check_age,
    check_rollback,
    check_unsigned,
    get_signers_file,
    get_time,
)
from warmup.packs.signature import (
    MAX_BYTES,
    SIGNATURE_TYPE,
    SSHSIG_TYPE,
    STATEMENT_TYPE,
    Signer,
    read_statement,
    verify_ssh,
)
from warmup.packs.store import PackStore, read_small
from warmup.words import encoding
from warmup.words.errors import IntegrityError
from warmup.words.files import Folder

_MAX_SIGNATURES = 16  # whoever can write to a registry can add as many as he likes
_NAME = "accepted.json"
_MAX_RECORD_BYTES = 4 << 20


class Acceptance(msgspec.Struct, frozen=True):
    """The pack of one repository and tag that was accepted last. signed: when, "" for unsigned.

    blobs: digests of its layers, which a later pull need not fetch.
    """

    digest: str
    signed: str
    blobs: list[str]


class Acceptances(msgspec.Struct, frozen=True):
    """`accepted.json` in the home. packs: reference without a digest → what was accepted."""

    packs: dict[str, Acceptance] = {}
    schema: int = 1


@dataclass(frozen=True, kw_only=True)
class Trust:
    """policy: of this repository; folder: of the file that holds it. environ: the caller's.

    last: when what was accepted here last, under the same name, was signed.
    """

    policy: Policy
    folder: Path
    environ: Mapping[str, str]
    allow_unsigned: bool = False
    last: str | None = None

    def judge(self, store: PackStore, digest: str) -> Signer | None:
        """Who signed, None for a pack that is used unsigned. Raises IntegrityError with the rule
        that it breaks, UsageError."""
        signers, why = self._find_signers(store, digest)
        if not signers:
            if why is not None and not self.allow_unsigned:
                raise why
            check_unsigned(self.policy, allow_unsigned=self.allow_unsigned, env=self.environ)
            return None
        newest = max(signers, key=lambda each: get_time(each.created))
        check_age(self.policy, newest)
        check_rollback(self.last, newest)
        return newest

    def _find_signers(
        self, store: PackStore, digest: str
    ) -> tuple[list[Signer], IntegrityError | None]:
        """Those that the policy names, and why the last of the others does not count."""
        signers, why = [], None
        found = [e for e in store.list_referrers(digest) if _may_be_signature(e)]
        for referrer in found[-_MAX_SIGNATURES:]:
            try:
                signers.append(self._verify(store, referrer, digest))
            except IntegrityError as error:
                why = error
        return signers, why

    def _verify(self, store: PackStore, referrer: Descriptor, digest: str) -> Signer:
        found = store.read_manifest(referrer.digest)
        if found is None:
            raise IntegrityError("signature refused", cause=f"{referrer.digest} is not there")
        manifest = oci.decode(found[1], ImageManifest, "signature")
        parts = {layer.media_type: layer for layer in manifest.layers[:4]}
        if manifest.artifact_type != SIGNATURE_TYPE or not {STATEMENT_TYPE, SSHSIG_TYPE} <= {
            *parts
        }:
            raise IntegrityError("signature refused", cause="it is of a kind not known here")
        data = read_small(store, parts[STATEMENT_TYPE], "statement", MAX_BYTES)
        signature = read_small(store, parts[SSHSIG_TYPE], "signature", MAX_BYTES)
        file = get_signers_file(self.policy, self.folder)
        if file is None:
            raise IntegrityError(
                "pack refused",
                cause="rule `allowed_signers`: the policy names nobody who may sign",
                hint="[packs] allowed_signers = FILE, in the workflow or pyproject.toml",
            )
        name = verify_ssh(data, signature, file)
        statement = read_statement(data, digest)
        get_time(statement.created)
        return Signer(kind="ssh", name=name, created=statement.created)


def _may_be_signature(referrer: Descriptor) -> bool:
    """docker-registry and old indexes leave `artifactType` out."""
    return referrer.artifact_type in ("", SIGNATURE_TYPE)


def read_acceptances(folder: Folder) -> Acceptances:
    """Raises IntegrityError for a file that is not ours: without it rollbacks are not seen."""
    try:
        data = folder.read(_NAME, _MAX_RECORD_BYTES)
        return msgspec.json.decode(data, type=Acceptances)
    except FileNotFoundError:
        return Acceptances()
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"cannot tell which packs were accepted here: {folder.path / _NAME}",
            cause=str(error),
            hint="remove it if you know why it is damaged; older packs are then accepted once",
        ) from error


def write_acceptance(folder: Folder, name: str, accepted: Acceptance) -> Acceptances:
    known = Acceptances({**read_acceptances(folder).packs, name: accepted})
    folder.write_atomic(_NAME, encoding.encode_pretty(known))
    return known
