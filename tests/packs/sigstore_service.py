"""A sigstore of our own on loopback: tokens, Fulcio, a certificate log, Rekor, timestamps.

Real keys and real protocols (Fulcio's and Rekor's HTTP API, RFC 6962 proofs and timestamps, signed
checkpoints, RFC 3161), so that the library signs and verifies as it does against the public one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.packs.authority import START, Authority, Key, Log, encode64, make_authority, make_usage
from tests.packs.signers import GITHUB, WORKFLOW

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
            .add_extension(make_usage(digital_signature=True), critical=True)
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
            service = {"url": url, "majorApiVersion": version, "validFor": START}
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
    return {"subject": name, "uri": url, "certChain": {"certificates": chain}, "validFor": START}


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
