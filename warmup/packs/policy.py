"""The rules of a repository about packs, and the one judge that applies them.

`[packs]` in a workflow or `[tool.warmup-ci.packs]` in pyproject.toml: files that a reviewer sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import msgspec

from warmup.packs.signature import Signer
from warmup.words.errors import IntegrityError, UsageError


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """allowed_signers: file as ssh-keygen's, relative to the file that names it.

    max_age_days: of a signature. registries: prefixes of `oci://` references; () allows any.
    insecure_registries: plain HTTP, loopback only. trust_proof: whether a signer's `proven` counts
    here. allow_unsigned: whether `--allow-unsigned` may be used where CI=true.
    """

    allowed_signers: str = ""
    max_age_days: Annotated[float, msgspec.Meta(gt=0)] | None = None
    registries: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    trust_proof: bool = False
    allow_unsigned: bool = False


def read_policy(table: Mapping[str, Any], where: str) -> Policy:
    """`[packs]` as it was read; where: file and key path, for messages. Raises UsageError."""
    try:
        return msgspec.convert(table, Policy)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{where}: {error}", hint=f"known keys: {', '.join(Policy.__struct_fields__)}"
        ) from error


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
            hint="push it with --sign ssh:KEY; or, where that is your decision, --allow-unsigned",
        )
    if env.get("CI", "").lower() in ("true", "1") and not policy.allow_unsigned:
        raise UsageError(
            "--allow-unsigned is refused where CI=true",
            cause="unsigned kernels are code of whoever can write to the registry",
            hint="the policy can permit it: [packs] allow_unsigned = true",
        )


def get_signers_file(policy: Policy, folder: Path) -> Path | None:
    """folder: of the file that holds the policy."""
    return folder / policy.allowed_signers if policy.allowed_signers else None
