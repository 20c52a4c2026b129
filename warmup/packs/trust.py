"""Who vouches for a pack, and whether that is enough here: asked before a byte is unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from warmup.packs import oci
from warmup.packs.attach import StoredSignature, read_signature
from warmup.packs.keyless import BUNDLE_PREFIX, MAX_BUNDLE_BYTES, verify_bundle
from warmup.packs.oci import Descriptor
from warmup.packs.policy import (
    Policy,
    Signer,
    check_age,
    check_revoked,
    check_rollback,
    check_unsigned,
    get_time,
)
from warmup.packs.ssh import (
    MAX_BYTES,
    SIGNATURE_TYPE,
    SSHSIG_TYPE,
    STATEMENT_TYPE,
    read_statement,
    verify_ssh,
)
from warmup.packs.store import Readable, Reference, read_small
from warmup.words import encoding
from warmup.words.errors import HostError, IntegrityError, WarmupError
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

    def hold_against(self, known: Acceptances, reference: Reference, version_key: str) -> Trust:
        """The same, which refuses what is older than the last one of this tag. Who names a digest
        wants that one."""
        last = None if reference.digest else known.packs.get(get_name(reference, version_key))
        return replace(self, last=last.signed or None if last else None)

    def judge(self, store: Readable, digest: str) -> Signer | None:
        """Who signed, None for a pack that is used unsigned. Raises IntegrityError with the rule
        that it breaks, UsageError, HostError where that cannot be told."""
        check_revoked(self.policy, digest)
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
        self, store: Readable, digest: str
    ) -> tuple[list[Signer], WarmupError | None]:
        """Those that the policy names, and why the last of the others does not count."""
        signers: list[Signer] = []
        why: WarmupError | None = None
        found = [e for e in store.list_referrers(digest) if _may_be_signature(e)]
        for referrer in found[-_MAX_SIGNATURES:]:
            try:
                signers.append(self._verify(store, referrer, digest))
            except (IntegrityError, HostError) as error:
                why = error
        return signers, why

    def _verify(self, store: Readable, referrer: Descriptor, digest: str) -> Signer:
        attached = read_signature(store, referrer)
        parts = attached.parts
        if attached.artifact_type == SIGNATURE_TYPE and {STATEMENT_TYPE, SSHSIG_TYPE} <= {*parts}:
            return self._verify_ssh(store, attached, digest)
        bundle = next((parts[kind] for kind in parts if kind.startswith(BUNDLE_PREFIX)), None)
        if bundle is None:
            raise IntegrityError("signature refused", cause="it is of a kind not known here")
        if not self.policy.identities:
            raise IntegrityError(
                "pack refused",
                cause="rule `identities`: the policy names nobody who may sign with sigstore",
                hint="[[packs.identities]] identity = …, issuer = …",
            )
        data = read_small(store, bundle, "signature", MAX_BUNDLE_BYTES)
        root = self.folder / self.policy.trust_root if self.policy.trust_root else None
        return verify_bundle(data, digest, self.policy.identities, root)

    def _verify_ssh(self, store: Readable, attached: StoredSignature, digest: str) -> Signer:
        if not self.policy.allowed_signers:
            raise IntegrityError(
                "pack refused",
                cause="rule `allowed_signers`: the policy names nobody who may sign",
                hint="[packs] allowed_signers = FILE, in the workflow or pyproject.toml",
            )
        data = read_small(store, attached.parts[STATEMENT_TYPE], "statement", MAX_BYTES)
        signature = read_small(store, attached.parts[SSHSIG_TYPE], "signature", MAX_BYTES)
        name = verify_ssh(data, signature, self.folder / self.policy.allowed_signers)
        statement = read_statement(data, digest)
        get_time(statement.created)
        return Signer(kind="ssh", name=name, created=statement.created)


def _may_be_signature(referrer: Descriptor) -> bool:
    """What its type does not rule out: docker-registry and old indexes leave `artifactType` out,
    and where a registry fills it in, it is the type of an empty config."""
    kind = referrer.artifact_type
    unsaid = ("", oci.EMPTY_TYPE, oci.CONFIG_TYPE)
    return kind in (*unsaid, SIGNATURE_TYPE) or kind.startswith(BUNDLE_PREFIX)


def get_name(reference: Reference, version_key: str) -> str:
    """What was accepted is remembered for each tag, and one for all that were named by digest."""
    if reference.digest:
        return f"{replace(reference, tag='', digest='')}@"
    return str(replace(reference, tag=reference.tag or version_key))


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
