"""A TUF repository with a trust root of sigstore, kept as the public one is."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp


def write_repository(folder: Path, config: dict[str, Any]) -> bytes:
    """config: a ClientTrustConfig. Returns the root metadata that a client must know beforehand."""
    signer = CryptoSigner.generate_ecdsa()
    expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    root = Root(expires=expires, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(signer.public_key, role)
    targets = Targets(expires=expires)
    (folder / "targets").mkdir(parents=True)
    parts = {"trusted_root.json": "trustedRoot", "signing_config.v0.2.json": "signingConfig"}
    for name, part in parts.items():
        data = json.dumps(config[part]).encode()
        targets.targets[name] = TargetFile.from_data(name, data)
        (folder / "targets" / f"{hashlib.sha256(data).hexdigest()}.{name}").write_bytes(data)
    snapshot = Snapshot(expires=expires, meta={"targets.json": MetaFile(1)})
    timestamp = Timestamp(expires=expires, snapshot_meta=MetaFile(1))
    signed = {"1.root": root, "1.targets": targets, "1.snapshot": snapshot, "timestamp": timestamp}
    for name, content in signed.items():
        metadata: Metadata[Any] = Metadata(content)
        metadata.sign(signer)
        metadata.to_file(str(folder / f"{name}.json"))
    return (folder / "1.root.json").read_bytes()


def trust_repository(home: Path, url: str, root: bytes) -> None:
    """As `sigstore trust-instance` leaves it."""
    folder = home / ".local" / "share" / "sigstore-python" / "tuf" / quote(url, safe="")
    folder.mkdir(parents=True)
    (folder / "root.json").write_bytes(root)
