"""The workflow file (design.md section 4) and `[tool.warmup-ci]`, read and checked whole.

Unknown keys, wrong types, unknown placeholders, duplicates and impossible sizes are UsageErrors
that name the file, the key path and what was expected.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from warmup.launch.api import Ladder, Method, RequestSpec, UrlPath, find_unknown
from warmup.words.errors import UsageError
from warmup.words.files import read_regular
from warmup.words.names import ENGINE_NAMES
from warmup.words.project import TABLE, find_project_file
from warmup.workflow.model_spec import MAX_TP
from warmup.workflow.settings import MAX_PRICE, Seconds, Settings, Strategy, Weights

SCHEMA = 1
# A workflow is a page of text; more is a wrong file, and must not be read into memory.
MAX_BYTES = 4 << 20

_Text = Annotated[str, Meta(min_length=1)]
_PATTERNS = {
    "path": "a path that starts with / and holds no blank",
    "headers": "names and values of HTTP headers, each on one line",
}
_CHOICES = {
    "strategy": get_args(Strategy),
    "ladder": get_args(Ladder),
    "weights": get_args(Weights),
    "method": get_args(Method),
}


class Defaults(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[defaults]`: settings of every model, the budget of the whole step, what it costs, and GPUs
    that are not here (`h200x8`; "" for those of this machine)."""

    deadline_s: Seconds | UnsetType = UNSET
    price_per_gpu_hour: Annotated[float, Meta(ge=0, le=MAX_PRICE)] | UnsetType = UNSET
    target: str | UnsetType = UNSET
    target_driver: str | UnsetType = UNSET


class Caches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[caches]`. root: one folder for every family; "" leaves each its own default."""

    root: str = ""


class WorkflowModel(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[model]]`. The settings it does not say come from `[defaults]`."""

    id: _Text
    tp: Annotated[int, Meta(ge=1, le=MAX_TP)] = 1
    revision: str | None = None
    fallback_args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    command: tuple[str, ...] = ()
    health_path: UrlPath | None = None
    request: RequestSpec | None = None
    requests: tuple[RequestSpec, ...] = ()


class Workflow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole workflow file; `path` is where it was read from. packs: `warmup.packs` reads it."""

    schema: int
    defaults: Defaults = Defaults()
    caches: Caches = Caches()
    packs: dict[str, Any] = msgspec.field(default_factory=dict)
    model: tuple[WorkflowModel, ...] = ()
    path: str = ""


class ToolTable(Defaults, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tool.warmup-ci]` of a pyproject.toml. Its paths are relative to that file."""

    workflow: str | UnsetType = UNSET
    cache_root: str | UnsetType = UNSET
    packs: dict[str, Any] | UnsetType = UNSET


def get_workflow(path: Path) -> Workflow:
    """Read and check a workflow file. Raises UsageError."""
    table = _get_table(path, "workflow")
    if "path" in table:  # ours to fill in, not the file's to say
        raise _wrong(path, "Object contains unknown field `path`", Workflow)
    schema = table.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise UsageError(
            f"workflow {path} is not of a schema this version reads",
            cause=f"schema: expected {SCHEMA}, got {schema!r}",
            hint=f"write `schema = {SCHEMA}` on top of the file, or upgrade warmup-ci",
        )
    workflow = _convert(table, Workflow, path)
    _check_engine(workflow.defaults.engine, path, "defaults.engine")
    for index, model in enumerate(workflow.model):
        _check_engine(model.engine, path, f"model[{index}].engine")
    _check_placeholders(workflow, path)
    _check_duplicates(workflow, path)
    return msgspec.structs.replace(workflow, path=str(path.resolve()))


def find_tool_table(start: Path) -> tuple[ToolTable, Path] | None:
    """`[tool.warmup-ci]` of the nearest pyproject.toml at or above `start`, and its folder.

    Raises UsageError for a malformed one.
    """
    path = find_project_file(start)
    table = {} if path is None else _get_table(path, "project file").get("tool", {})
    if path is None or TABLE not in table:
        return None
    found = _convert(table[TABLE], ToolTable, path, prefix=f"tool.{TABLE}")
    if found.engine is not UNSET:
        _check_engine(found.engine, path, f"tool.{TABLE}.engine")
    return found, path.parent


def _get_table(path: Path, what: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        data = read_regular(path, MAX_BYTES, follow=True)
    except OSError as error:
        raise UsageError(
            f"cannot read the {what} {path}",
            cause=error.strerror or str(error),
            hint="check the path given with --workflow" if what == "workflow" else None,
        ) from error
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{what} {path} is not valid TOML", cause=str(error) or type(error).__name__
        ) from error


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _convert(table: Any, kind: type[_Struct], path: Path, prefix: str = "") -> _Struct:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise _wrong(path, _name_key(table, str(error)), kind, prefix) from error


def _name_key(table: Any, message: str) -> str:
    """msgspec writes `[...]` for a key of an open table (`env`): say which one is not text."""
    said, _, where = message.partition(" - at ")
    above, dots, _ = where.strip("`").partition("[...]")
    if not dots:
        return message
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", above):
        table = table[name or int(index)]
    wrong = [key for key, value in table.items() if not isinstance(value, str)]
    return f"{said} - at `{'.'.join([above, *wrong[:1]])}`"


def _wrong(path: Path, message: str, kind: type[msgspec.Struct], prefix: str = "") -> UsageError:
    """msgspec's `Expected `int`, got `str` - at `$.model[0].tp`` as file, key path, expectation."""
    said, _, where = message.replace(" - at `key` in ", " - at ").partition(" - at ")
    key_path = ".".join(filter(None, [prefix, where.strip("`").removeprefix("$").lstrip(".")]))
    hint = None
    unknown = re.search(r"unknown field `(.*)`", said)
    if unknown:
        name = unknown.group(1)
        known = _get_fields(kind, where)
        close = difflib.get_close_matches(name, known, n=1)
        key_path = f"{key_path}.{name}" if key_path else name
        said = "unknown key"
        hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known)}"
    said = said.replace("Object missing required field", "missing key")
    if said.startswith("Invalid enum value"):
        choices = _CHOICES[key_path.rpartition(".")[2]]
        said = f"expected one of {', '.join(choices)}, got {said.split(maxsplit=3)[3]}"
    if "matching regex" in said:
        said = f"expected {_PATTERNS['headers' if 'headers' in key_path else 'path']}"
    return UsageError(f"{path}: {key_path or 'top level'}: {said}", hint=hint)


def _get_fields(kind: type[msgspec.Struct], where: str) -> tuple[str, ...]:
    """The keys allowed at msgspec's path `where` of `kind`."""
    tables: dict[str, type[msgspec.Struct]] = {
        "defaults": Defaults,
        "caches": Caches,
        "model": WorkflowModel,
        "request": RequestSpec,
        "requests": RequestSpec,
    }
    parts = re.sub(r"\[\d+\]", "", where.strip("`").removeprefix("$")).split(".")
    struct = tables.get(parts[-1], kind) if parts[-1] else kind
    return tuple(name for name in struct.__struct_fields__ if name != "path" or struct != Workflow)


def _check_engine(engine: str | UnsetType, path: Path, key_path: str) -> None:
    if engine is not UNSET and engine not in ENGINE_NAMES:
        close = difflib.get_close_matches(engine, ENGINE_NAMES, n=1)
        raise UsageError(
            f"{path}: {key_path}: unknown engine {engine!r}",
            cause=f"expected one of {', '.join(ENGINE_NAMES)}",
            hint=f"did you mean `{close[0]}`?" if close else None,
        )


def _check_placeholders(workflow: Workflow, path: Path) -> None:
    for index, model in enumerate(workflow.model):
        for name in model.env:
            if not name or "=" in name or "\0" in name:
                raise UsageError(f"{path}: model[{index}].env: {name!r} is not a variable's name")
        texts = {f"command[{i}]": text for i, text in enumerate(model.command)}
        texts |= {f"fallback_args[{i}]": text for i, text in enumerate(model.fallback_args)}
        texts |= {f"env.{name}": text for name, text in model.env.items()}
        for where, text in texts.items():
            unknown = find_unknown(text)
            if unknown is not None:
                raise UsageError(
                    f"{path}: model[{index}].{where}: unknown placeholder {{{unknown}}}",
                    cause="expected one of {port}, {model}, {tp}, {gpus}, {run_dir}, "
                    "{workflow_dir}",
                )
            if "\0" in text:
                raise UsageError(f"{path}: model[{index}].{where}: holds a NUL character")


def _check_duplicates(workflow: Workflow, path: Path) -> None:
    seen: dict[tuple[str, int], int] = {}
    for index, model in enumerate(workflow.model):
        first = seen.setdefault((model.id, model.tp), index)
        if first != index:
            raise UsageError(
                f"{path}: model[{index}]: duplicate of model[{first}], {model.id}:{model.tp}",
                hint="list each model and size once",
            )
