"""`benchmarks/house.py` counts a small tree right."""

from __future__ import annotations

from pathlib import Path

from benchmarks.house import find_closure, measure, read_tree

ROOT = Path(__file__).parents[1]
SAMPLE = {
    "commands/__init__.py": "",
    "commands/run.py": (
        "from typing import TYPE_CHECKING\n"
        "from house.room.api import later, wanted\n"
        "if TYPE_CHECKING:\n"
        "    from house.room import types\n"
        "def run():\n"
        "    from house import lazy\n"
        "    import house.dotted\n"
        "    return _once(wanted, lazy)\n"
        "def _once(*args): return _twice(1) + _twice(2)\n"
        "def _twice(value): return value\n"
    ),
    "room/api.py": (
        "from house.room.first import wanted as wanted\n"
        "from house.room.second import unwanted as unwanted\n"
        "if TYPE_CHECKING:\n"
        "    from house.room.third import later\n"
        "__getattr__ = load_lazily(__name__, {'third': 'later'})\n"
    ),
    "room/first.py": "from house.deep import CONSTANT\ndef wanted(): return CONSTANT\n",
    "room/second.py": "def unwanted(): pass\nclass Same: pass\n",
    "room/types.py": "class Same:\n    def _method(self): return self._method()\n",
    "room/third.py": "later = 1\n",
    "deep.py": "from pathlib import Path\nCONSTANT = Path()\n",
    "lazy.py": "\n" * 301,
    "dotted.py": "x = 1\n" * 302,
}


def write_sample(folder: Path) -> Path:
    for name, text in SAMPLE.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "house"


def test_a_face_hands_on_one_name_and_lazy_imports_count(tmp_path: Path) -> None:
    modules = read_tree(write_sample(tmp_path))
    assert "house.lazy" not in modules, "a file of blank lines counts for nothing"
    reached = {name.removeprefix("house.") for name in find_closure(modules, "house.commands.run")}
    assert reached == {"commands.run", "room.api", "room.first", "room.third", "deep", "dotted"}


def test_the_table(tmp_path: Path) -> None:
    found = {what: today for what, today, _ in measure(write_sample(tmp_path))}
    assert found["files"] == "8"
    assert found["files that `run` reaches"] == "6 (322 lines)"
    assert found["files over 300 lines"] == "dotted.py"
    assert found["functions"] == "6"
    assert found["private ones used once"] == "33.3 %", "_once and _method, not _twice"
    assert found["class names used twice"] == "Same"
    assert found["largest file 1"] == "dotted.py 302"


def test_this_house_has_no_twin_class_and_no_long_file() -> None:
    """A name that two classes share is a sentence that two readers understand differently."""
    found = {what: today for what, today, _ in measure(ROOT / "warmup")}
    assert found["class names used twice"] == "none"
    assert found["files over 300 lines"] == "cli.py"
