"""The rules of a repository about packs, and the one judge that applies them.

`[packs]` in a workflow or `[tool.warmup-ci.packs]` in pyproject.toml: files that a reviewer sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any

import msgspec

from warmup.packs.oci import Digest
from warmup.words.errors import IntegrityError, UsageError

# Its certificates name the workflow file, which may be one that any repository can call.
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"


class Signer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who signed, as the policy names them. kind: `ssh`, `sigstore`. name: principal, or identity.

    created: when, in UTC, ISO 8601. issuer: who vouches for a sigstore identity.
    """

    kind: str
    name: str
    created: str
    issuer: str = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose sigstore certificates count: every value must equal the certificate's.

    identity: its subject, a workflow's URL with `@REF`, or an address. issuer: of the token.
    repository, ref: the run's own (`https://github.com/OWNER/REPO`, `refs/heads/main`); wanted
    where GitHub issues, since a reusable workflow lends its identity to whoever calls it.
    since: signatures from before it do not count.
    """

    identity: str
    issuer: str
    repository: str = ""
    ref: str = ""
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """allowed_signers: file as ssh-keygen's. identities: who may sign with sigstore. trust_root:
    file with sigstore's trusted root; "" fetches the public one. Files are relative to the one
    that names them.

    max_age_days: of a signature. revoked: digests of packs that do not count, whoever signed them.
    registries: prefixes of `oci://` references; () allows any. insecure_registries: plain HTTP,
    loopback only. trust_proof: whether a signer's `proven` counts here. allow_unsigned: whether
    `--allow-unsigned` may be used where CI=true.
    """

    allowed_signers: str = ""
    identities: tuple[Identity, ...] = ()
    trust_root: str = ""
    max_age_days: Annotated[float, msgspec.Meta(gt=0)] | None = None
    revoked: tuple[Digest, ...] = ()
    registries: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    trust_proof: bool = False
    allow_unsigned: bool = False


def read_policy(table: Mapping[str, Any], where: str) -> Policy:
    """`[packs]` as it was read; where: file and key path, for messages. Raises UsageError."""
    try:
        policy = msgspec.convert(table, Policy)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{where}: {error}", hint=f"known keys: {', '.join(Policy.__struct_fields__)}"
        ) from error
    for each in policy.identities:
        if each.issuer == GITHUB_ISSUER and not (each.repository and each.ref):
            raise UsageError(
                f"{where}: the identity {each.identity} lacks `repository` or `ref`",
                cause="whoever calls a reusable workflow signs as that workflow",
                hint='repository = "https://github.com/OWNER/REPO", ref = "refs/heads/main"',
            )
    return policy


def check_revoked(policy: Policy, digest: str) -> None:
    """Raises IntegrityError for a pack that the policy has revoked."""
    if digest in policy.revoked:
        raise IntegrityError(
            "pack refused",
            cause=f"rule `revoked`: the policy lists {digest}",
            hint="push another one",
        )


def check_registry(policy: Policy, reference: str) -> None:
    """reference: without its scheme. Raises IntegrityError for one that is not allowed."""
    if not policy.registries:
        return
    if is_listed(reference, policy.registries):
        return
    raise IntegrityError(
        f"pack refused: {reference}",
        cause="rule `registries`: it is in none of the allowed ones",
        hint=f"allowed are {', '.join(policy.registries)}",
    )


def is_listed(reference: str, places: Sequence[str]) -> bool:
    """Whether it is one of these registries or repositories, or lies in one."""
    for place in places:
        prefix = place.removeprefix("oci://").rstrip("/")
        if reference == prefix or reference.startswith((f"{prefix}/", f"{prefix}:", f"{prefix}@")):
            return True
    return False


def check_age(policy: Policy, signer: Signer, now: datetime | None = None) -> None:
    """Raises IntegrityError for a signature that is older than `max_age_days`, or of the future."""
    if policy.max_age_days is None:
        return
    made = get_time(signer.created)
    age_days = ((now or datetime.now(timezone.utc)) - made).total_seconds() / 86400
    if age_days > policy.max_age_days or age_days < -1:
        raise IntegrityError(
            "pack refused",
            cause=f"rule `max_age_days`: signed {signer.created}, "
            f"{age_days:.1f} days ago; {policy.max_age_days:g} are allowed",
            hint="push and sign it again",
        )


def get_time(text: str) -> datetime:
    """Raises IntegrityError for what is not a time with its zone."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found
    except ValueError:
        pass
    raise IntegrityError("pack refused", cause=f"its signature names no time: {text!r:.60}")


def check_rollback(last_accepted: str | None, signer: Signer) -> None:
    """last_accepted: when what was accepted here last was signed. Raises IntegrityError."""
    if last_accepted is not None and get_time(signer.created) < get_time(last_accepted):
        raise IntegrityError(
            "pack refused",
            cause=f"rule `rollback`: signed {signer.created}, and one signed {last_accepted} "
            "was accepted here already",
            hint="pull the newest one, or pull by its digest",
        )


def check_unsigned(policy: Policy, *, allow_unsigned: bool, env: Mapping[str, str]) -> None:
    """Whether a pack that nobody vouches for may be used. Raises IntegrityError or UsageError."""
    if not allow_unsigned:
        raise IntegrityError(
            "pack refused",
            cause="rule `signed`: nobody that the policy names signed it",
            hint="push it with --sign; or, where that is your decision, --allow-unsigned",
        )
    if env.get("CI", "").lower() in ("true", "1") and not policy.allow_unsigned:
        raise UsageError(
            "--allow-unsigned is refused where CI=true",
            cause="unsigned kernels are code of whoever can write to the registry",
            hint="the policy can permit it: [packs] allow_unsigned = true",
        )
