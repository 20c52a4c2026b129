"""Record which options a release of an engine declares, for the adapters to be held against.

    python tools/record_options.py sglang 0.5.23

downloads that release's wheel to a temporary folder, reads its sources as text (nothing of it is
imported or run) and writes `tests/launch/options/<engine>-<version>.json`, one file for each engine
that the distribution holds. `--wheel FILE` reads a wheel that is here already.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

OPTIONS_DIR = Path(__file__).parent.parent / "tests" / "launch" / "options"
# Wheels with compiled parts differ in these; the Python sources inside do not.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_31_x86_64", "manylinux_2_34_x86_64", "any")

Collector = Callable[[ast.Module], Iterator[str]]


def collect_calls(tree: ast.Module) -> Iterator[str]:
    """`parser.add_argument("--name", …)`; a BooleanOptionalAction declares `--no-name` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _get_name(node.func) == "add_argument":
            yield from _with_negation([_get_string(arg) for arg in node.args], node)


def collect_annotated_fields(tree: ast.Module) -> Iterator[str]:
    """sglang's `name: A[type, "help"]` and `A[type, Arg(cli_name=…, aliases=[…], no_cli=…)]`.

    Source: sglang 0.5.23, srt/arg_groups/arg_utils.py, add_cli_args_from_dataclass.
    """
    for field in _iter_fields(tree):
        annotation = field.annotation
        if not isinstance(annotation, ast.Subscript) or _get_name(annotation.value) not in (
            "A",
            "Annotated",
        ):
            continue
        metadata = annotation.slice.elts[1:] if isinstance(annotation.slice, ast.Tuple) else []
        call = next((item for item in metadata if isinstance(item, ast.Call)), None)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
        if isinstance(no_cli := keywords.get("no_cli"), ast.Constant) and no_cli.value:
            continue
        aliases = keywords.get("aliases")
        names = [_get_string(keywords.get("cli_name")) or _make_flag(_get_name(field.target))]
        names += [_get_string(item) for item in getattr(aliases, "elts", [])]
        yield from _with_negation(names, call)


def collect_frontend_fields(tree: ast.Module) -> Iterator[str]:
    """vLLM's `FrontendArgs` and its bases: a field is an option, a bool one has `--no-` too.

    Source: vllm 0.33.0, entrypoints/common/cli_args.py, add_cli_args.
    """
    for field in _iter_fields(tree, class_suffix="FrontendArgs"):
        flag = _make_flag(_get_name(field.target))
        yield flag
        if _is_bool(field.annotation):
            yield "--no-" + flag[2:]


def collect_typer_parameters(tree: ast.Module) -> Iterator[str]:
    """`name: Annotated[type, typer.Option(…)]` of a function; a bool one has `--no-` too."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for parameter in [*node.args.args, *node.args.kwonlyargs]:
            annotation = parameter.annotation
            if not isinstance(annotation, ast.Subscript):
                continue
            parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
            if not any(_get_name(getattr(part, "func", None)) == "Option" for part in parts):
                continue
            flag = _make_flag(parameter.arg)
            yield flag
            if _is_bool(parts[0]):
                yield "--no-" + flag[2:]


@dataclass(frozen=True)
class Source:
    """Which files of a wheel declare an engine's options, and how."""

    engine: str
    files: tuple[str, ...]
    collectors: tuple[Collector, ...]


SOURCES: dict[str, tuple[Source, ...]] = {
    "sglang": (
        Source(
            "sglang",
            ("sglang/srt/server_args.py", "sglang/srt/arg_groups/fields/*.py"),
            (collect_calls, collect_annotated_fields),
        ),
        Source(
            "sglang-diffusion",
            (
                "sglang/multimodal_gen/runtime/server_args.py",
                "sglang/multimodal_gen/runtime/server_args/*.py",
                "sglang/multimodal_gen/runtime/entrypoints/cli/serve.py",
            ),
            (collect_calls,),
        ),
    ),
    "vllm": (
        Source(
            "vllm",
            ("vllm/engine/arg_utils.py", "vllm/entrypoints/*cli_args.py"),
            (collect_calls, collect_frontend_fields),
        ),
    ),
    "transformers": (
        Source("transformers", ("transformers/cli/serve.py",), (collect_typer_parameters,)),
    ),
}


def read_options(wheel: Path, source: Source) -> tuple[list[str], list[str]]:
    """(files read, options declared), both sorted. Raises SystemExit where either is empty."""
    options: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        # fnmatch's `*` spans folders, so one pattern survives a file's move within them.
        files = sorted(
            name
            for name in archive.namelist()
            if any(fnmatch(name, pattern) for pattern in source.files)
        )
        for name in files:
            tree = ast.parse(archive.read(name), name)
            for collect in source.collectors:
                options.update(option for option in collect(tree) if option.startswith("-"))
    if not options:
        raise SystemExit(f"error: {wheel.name}: no options of {source.engine} in {source.files}")
    return files, sorted(options)


def record(wheel: Path, distribution: str, version: str, folder: Path) -> list[Path]:
    """Write one JSON file for each engine of the distribution; answers their paths."""
    written = []
    for source in SOURCES[distribution]:
        files, options = read_options(wheel, source)
        document = {
            "engine": source.engine,
            "distribution": distribution,
            "version": version,
            "source_files": files,
            "options": options,
        }
        path = folder / f"{source.engine}-{version}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        written.append(path)
    return written


def download(distribution: str, version: str, folder: Path) -> Path:
    """Fetch the release's wheel with pip, without its dependencies, and without building."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", "3.12", "--dest", str(folder)]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, f"{distribution}=={version}"], check=True)
    return next(folder.glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("distribution", choices=sorted(SOURCES))
    parser.add_argument("version")
    parser.add_argument("--wheel", type=Path, help="read this file instead of downloading one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or download(arguments.distribution, arguments.version, Path(folder))
        for path in record(wheel, arguments.distribution, arguments.version, OPTIONS_DIR):
            print(path)


def _iter_fields(tree: ast.Module, class_suffix: str = "") -> Iterator[ast.AnnAssign]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(class_suffix):
            for item in node.body:
                if isinstance(item, ast.AnnAssign):
                    yield item


def _with_negation(names: list[str], call: ast.Call | None) -> Iterator[str]:
    keywords = call.keywords if call is not None else []
    negatable = any(
        keyword.arg == "action" and _get_name(keyword.value) == "BooleanOptionalAction"
        for keyword in keywords
    )
    for name in names:
        yield name
        if negatable and name.startswith("--"):
            yield "--no-" + name[2:]


def _get_name(node: ast.AST | None) -> str:
    """The last part of a dotted name; "" for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_bool(annotation: ast.AST) -> bool:
    """`bool`, and `bool | None`, which is as much of a switch."""
    return ast.unparse(annotation) in ("bool", "bool | None", "Optional[bool]")


def _get_string(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _make_flag(name: str) -> str:
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    main()
