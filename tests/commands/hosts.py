"""A session on a host that a test describes: its launches and version vectors are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from warmup.commands.session import Session
from warmup.launch.launch import Launch
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.errors import UsageError
from warmup.workflow.selection import Resolved


@dataclass(frozen=True, kw_only=True)
class HostSession(Session):
    """now: the vector of the host. read, get_own_env: of one launch, where they differ."""

    now: VersionVector
    given: tuple[Launch, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Launch], VersionVector] | None = None
    get_own_env: Callable[[Launch], Mapping[str, str]] | None = None

    @cached_property
    def resolved(self) -> Resolved:
        default = Launch(model="", tp=1, engine="command", python="python3")
        return Resolved(launches=self.given, default=default)

    def get_launches(self) -> tuple[Launch, ...]:
        if not self.given:
            raise UsageError("no model named")
        return self.given

    @cached_property
    def cache_variables(self) -> Mapping[str, str]:
        return self.variables

    @cached_property
    def vector(self) -> VersionVector:
        return self.now

    def get_vector(self, launch: Launch) -> VersionVector:
        return self.now if self.read is None else self.read(launch)

    def get_env(self, launch: Launch) -> dict[str, str]:
        return dict(self.env if self.get_own_env is None else self.get_own_env(launch))


def make_session(
    home: Home,
    now: VersionVector,
    launches: Sequence[Launch] = (),
    *,
    env: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    read: Callable[[Launch], VersionVector] | None = None,
    get_own_env: Callable[[Launch], Mapping[str, str]] | None = None,
) -> HostSession:
    """env: of the caller; WARMUP_CI_HOME is added to it."""
    return HostSession(
        environ={"HOME": "/nonexistent", **(env or {}), "WARMUP_CI_HOME": str(home.path)},
        now=now,
        given=tuple(launches),
        variables=variables or {},
        read=read,
        get_own_env=get_own_env,
    )
