"""A sigstore of our own on loopback: tokens, Fulcio, a certificate log, Rekor, timestamps.

Real keys and real protocols (Fulcio's and Rekor's HTTP API, RFC 6962 proofs and timestamps, signed
checkpoints, RFC 3161), so that the library signs and verifies as it does against the public one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.packs.signers import GITHUB, WORKFLOW

_FULCIO = "1.3.6.1.4.1.57264.1"
_SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
_START = {"start": "2020-01-01T00:00:00Z"}
_P256 = "PKIX_ECDSA_P256_SHA_256"
_TSA = """
[tsa]
default_tsa = tsa1
[tsa1]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


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
        key = {"rawBytes": encode64(self.public), "keyDetails": _P256, "validFor": _START}
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
            .add_extension(_make_usage(digital_signature=True), critical=True)
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
        .add_extension(_make_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key.private, hashes.SHA256())
    )


def _make_usage(**used: bool) -> x509.KeyUsage:
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


class Sigstore:
    """folder: for the timestamp authority's files. now: None for the clock's. is_down: it answers
    503. claims: of the tokens that it gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.log = Authority(), Log()
        self.url = ""
        self.issuer = Key()
        self.reset()
        self.claims = {
            "iss": GITHUB,
            "sub": "repo:org/ci:ref:refs/heads/main",
            "job_workflow_ref": WORKFLOW,
            "repository": "org/ci",
            "ref": "refs/heads/main",
        }
        self._make_stamps()

    def reset(self) -> None:
        self.now: datetime | None = None
        self.is_down = False
        self.authority.lifetime = timedelta(minutes=10)

    def _make_stamps(self) -> None:
        root, leaf = Key(), Key()
        self._stamps = make_authority(root, "tsa.test")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tsa.test signer")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._stamps.subject)
            .public_key(leaf.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
            .not_valid_after(datetime(2060, 1, 1, tzinfo=timezone.utc))
            .add_extension(_make_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
            .sign(root.private, hashes.SHA256())
        )
        self._stamper = certificate
        pem = serialization.Encoding.PEM
        (self.folder / "tsa.pem").write_bytes(certificate.public_bytes(pem))
        (self.folder / "ca.pem").write_bytes(self._stamps.public_bytes(pem))
        key = leaf.private.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "tsa.key").write_bytes(key)
        (self.folder / "serial").write_text("01\n")
        (self.folder / "tsa.cnf").write_text(_TSA.format(folder=self.folder))

    def get_now(self) -> datetime:
        return (self.now or datetime.now(timezone.utc)).replace(microsecond=0)

    def make_token(self, **changes: str) -> str:
        now = int(datetime.now(timezone.utc).timestamp())
        times = {"aud": "sigstore", "iat": now, "exp": now + 300}
        key = self.issuer.private
        return jwt.encode({**self.claims, **changes, **times}, key, algorithm="ES256")

    def make_root(self) -> dict[str, Any]:
        """The TrustedRoot (protobuf-specs, sigstore_trustroot.proto)."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.log.key.as_log(self.url)],
            "certificateAuthorities": [_as_authority(self.url, self.authority.certificate)],
            "ctlogs": [self.authority.ctlog.as_log(self.url)],
            "timestampAuthorities": [_as_authority(self.url, self._stamper, self._stamps)],
        }

    def make_config(self, rekor: int = 1) -> dict[str, Any]:
        """The ClientTrustConfig: the root, and where who signs."""

        def serve(path: str = "", version: int = 1) -> list[dict[str, Any]]:
            url = f"{self.url}{path}"
            service = {"url": url, "majorApiVersion": version, "validFor": _START}
            return [{**service, "operator": "test"}]

        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.make_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": serve(),
                "oidcUrls": serve(),
                "rekorTlogUrls": serve(version=rekor),
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": serve("/tsa") if rekor == 2 else [],
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def answer(self, path: str, body: bytes, authorization: str) -> bytes:
        found = urlsplit(path)
        if found.path == "/token":  # as GitHub's runner gives it to a job (`id-token: write`)
            assert authorization == "bearer job" and parse_qs(found.query)["audience"]
            return json.dumps({"value": self.make_token()}).encode()
        if found.path == "/api/v2/signingCert":
            return self._certify(json.loads(body), authorization)
        if found.path == "/api/v1/log/entries":
            return self._log_entry(json.loads(body))
        if found.path == "/api/v2/log/entries":
            return self._log_hashed(json.loads(body))
        if found.path == "/tsa":
            return self._stamp(body)
        raise FileNotFoundError(path)

    def _certify(self, request: dict[str, str], authorization: str) -> bytes:
        token = authorization.removeprefix("Bearer ")
        public = self.issuer.private.public_key()
        claims = jwt.decode(token, public, algorithms=["ES256"], audience="sigstore")
        pem = base64.b64decode(request["certificateSigningRequest"])
        csr = x509.load_pem_x509_csr(pem)
        assert csr.is_signature_valid
        chain = [self.authority.issue(csr, claims, self.get_now()), self.authority.certificate]
        texts = [each.public_bytes(serialization.Encoding.PEM).decode() for each in chain]
        return json.dumps(
            {"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}}
        ).encode()

    def _log_entry(self, request: dict[str, Any]) -> bytes:
        """Rekor's first version: a promise that is signed with the time."""
        if request["kind"] == "dsse":
            proposed = request["spec"]["proposedContent"]
            envelope = json.loads(proposed["envelope"])
            signature = envelope["signatures"][0]["sig"]
            spec = {
                "envelopeHash": _hash(proposed["envelope"].encode()),
                "payloadHash": _hash(base64.b64decode(envelope["payload"])),
                "signatures": [{"signature": signature, "verifier": proposed["verifiers"][0]}],
            }
            body = {"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}
        else:  # hashedrekord: kept as it was proposed
            body = request
        data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        proof = self.log.append(data)
        entry = {
            "body": encode64(data),
            "integratedTime": int(self.get_now().timestamp()),
            "logID": self.log.key.id.hex(),
            "logIndex": proof["index"],
        }
        promise = self.log.key.sign(rfc8785.dumps(entry))
        inclusion = {
            "logIndex": proof["index"],
            "treeSize": proof["size"],
            "rootHash": proof["root"].hex(),
            "hashes": [each.hex() for each in proof["hashes"]],
            "checkpoint": proof["checkpoint"],
        }
        verification = {"signedEntryTimestamp": encode64(promise), "inclusionProof": inclusion}
        return json.dumps({"uuid": {**entry, "verification": verification}}).encode()

    def _log_hashed(self, request: dict[str, Any]) -> bytes:
        """Rekor's second version: no time of its own, so it wants a timestamp beside it."""
        hashed = request["hashedRekordRequestV002"]
        digest = {"algorithm": "SHA2_256", "digest": hashed["digest"]}
        spec = {"data": digest, "signature": hashed["signature"]}
        body = {
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {"hashedRekordV002": spec},
        }
        data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        proof = self.log.append(data)
        inclusion = {
            "logIndex": str(proof["index"]),
            "treeSize": str(proof["size"]),
            "rootHash": encode64(proof["root"]),
            "hashes": [encode64(each) for each in proof["hashes"]],
            "checkpoint": {"envelope": proof["checkpoint"]},
        }
        return json.dumps(
            {
                "logIndex": str(proof["index"]),
                "logId": {"keyId": encode64(self.log.key.id)},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "integratedTime": "0",
                "inclusionProof": inclusion,
                "canonicalizedBody": encode64(data),
            }
        ).encode()

    def _stamp(self, query: bytes) -> bytes:
        """RFC 3161, by openssl."""
        (self.folder / "query").write_bytes(query)
        words = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query"]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, timeout=60, check=True)
        return done.stdout


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _as_authority(url: str, *certificates: x509.Certificate) -> dict[str, Any]:
    der = serialization.Encoding.DER
    chain = [{"rawBytes": encode64(each.public_bytes(der))} for each in certificates]
    name = {"organization": "test", "commonName": "test"}
    return {"subject": name, "uri": url, "certChain": {"certificates": chain}, "validFor": _START}


@contextlib.contextmanager
def serve_sigstore(folder: Path) -> Iterator[Sigstore]:
    folder.mkdir(parents=True, exist_ok=True)
    service = Sigstore(folder)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, data = 503, b'{"code": 503, "message": "closed"}'
            if not service.is_down:
                try:
                    data = service.answer(self.path, body, self.headers.get("Authorization", ""))
                    status = 201 if self.command == "POST" else 200
                except Exception as error:
                    status, data = 400, json.dumps({"message": repr(error)}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
