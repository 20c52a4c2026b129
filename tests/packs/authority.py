"""Keys, logs and certificates of a sigstore: RFC 6962 trees and timestamps, signed checkpoints."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_FULCIO = "1.3.6.1.4.1.57264.1"
_SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
START = {"start": "2020-01-01T00:00:00Z"}
_P256 = "PKIX_ECDSA_P256_SHA_256"


def encode64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _der(tag: int, data: bytes) -> bytes:
    size = len(data)
    if size < 128:
        return bytes([tag, size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + data


class Key:
    """A P-256 key with the identifier that logs go by."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = hashlib.sha256(self.public).digest()

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))

    def as_log(self, url: str) -> dict[str, Any]:
        key = {"rawBytes": encode64(self.public), "keyDetails": _P256, "validFor": START}
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": key,
            "logId": {"keyId": encode64(self.id)},
        }


@dataclass
class Log:
    """A Merkle tree of entries (RFC 6962) and the key that signs its head."""

    key: Key = field(default_factory=Key)
    leaves: list[bytes] = field(default_factory=list)

    def append(self, body: bytes) -> dict[str, Any]:
        """The entry's inclusion proof and a signed checkpoint, as Rekor gives them."""
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        root, size = _get_root(self.leaves), len(self.leaves)
        note = f"rekor.test\n{size}\n{encode64(root)}\n"
        signed = encode64(self.key.id[:4] + self.key.sign(note.encode()))
        return {
            "index": size - 1,
            "size": size,
            "root": root,
            "hashes": _get_proof(self.leaves, size - 1),
            "checkpoint": f"{note}\n\u2014 rekor.test {signed}\n",
        }


def _get_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = _get_root(leaves[:split]), _get_root(leaves[split:])
    return hashlib.sha256(b"\1" + left + right).digest()


def _get_proof(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*_get_proof(leaves[:split], index), _get_root(leaves[split:])]
    return [*_get_proof(leaves[split:], index - split), _get_root(leaves[:split])]


class Authority:
    """Fulcio: certificates of minutes for who holds a token of ours, with a proof that a
    certificate log has seen them. lifetime: of a certificate."""

    def __init__(self) -> None:
        self.key, self.ctlog = Key(), Key()
        self.lifetime = timedelta()
        self.certificate = make_authority(self.key, "fulcio.test")

    def issue(
        self, csr: x509.CertificateSigningRequest, claims: dict[str, str], now: datetime
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + self.lifetime)
            .add_extension(make_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.private.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([_get_identity(claims)]), critical=True)
        )
        for number, value in _list_claims(claims):
            raw = value.encode() if number == 1 else _der(0x0C, value.encode())
            oid = ObjectIdentifier(f"{_FULCIO}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, raw), critical=False)
        before = builder.sign(self.key.private, hashes.SHA256())
        proof = self._prove(before.tbs_certificate_bytes, now)
        listed = x509.UnrecognizedExtension(ObjectIdentifier(_SCT_LIST), proof)
        return builder.add_extension(listed, critical=False).sign(self.key.private, hashes.SHA256())

    def _prove(self, tbs: bytes, now: datetime) -> bytes:
        """The list of one signed certificate timestamp (RFC 6962, sections 3.2 and 3.3)."""
        stamp = int(now.timestamp()) * 1000
        entry = self.key.id + len(tbs).to_bytes(3, "big") + tbs
        signed = self.ctlog.sign(struct.pack("!BBQH", 0, 0, stamp, 1) + entry + b"\0\0")
        sct = b"\0" + self.ctlog.id + struct.pack("!QH", stamp, 0) + b"\4\3"
        sct += struct.pack("!H", len(signed)) + signed
        listed = struct.pack("!H", len(sct)) + sct
        return _der(0x04, struct.pack("!H", len(listed)) + listed)


def make_authority(key: Key, name: str) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"),
        ]
    )
    public = key.private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2060, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(make_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key.private, hashes.SHA256())
    )


def make_usage(**used: bool) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment"]
    names += ["key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})


def _get_identity(claims: dict[str, str]) -> x509.GeneralName:
    if "job_workflow_ref" in claims:
        return x509.UniformResourceIdentifier(f"https://github.com/{claims['job_workflow_ref']}")
    return x509.RFC822Name(claims["email"])


def _list_claims(claims: dict[str, str]) -> list[tuple[int, str]]:
    """Fulcio's extensions by their last number (fulcio, docs/oid-info.md)."""
    found = [(1, claims["iss"]), (8, claims["iss"])]
    if "repository" in claims:
        found += [(12, f"https://github.com/{claims['repository']}"), (14, claims["ref"])]
    return found
