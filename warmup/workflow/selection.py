"""From what the command line says to the launches it means."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import UNSET

from warmup.launch.api import Launch, get_engine
from warmup.workflow.file import Workflow, find_tool_table, get_workflow
from warmup.workflow.model_spec import parse_specs
from warmup.workflow.resolve import Sources, resolve
from warmup.workflow.settings import Settings
from warmup.workflow.shards import take_share


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags, or their `WARMUP_CI_*` variables, say of models. None: nothing.

    Relative paths are the caller's.
    """

    models: tuple[str, ...] = ()
    workflow: Path | None = None
    engine: str | None = None
    cache_root: str | None = None
    deadline_s: float | None = None
    shard: str | None = None
    settings: Settings = Settings()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """launches: in order. cache_root: "" where each family keeps its own folder.

    python, engine: what a model without words of its own would take; source_paths likewise.
    price_per_gpu_hour: in the workflow's currency, 0 where nobody says one.
    """

    launches: tuple[Launch, ...]
    default: Launch
    workflow: Workflow | None = None
    cache_root: str = ""
    deadline_s: float | None = None
    price_per_gpu_hour: float = 0.0


def load(selection: Selection, cwd: Path, *, need_models: bool = True) -> Resolved:
    """Read the workflow and the project file, and resolve the models named.

    need_models: whether naming none at all is an error (`key` and `audit` can do without).
    Raises UsageError.
    """
    if selection.engine is not None:
        get_engine(selection.engine)  # also where a workflow describes every model
    found = find_tool_table(cwd)
    tool, tool_dir = found if found is not None else (None, cwd)
    path = selection.workflow
    if path is None and tool is not None and tool.workflow is not UNSET:
        path = tool_dir / tool.workflow
    workflow = None if path is None else get_workflow(path)
    sources = Sources(
        flags=selection.settings,
        engine_flag=selection.engine,
        workflow=workflow,
        tool=tool,
        cwd=cwd,
    )
    specs = parse_specs(selection.models)
    launches: tuple[Launch, ...] = ()
    if specs or need_models or (workflow is not None and workflow.model):
        launches = resolve(specs, sources)
    if selection.shard is not None:
        launches = take_share(launches, selection.shard)
    root = selection.cache_root
    if root is None and workflow is not None and workflow.caches.root:
        root = str(sources.workflow_dir / Path(workflow.caches.root).expanduser())
    if root is None and tool is not None and tool.cache_root is not UNSET:
        root = str(tool_dir / Path(tool.cache_root).expanduser())
    layers = [each for each in (workflow and workflow.defaults, tool) if each]
    deadlines = [selection.deadline_s]
    deadlines += [each.deadline_s for each in layers if each.deadline_s is not UNSET]
    prices = [each.price_per_gpu_hour for each in layers if each.price_per_gpu_hour is not UNSET]
    return Resolved(
        launches=launches,
        default=sources.make_default(),
        workflow=workflow,
        cache_root="" if not root else str(Path(root).expanduser().absolute()),
        deadline_s=next((each for each in deadlines if each is not None), None),
        price_per_gpu_hour=next(iter(prices), 0.0),
    )
