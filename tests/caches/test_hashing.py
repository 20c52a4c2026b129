from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from warmup.caches.hashing import hash_file, map_threads


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 3 << 20])
def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert hash_file(str(tmp_path / "file")) == hashlib.sha256(data).hexdigest()


def test_what_is_no_regular_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link", "missing", "."):
        with pytest.raises(OSError):
            hash_file(str(tmp_path / name))


def test_results_come_in_order_and_errors_where_they_occur() -> None:
    square = map_threads(lambda chunk: [n * n for n in chunk], range(1000))
    assert list(square) == [n * n for n in range(1000)]
    results = map_threads(lambda chunk: [1 // (n - 40) for n in chunk], range(100))
    with pytest.raises(ZeroDivisionError):
        list(results)
