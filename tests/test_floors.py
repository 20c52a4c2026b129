"""The floors of the package and the wall around the engine (design.md, section 9)."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "warmup"

FLOORS = {
    "__main__": 10, "start": 9, "cli": 8, "commands": 7, "warm": 6, "jobs": 6, "workflow": 5,
    "drift": 5, "kernels": 5, "packs": 5, "attempt": 5, "supervise": 4, "target": 4, "state": 3,
    "launch": 2, "caches": 2, "report": 2, "words": 1, "version": 0, "__init__": 0,
}  # fmt: skip
# Rooms that others see through `api.py` alone. words/ has no face: each of its files is an owner.
FACED = {room for room in FLOORS if (PACKAGE / room / "api.py").exists()}
MAX_FACE_LINES = 150
# Only the engine may import these, or what imports them.
ENGINES_OWN = {"torch", "transformers", "diffusers", "accelerate", "safetensors", "tokenizers"}
# Programs for the server's interpreter, on its PYTHONPATH: they import torch, nothing imports them.
HOOK = PACKAGE / "target" / "hook"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if HOOK not in path.parents)


def get_room(path: Path) -> str:
    """The folder or the file directly under warmup/ that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def iter_imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, anywhere in it, calls by name included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func).rpartition(".")[2]
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


def find_faults(path: Path) -> Iterator[str]:
    room = get_room(path)
    for name in iter_imports(path):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top in ENGINES_OWN and room != "engine":
            yield f"imports {name}, which only warmup/engine may"
        if top != "warmup" or not other or other == room or other not in {*FLOORS, "engine"}:
            continue
        if room == "engine":
            if FLOORS[other] > 1:
                yield f"imports {name}: the engine stands apart, on words/ and version.py"
        elif other == "engine":
            yield f"imports {name}: the engine is started by argv, never imported"
        elif FLOORS[other] >= FLOORS[room]:
            yield f"imports {name}, which is not on a floor below"
        elif other in FACED and not rest.startswith(f"{other}.api"):
            yield f"imports {name}: other rooms are seen through their face, {other}/api.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    assert list(find_faults(path)) == []


def test_every_room_has_a_face() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - FACED == {"words", "commands", "engine"}  # one file a command; apart
    for room in FACED:
        assert len((PACKAGE / room / "api.py").read_text().splitlines()) <= MAX_FACE_LINES


@pytest.mark.parametrize("room", sorted(FACED))
def test_every_name_of_a_face_is_there(room: str) -> None:
    """Also where names are loaded when they are asked for."""
    face = importlib.import_module(f"warmup.{room}.api")
    assert [name for name in face.__all__ if getattr(face, name, None) is None] == []
    with pytest.raises(ImportError):
        exec(f"from warmup.{room}.api import no_such_name")


def test_every_room_has_a_floor() -> None:
    assert {get_room(path) for path in FILES} - {"engine"} <= set(FLOORS)


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"])
def test_init_files_are_empty(path: Path) -> None:
    """A re-export would defeat every lazy import below it."""
    if path != PACKAGE / "__init__.py":
        assert path.read_text().strip() == ""


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("state/x.py", "from warmup.workflow.resolve import resolve"),
        ("state/x.py", "from warmup.caches.manifest import make_manifest"),
        ("workflow/x.py", "import warmup.drift.scan"),
        ("caches/x.py", "from warmup.launch import launch"),
        ("commands/x.py", "def f():\n    import torch.cuda"),
        ("warm.py", "from warmup import engine"),
        ("cli.py", "import importlib\nimportlib.import_module('transformers')"),
        ("engine/x.py", "from warmup.state.home import Home"),
    ],
)
def test_this_test_can_fail(
    room: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / room
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert len(list(find_faults(path))) == 1


def test_importing_all_of_it_loads_no_torch() -> None:
    """What the syntax tree cannot see: a dependency that imports it for us."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in FILES
        if get_room(path) not in ("engine", "__main__") and path.name != "__init__.py"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(sorted(set(sys.modules) & {ENGINES_OWN | {'warmup.engine'}!r}))"
    )
    # The shim runs isolated, as its own program; imported it is a module like the others.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
