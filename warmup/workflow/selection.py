"""From what the command line says to the launches it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    gpu_target, target_driver: `--target` and `--target-driver`; "" says this machine's own GPUs.
    Relative paths are the caller's.
    """

    models: tuple[str, ...] = ()
    workflow: Path | None = None
    engine: str | None = None
    cache_root: str | None = None
    deadline_s: float | None = None
    shard: str | None = None
    gpu_target: str | None = None
    target_driver: str | None = None
    settings: Settings = Settings()


class PackTable(msgspec.Struct, frozen=True):
    """`[packs]` of a workflow, else of the project file, as it was written; rooms above read it.

    where: file and key path, for messages. folder: what its paths are relative to.
    """

    table: dict[str, Any] = {}
    where: str = "packs"
    folder: Path = Path()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """launches: in order. cache_root: "" where each family keeps its own folder.

    gpu_target: GPUs that are not here, as written, and target_driver their driver; "" for none.
    python, engine: what a model without words of its own would take; source_paths likewise.
    price_per_gpu_hour: in the workflow's currency, 0 where nobody says one.
    """

    launches: tuple[Launch, ...]
    default: Launch
    workflow: Workflow | None = None
    cache_root: str = ""
    deadline_s: float | None = None
    price_per_gpu_hour: float = 0.0
    gpu_target: str = ""
    target_driver: str = ""
    packs: PackTable = PackTable()


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
    defaults = [each for each in (workflow and workflow.defaults, tool) if each]

    def find_first(said: Any, name: str) -> Any:
        """The flag, else what the first of the files says."""
        values = [said, *(getattr(each, name) for each in defaults)]
        return next((value for value in values if value not in (None, UNSET)), None)

    packs = PackTable()
    if workflow is not None and workflow.packs:
        packs = PackTable(workflow.packs, f"{workflow.path}: packs", Path(workflow.path).parent)
    elif tool is not None and tool.packs is not UNSET:
        packs = PackTable(tool.packs, f"{tool_dir}/pyproject.toml: tool.warmup-ci.packs", tool_dir)
    return Resolved(
        launches=launches,
        default=sources.make_default(),
        workflow=workflow,
        cache_root="" if not root else str(Path(root).expanduser().absolute()),
        deadline_s=find_first(selection.deadline_s, "deadline_s"),
        price_per_gpu_hour=find_first(None, "price_per_gpu_hour") or 0.0,
        gpu_target=find_first(selection.gpu_target, "target") or "",
        target_driver=find_first(selection.target_driver, "target_driver") or "",
        packs=packs,
    )
