"""What a command is given: settings, home, environment, launches, version vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.words.errors import HostError, WarmupError
from warmup.words.project import find_project_file, may_speak_of_us

if TYPE_CHECKING:  # `exec` needs none of these
    from warmup.attempt import RunContext
    from warmup.launch.api import Launch
    from warmup.packs.api import Policy, Trust
    from warmup.report.api import Events
    from warmup.state.api import Home, MarkerCheck, VersionVector
    from warmup.supervise.api import Limits, Supervisor
    from warmup.target.api import Seeding
    from warmup.words.secrets import Redactor
    from warmup.workflow.api import Resolved, Selection

# Where a compiler is looked for; everything else that a vector reads of the environment is
# `get_relevant`'s.
_TOOLKIT = ("PATH", "CUDA_HOME", "CUDA_PATH", "PYTHONPATH")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One command's view of the world. Reads what it is asked for, once; writes nothing.

    selection: what the command line says of models, None for nothing. environ: the caller's.
    folder: where relative paths begin, None for the process's own current folder. may_run_python:
    whether an interpreter that a workflow names may be run where its files do not tell what it is.
    """

    selection: Selection | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    folder: Path | None = None
    may_run_python: bool = True
    _vectors: dict[tuple[object, ...], VersionVector] = field(default_factory=dict)

    @cached_property
    def cwd(self) -> Path:
        """Raises HostError where the folder we stand in was removed."""
        try:
            return self.folder or Path.cwd()
        except FileNotFoundError as error:
            raise HostError(
                "the current folder does not exist", hint="cd to one that does"
            ) from error

    @cached_property
    def home(self) -> Home:
        from warmup.state.api import get_home

        return get_home(self.environ)

    @cached_property
    def chosen(self) -> Selection:
        """The selection; an empty one where the command line says nothing of models."""
        from warmup.workflow.api import Selection

        return self.selection or Selection()

    @cached_property
    def resolved(self) -> Resolved:
        """Raises UsageError for wrong flags, workflow or models."""
        from warmup.workflow.api import load

        return load(self.chosen, self.cwd, need_models=False)

    @cached_property
    def launches(self) -> tuple[Launch, ...]:
        """Of the models named, or of all in the workflow; none where there are neither.

        A hub id of an engine that wants a folder is looked up in the hub's cache.
        """
        from warmup.launch.api import get_engine

        engines = [get_engine(launch.engine) for launch in self.resolved.launches]
        pairs = zip(engines, self.resolved.launches, strict=True)
        return tuple(engine.locate(launch, self.get_env(launch)) for engine, launch in pairs)

    @property
    def default(self) -> Launch:
        """What a model without words of its own takes."""
        return self.resolved.default

    def get_launches(self) -> tuple[Launch, ...]:
        """The same. Raises UsageError where no model is named; but a shard may be empty."""
        from warmup.workflow.api import load

        return self.launches or load(self.chosen, self.cwd).launches

    @cached_property
    def cache_variables(self) -> Mapping[str, str]:
        """What moves every family under the cache root; empty without one."""
        if self.selection is None:  # then only a project file can name a root
            path = find_project_file(self.cwd)
            if path is None or not may_speak_of_us(path):
                return {}
        if not self.resolved.cache_root:
            return {}
        from warmup.caches.api import get_variables

        return get_variables(Path(self.resolved.cache_root))

    @cached_property
    def policy(self) -> Policy:
        """What this repository says of packs. Raises UsageError."""
        from warmup.packs.api import read_policy

        return read_policy(self.resolved.packs.table, self.resolved.packs.where)

    def get_trust(self, *, allow_unsigned: bool) -> Trust:
        """Whom this repository believes a pack. Raises UsageError."""
        from warmup.packs.api import Trust

        folder = self.resolved.packs.folder
        return Trust(
            policy=self.policy, folder=folder, environ=self.environ, allow_unsigned=allow_unsigned
        )

    @cached_property
    def redactor(self) -> Redactor:
        """Knows the secrets of the caller's environment, the launches' and their arguments."""
        from warmup.words.secrets import Redactor

        envs = [launch.env for launch in self.launches]
        argvs = [argv for each in self.launches for argv in (each.command, each.fallback_args)]
        return Redactor.from_environment(self.environ, *envs, argvs=argvs)

    @cached_property
    def env(self) -> Mapping[str, str]:
        """The caller's environment with the cache variables laid over it."""
        return {**self.environ, **self.cache_variables}

    def get_vector(self, launch: Launch) -> VersionVector:
        """The vector that this launch's server would meet. Raises UsageError.

        The launch's own variables are in its launch key already; here only those of them count
        that decide which toolkit is found. So one version key holds for a whole workflow.
        """
        return self._read(
            launch, self._get_toolkit_env(launch), [launch.engine], launch.source_paths
        )

    @cached_property
    def vector(self) -> VersionVector:
        """The vector of all launches together: every engine, every source path, no launch's env."""
        engines = sorted({launch.engine for launch in self.launches})
        paths = [path for launch in self.launches for path in launch.source_paths]
        paths = paths or list(self.resolved.default.source_paths)
        first = self.launches[0] if self.launches else self.resolved.default
        return self._read(first, self.env, engines, tuple(dict.fromkeys(paths)))

    def get_env(self, launch: Launch) -> dict[str, str]:
        """The server's environment, as far as it is known before it has a port."""
        from warmup.launch.api import UNSTARTED, get_engine, get_server_env

        return get_server_env(launch, get_engine(launch.engine), UNSTARTED, self.env)

    @cached_property
    def seeding(self) -> Seeding | None:
        """What a target adds; None where this machine's own GPUs are meant. Raises UsageError."""
        resolved = self.resolved
        if not resolved.gpu_target:
            return None
        from warmup.target.api import make_seeding

        return make_seeding(resolved.gpu_target, resolved.target_driver, self.home.path)

    def get_visible_gpus(self) -> tuple[str, ...]:
        """Names of the GPUs that servers may use: the target's, or those that NVML shows."""
        if self.seeding is not None:
            return self.seeding.visible_gpus
        from warmup.supervise.api import read_gpus
        from warmup.workflow.api import get_visible

        return get_visible(self.environ, [gpu.index for gpu in read_gpus()])

    def get_boot_launch(self, launch: Launch) -> Launch:
        """The launch as its server is started: with random weights on a target."""
        return launch if self.seeding is None else self.seeding.get_boot_launch(launch)

    def forget_launches(self) -> None:
        """So that the hub's cache is looked at again."""
        self.__dict__.pop("launches", None)

    def find_problem(self, launch: Launch) -> WarmupError | None:
        """Why this launch cannot work, as far as can be seen before anything is started."""
        from warmup.launch.api import get_engine
        from warmup.state.api import find_missing_engine

        engine = get_engine(launch.engine)
        problem = engine.find_problem(self.get_boot_launch(launch))
        if problem is None and self.seeding is not None:
            env, vector = self.get_env(launch), self.get_vector(launch)
            problem = self.seeding.find_problem(launch, env, vector)
        if problem is not None:
            return problem
        more_paths = self.get_env(launch).get("PYTHONPATH", "").split(os.pathsep)
        return find_missing_engine(
            launch,
            engine.distribution,
            self._get_toolkit_env(launch),
            [*filter(None, more_paths)],
            may_run_python=self.may_run_python,
        )

    def make_context(
        self,
        run_dir: Path,
        supervisor: Supervisor,
        events: Events,
        limits: Limits,
        *,
        visible_gpus: tuple[str, ...],
        force: bool,
        is_alone: bool = True,
    ) -> RunContext:
        """What `warm_model` needs to know of the run."""
        from warmup.attempt import RunContext
        from warmup.workflow.api import make_log_names

        return RunContext(
            home=self.home,
            run_dir=run_dir,
            supervisor=supervisor,
            events=events,
            redactor=self.redactor,
            env=self.env,
            check=self.check,
            get_vector=self.get_vector,
            get_boot_launch=self.get_boot_launch,
            log_names=make_log_names(self.launches),
            limits=limits,
            visible_gpus=visible_gpus,
            seeding=self.seeding,
            force=force,
            is_alone=is_alone,
        )

    def check(self, launch: Launch) -> MarkerCheck:
        """Whether the launch is warm, as marker, vector and caches say it."""
        from warmup.state.api import check_launch

        return check_launch(self.home, launch, self.get_vector(launch), self.get_env(launch))

    def _get_toolkit_env(self, launch: Launch) -> dict[str, str]:
        own = {name: value for name, value in launch.env.items() if name in _TOOLKIT}
        return {**self.env, **own}

    def _read(
        self,
        launch: Launch,
        env: Mapping[str, str],
        engines: list[str],
        source_paths: tuple[str, ...],
    ) -> VersionVector:
        from warmup.launch.api import get_engine
        from warmup.state.api import get_relevant, read_vector

        found = [get_engine(name).distribution for name in engines]
        distributions = tuple(name for name in found if name is not None)
        seen = {**get_relevant(env), **{name: env.get(name) for name in _TOOLKIT}}
        key = (launch.python, distributions, source_paths, launch.workflow_dir, *seen.items())
        vector = self._vectors.get(key)
        if vector is None:
            vector = read_vector(
                python=launch.python,
                env=env,
                engines=distributions,
                source_paths=source_paths,
                repo_dir=Path(launch.workflow_dir),
                may_run_python=self.may_run_python,
                gpus=None if self.seeding is None else self.seeding.gpus,
            )
            if not vector.unread:  # else the host may answer the next time
                self._vectors[key] = vector
        return vector
