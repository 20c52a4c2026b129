"""A writer that has warmed, its key, and a policy that trusts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import require
from tests.packs.fleet import Key, Machine, make_key
from tests.packs.signers import Signers, SigstoreSigners, SshSigners

if TYPE_CHECKING:
    from tests.packs.sigstore_service import Sigstore


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    require("python:obstore", "python:oras", "ssh-keygen")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder, f"{name}@example") for name in ("writer", "stranger")}


@pytest.fixture
def key(keys: dict[str, Key]) -> Key:
    return keys["writer"]


@pytest.fixture
def policy(tmp_path: Path, key: Key) -> dict[str, object]:
    (tmp_path / "signers").write_text(key.make_line())
    return {"allowed_signers": "signers"}


@pytest.fixture
def writer(tmp_path: Path, policy: dict[str, object]) -> Machine:
    writer = Machine(tmp_path / "writer", packs=policy)
    writer.compile()
    writer.mark()
    return writer


@pytest.fixture
def reader(tmp_path: Path, policy: dict[str, object]) -> Machine:
    return Machine(tmp_path / "reader", packs=policy)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"dir:{tmp_path}/store"


@pytest.fixture(scope="session")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    require("python:sigstore", "openssl")
    from tests.packs.sigstore_service import serve_sigstore

    with serve_sigstore(tmp_path_factory.mktemp("sigstore")) as service:
        yield service


@pytest.fixture
def keyless(tmp_path: Path, sigstore: Sigstore) -> Iterator[SigstoreSigners]:
    yield SigstoreSigners(tmp_path, sigstore)
    sigstore.reset()


@pytest.fixture(params=["ssh", "sigstore"])
def signers(
    request: pytest.FixtureRequest, tmp_path: Path, keys: dict[str, Key], reader: Machine
) -> Signers:
    """Both ways to sign; the reader's policy names who may."""
    found: Signers
    if request.param == "ssh":
        found = SshSigners(tmp_path, keys)
    else:
        found = request.getfixturevalue("keyless")
    reader.packs = dict(found.policy)
    return found
