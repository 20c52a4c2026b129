"""Specs + workflow + settings → ordered launches. Pure, but for looking whether a folder exists."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from warmup.launch.api import Launch, find_folder
from warmup.report.api import get_short_name
from warmup.words.errors import UsageError
from warmup.workflow.file import ToolTable, Workflow, WorkflowModel
from warmup.workflow.model_spec import ModelSpec
from warmup.workflow.settings import Settings, layer

# What any launcher of an engine may have in its log, `command` ones included (design.md section 4).
CRASH_PATTERNS = ("Scheduler hit an exception", "Received sigquit from a child")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where settings come from, strongest first, and the folder that paths are relative to."""

    flags: Settings = Settings()
    engine_flag: str | None = None
    workflow: Workflow | None = None
    tool: ToolTable | None = None
    cwd: Path = Path()

    @property
    def workflow_dir(self) -> Path:
        return Path(self.workflow.path).parent if self.workflow else self.cwd

    def layers(self, model: WorkflowModel | None) -> dict[str, Any]:
        """The settings of one model. `--engine` speaks only for models no workflow describes."""
        said: list[Settings] = [self.flags]
        if model is None and self.engine_flag is not None:
            said.append(Settings(engine=self.engine_flag))
        if model is not None:
            said.append(model)
        if self.workflow is not None:
            said.append(self.workflow.defaults)
        if self.tool is not None:
            said.append(self.tool)
        if self.engine_flag is not None:
            said.append(Settings(engine=self.engine_flag))
        return {"engine": "reference", "crash_patterns": CRASH_PATTERNS, **layer(*said)}

    def make_default(self) -> Launch:
        """The launch of a model that nothing describes; its name is empty."""
        return _make_launch(None, 1, self)


def resolve(specs: Sequence[ModelSpec], sources: Sources) -> tuple[Launch, ...]:
    """The launches of the models named, or of all the workflow's models, in that order.

    Raises UsageError where nothing is named, and where two names mean one launch.
    """
    workflow = sources.workflow
    if not specs:
        if workflow is None:
            raise UsageError(
                "no model named",
                hint="give --models MODEL[:TP] …, or --workflow FILE to take all of its models",
            )
        if not workflow.model:
            raise UsageError(f"{workflow.path}: model: the workflow lists no model")
        return tuple(_make_launch(model, model.tp, sources) for model in workflow.model)
    launches: list[Launch] = []
    for spec in specs:
        for launch in _resolve_spec(spec, sources):
            if any(launch.name == other.name for other in launches):
                raise UsageError(
                    f"duplicate model: {launch.name}",
                    hint="name each model and size once in --models",
                )
            launches.append(launch)
    return tuple(launches)


def _resolve_spec(spec: ModelSpec, sources: Sources) -> list[Launch]:
    listed = _find_listed(spec, sources)
    if spec.tp is None and listed:
        return [_make_launch(model, model.tp, sources) for model in listed]
    if spec.tp is not None and listed:
        exact = [model for model in listed if model.tp == spec.tp]
        if not exact and len(listed) > 1:
            sizes = ", ".join(str(model.tp) for model in listed)
            raise UsageError(
                f"cannot tell which settings {spec} takes",
                cause=f"the workflow lists {spec.model} at sizes {sizes}",
                hint="name one of those sizes, or add this one to the workflow",
            )
        return [_make_launch((exact or listed)[0], spec.tp, sources)]
    return [_make_launch(None, spec.tp or 1, sources, spec.model)]


def _find_listed(spec: ModelSpec, sources: Sources) -> list[WorkflowModel]:
    """The workflow's entries that this name means: by id, by folder, else by the last part of it.

    Raises UsageError where the last part fits two models, or an entry and a folder that is here.
    """
    models = sources.workflow.model if sources.workflow else ()
    listed = [model for model in models if _is_same_model(spec.model, model.id, sources)]
    if listed or "/" in spec.model:
        return listed
    listed = [model for model in models if get_short_name(model.id) == spec.model]
    exact = [model for model in listed if model.tp == spec.tp]
    if len({model.id for model in exact}) == 1:  # `plan` calls each by name and size
        listed = exact
    meant = dict.fromkeys(model.id for model in listed)
    if meant and (sources.cwd / spec.model).is_dir():
        meant[f"./{spec.model}"] = None
    if len(meant) > 1:
        raise UsageError(
            f"cannot tell which model {spec.model} is", hint=f"name one of {', '.join(meant)}"
        )
    return listed


def _is_same_model(named: str, listed: str, sources: Sources) -> bool:
    if named == listed:
        return True
    listed_path = find_folder(listed, sources.workflow_dir)
    named_path = find_folder(named, sources.cwd) or (sources.cwd / named)
    return listed_path is not None and named_path.resolve() == listed_path.resolve()


def _make_launch(model: WorkflowModel | None, tp: int, sources: Sources, named: str = "") -> Launch:
    settings = sources.layers(model)
    label = model.id if model is not None else named
    path = find_folder(label, sources.workflow_dir if model is not None else sources.cwd)
    if path is None and model is None and label and (sources.cwd / label).is_dir():
        path = find_folder(f"./{label}", sources.cwd)
    for name in ("crash_patterns", "source_paths"):
        settings[name] = tuple(settings.get(name, ()))
    settings["python"] = _get_python(str(settings.get("python", "")), sources)
    own = ("revision", "env", "health_path", "request", "requests")
    described = {} if model is None else {name: getattr(model, name) for name in own}
    return msgspec.convert(
        {
            **settings,
            **described,
            "label": label,
            # The server runs in a folder of its own, so a local model's path must be absolute.
            "model": label if path is None else str(path),
            "tp": tp,
            "fallback_args": model.fallback_args if model else (),
            "command": model.command if model else (),
            "workflow_dir": str(sources.workflow_dir.absolute()),
        },
        Launch,
    )


def _get_python(python: str, sources: Sources) -> str:
    """The interpreter's path: "" is this one; a path with a slash is relative to the caller."""
    if not python:
        return sys.executable
    if "/" in python:
        return str((sources.cwd / Path(python).expanduser()).absolute())
    return python
