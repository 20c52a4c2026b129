"""What every command that speaks of models begins with: settings, home, environment, vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from warmup.launch.engine_table import get_engine
from warmup.launch.environment import UNSTARTED, get_server_env
from warmup.launch.launch import Launch
from warmup.state.check import MarkerCheck, check_launch
from warmup.state.home import Home, get_home
from warmup.state.version_vector import VersionVector, read_vector
from warmup.workflow.selection import Resolved, Selection, load

# Where a compiler is looked for; everything else that a vector reads of the environment is
# `get_relevant`'s.
_TOOLKIT = ("PATH", "CUDA_HOME", "CUDA_PATH", "PYTHONPATH")


@dataclass(frozen=True)
class Session:
    """One command's view of the world. Reads what it is asked for, once; writes nothing.

    env: the caller's, with the cache variables of `--cache-root` laid over it.
    """

    resolved: Resolved
    home: Home
    env: Mapping[str, str]
    cache_variables: Mapping[str, str]
    _vectors: dict[tuple[object, ...], VersionVector] = field(default_factory=dict)

    @property
    def launches(self) -> tuple[Launch, ...]:
        return self.resolved.launches

    @property
    def default(self) -> Launch:
        """What a model without words of its own takes."""
        return self.resolved.default

    def get_vector(self, launch: Launch) -> VersionVector:
        """The vector that this launch's server would meet. Raises UsageError.

        The launch's own variables are in its launch key already; here only those of them count
        that decide which toolkit is found. So one version key holds for a whole workflow.
        """
        own = {name: value for name, value in launch.env.items() if name in _TOOLKIT}
        env = {**self.env, **own}
        return self._read(launch, env, [launch.engine], launch.source_paths)

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
        return get_server_env(launch, get_engine(launch.engine), UNSTARTED, self.env)

    def check(self, launch: Launch) -> MarkerCheck:
        """Whether the launch is warm, as marker, vector and caches say it."""
        return check_launch(self.home, launch, self.get_vector(launch), self.get_env(launch))

    def _read(
        self,
        launch: Launch,
        env: Mapping[str, str],
        engines: list[str],
        source_paths: tuple[str, ...],
    ) -> VersionVector:
        from warmup.state.relevant_env import get_relevant

        found = [get_engine(name).distribution for name in engines]
        distributions = tuple(name for name in found if name is not None)
        seen = {**get_relevant(env), **{name: env.get(name) for name in _TOOLKIT}}
        key = (launch.python, distributions, source_paths, launch.workflow_dir, *seen.items())
        if key not in self._vectors:
            self._vectors[key] = read_vector(
                python=launch.python,
                env=env,
                engines=distributions,
                source_paths=source_paths,
                repo_dir=Path(launch.workflow_dir),
            )
        return self._vectors[key]


def open_session(
    selection: Selection, environ: Mapping[str, str], cwd: Path, *, need_models: bool = True
) -> Session:
    """Raises UsageError for wrong flags, workflow or models."""
    resolved = load(selection, cwd, need_models=need_models)
    variables: dict[str, str] = {}
    if resolved.cache_root:
        from warmup.caches.family_table import get_variables

        variables = get_variables(Path(resolved.cache_root))
    return Session(resolved, get_home(environ), {**environ, **variables}, variables)
