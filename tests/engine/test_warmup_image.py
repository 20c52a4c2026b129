from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.engine.gloo import run_ranks
from warmup.engine.images import make_warmup_image, write_image
from warmup.engine.messages import RequestError
from warmup.engine.ranks import Ranks


def _make(ranks: Ranks, good: str, bad: str) -> tuple[str, str]:
    path = make_warmup_image(ranks, good, 48, 96)
    try:
        make_warmup_image(ranks, bad, 64, 64)
    except RequestError as error:
        return path, str(error)
    return path, ""


def test_one_rank_writes_and_all_know(tmp_path: Path) -> None:
    folder = tmp_path / "inputs" / "made"
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    first, second = run_ranks(tmp_path, _make, str(folder), str(in_the_way))
    assert first == second
    path, problem = first
    assert [each.name for each in folder.iterdir()] == ["warmup_image_64x96.png"]
    assert path == str(folder / "warmup_image_64x96.png")
    with Image.open(path) as opened:
        assert (opened.format, opened.size) == ("PNG", (64, 96))
    assert Path(path).stat().st_mode & 0o444 == 0o444
    assert f"cannot make the warm-up image in {in_the_way}" in problem


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tear(self: Image.Image, stream: object, *_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", tear)
    with pytest.raises(OSError, match="no space"):
        write_image(tmp_path, 64, 64)
    assert [each.name for each in tmp_path.iterdir() if "warmup_image" in each.name] == []
