"""A statement about a pack's digest, signed by an SSH key.

`ssh-keygen -Y sign|verify` (OpenSSH 8.0 and later; PROTOCOL.sshsig) with a namespace of our own, so
that a signature made for anything else is none here. Principals, validity times and revocation are
OpenSSH's: the `allowed_signers` file of ssh-keygen(1).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from warmup.packs.attach import Attachment
from warmup.packs.oci import Descriptor, Digest
from warmup.words import encoding
from warmup.words.errors import HostError, IntegrityError, UsageError

NAMESPACE = "warmup-ci-pack"
SIGNATURE_TYPE = "application/vnd.warmup-ci.signature.v1+ssh"
STATEMENT_TYPE = "application/vnd.warmup-ci.statement.v1+json"
SSHSIG_TYPE = "application/vnd.openssh.sshsig"
MAX_BYTES = 64 << 10
_TIMEOUT_S = 60
_RULE = "rule `allowed_signers`"


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. digest: of the image manifest. created: UTC, ISO 8601, of the signature."""

    schema: int = 1
    digest: Digest
    version_key: str
    created: str


@dataclass(frozen=True)
class SshSigning:
    """key: a private key's file, or the public one's of a key in ssh-agent."""

    key: Path

    def sign(self, image: Descriptor, version_key: str) -> Attachment:
        """Raises as `sign_ssh`."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        said = Statement(digest=image.digest, version_key=version_key, created=now)
        statement = encoding.encode(said) + b"\n"
        signature = sign_ssh(statement, self.key)
        return Attachment(
            artifact_type=SIGNATURE_TYPE,
            parts={STATEMENT_TYPE: statement, SSHSIG_TYPE: signature},
        )


def read_statement(data: bytes, digest: str) -> Statement:
    """Raises IntegrityError where it is not a statement about this digest."""
    try:
        statement = msgspec.json.decode(data[:MAX_BYTES], type=Statement)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError("signature refused", cause=f"not a statement: {error}") from None
    if statement.digest != digest:
        raise IntegrityError(
            "signature refused", cause=f"it is of another pack, {statement.digest}"
        )
    return statement


def sign_ssh(data: bytes, key: Path) -> bytes:
    """The armoured signature of `data` by this private key (or the agent's, for a public one).

    Raises UsageError for a key that cannot sign, HostError without ssh-keygen.
    """
    with tempfile.TemporaryDirectory(prefix="warmup-ci-sign-") as folder:
        statement = Path(folder, "statement")
        statement.write_bytes(data)
        done = _run(["-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(statement)])
        if done.returncode != 0:
            raise UsageError(
                f"cannot sign with {key}",
                cause=_get_words(done) or f"ssh-keygen exited with status {done.returncode}",
                hint="a key with a passphrase must be in ssh-agent: give its .pub file",
            )
        return Path(folder, "statement.sig").read_bytes()


def verify_ssh(data: bytes, signature: bytes, allowed_signers: Path) -> str:
    """The principal that signed `data`. Raises IntegrityError where none that is allowed did.

    allowed_signers: ssh-keygen(1) "ALLOWED SIGNERS". Revoked keys stand in a file of the same name
    with `.revoked` behind it (ssh-keygen -s; a key revocation list or public keys).
    """
    if not allowed_signers.is_file():
        raise UsageError(
            f"there is no file of allowed signers: {allowed_signers}",
            hint='a line each: PRINCIPAL namespaces="warmup-ci-pack" KEYTYPE KEY',
        )
    with tempfile.TemporaryDirectory(prefix="warmup-ci-verify-") as folder:
        path = Path(folder, "signature")
        path.write_bytes(signature[:MAX_BYTES])
        signers = ["-f", str(allowed_signers)]
        found = _run(["-Y", "find-principals", "-s", str(path), *signers])
        principals = found.stdout.decode("utf-8", "replace").split()
        if found.returncode != 0 or not principals:
            raise IntegrityError(
                "signature refused",
                cause=f"{_RULE}: its key is not among the allowed signers of {allowed_signers}"
                + (f": {why}" if (why := _get_words(found)) else ""),
            )
        revoked = allowed_signers.with_name(f"{allowed_signers.name}.revoked")
        extra = ["-r", str(revoked)] if revoked.is_file() else []
        why = ""
        for principal in principals:
            words = ["-Y", "verify", "-n", NAMESPACE, "-I", principal, "-s", str(path)]
            done = _run([*words, *signers, *extra], stdin=data)
            if done.returncode == 0:
                return principal
            why = f"{_RULE}: {_get_words(done)}"
            if extra and _run([*words, *signers], stdin=data).returncode == 0:
                why = f"rule `revoked`: the key of {principal} is in {revoked}"  # it does not say
    raise IntegrityError("signature refused", cause=why or "it does not hold")


def _run(words: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise HostError(
            "ssh-keygen is not installed", hint="install OpenSSH's client (Debian: openssh-client)"
        )
    try:
        return subprocess.run(
            [program, *words], input=stdin, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HostError("ssh-keygen does not answer", cause=f"{_TIMEOUT_S} s") from error


def _get_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """What it says, the cause first and in one line."""
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return ": ".join(line.rstrip(".") for line in lines[-3:])
