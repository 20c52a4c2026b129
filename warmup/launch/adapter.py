"""What the engines share: one model over HTTP, and a workflow that may overrule its defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from warmup.launch.answers import excerpt
from warmup.launch.engine import Allocation
from warmup.launch.folder import find_name_problem
from warmup.launch.ladder import LadderStep, select
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.placeholders import find_unknown, get_values, substitute
from warmup.words.errors import UsageError, WarmupError

HOST = "127.0.0.1"

# uvicorn 0.3x, server.py: it says so at once, whatever the engine around it then does; sglang
# dies of it only after 136 s (design.md section 7's measurements).
PORT_TAKEN = "error while attempting to bind on address"


class Adapter(ABC):
    """Base of the engines; satisfies `engine.Engine`.

    A subclass gives its facts, `make_argv` (without the fallback arguments), the request and the
    judge of its answer. A launch's own `health_path` and requests win over the engine's.
    """

    name: str
    distribution: str | None = None
    families: tuple[str, ...] = ()
    crash_patterns: tuple[str, ...] = (PORT_TAKEN,)
    num_extra_ports: int = 0
    has_dummy_weights: bool = True
    health_path: str = "/health"
    info_path: str | None = None

    @abstractmethod
    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        """The command up to the fallback arguments."""

    @abstractmethod
    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        """The request where the launch names none. env: the server's."""

    @abstractmethod
    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        """What is wrong with the body of a 200 to a request of ours, which went to `path`."""

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        """The steps of the full ladder, where the launch has no requests of its own."""
        return ()

    def locate(self, launch: Launch, env: Mapping[str, str]) -> Launch:
        return launch

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        """What only this engine refuses."""
        return None

    def find_problem(self, launch: Launch) -> WarmupError | None:
        """Placeholders, sizes, the model's name, then what only this engine refuses."""
        if launch.tp < 1:
            return UsageError(f"{launch.name}: TP must be 1 or more")
        for text in (*launch.command, *launch.env.values(), *launch.fallback_args):
            unknown = find_unknown(text)
            if unknown is not None:
                return UsageError(f"{launch.name}: unknown placeholder {{{unknown}}} in {text!r}")
        if launch.command and self.name != "command":
            return UsageError(
                f"{launch.name}: `command` is for engine command, not {self.name}",
                hint='set engine = "command", or drop `command`',
            )
        try:
            return self.find_engine_problem(launch)
        except UsageError as problem:  # a config.json that is not JSON, …
            return problem

    def get_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        values = get_values(launch, allocation)
        return [
            *self.make_argv(launch, allocation),
            *(substitute(argument, values) for argument in launch.fallback_args),
        ]

    def get_env(self, launch: Launch, allocation: Allocation) -> dict[str, str]:
        values = get_values(launch, allocation)
        gpus = {"CUDA_VISIBLE_DEVICES": allocation.gpus} if allocation.gpus else {}
        own = {name: substitute(value, values) for name, value in launch.env.items()}
        return {**gpus, **self.make_env(launch), **own}

    def make_env(self, launch: Launch) -> dict[str, str]:
        """Variables that this engine wants; the launch's own win."""
        return {}

    def get_health_path(self, launch: Launch) -> str:
        return launch.health_path or self.health_path

    def get_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        own = launch.own_requests
        return own[0] if own else self.make_request(launch, env)

    def get_info_path(self, launch: Launch) -> str | None:
        return self.info_path

    def get_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> tuple[LadderStep, ...]:
        if launch.ladder == "off" or not launch.own_requests:
            return select(self.make_ladder(launch, env, info), launch.ladder)
        later = enumerate(launch.own_requests[1:], start=2)
        return tuple(LadderStep(f"request {number}", (each,)) for number, each in later)

    def find_fault(
        self,
        launch: Launch,
        request: RequestSpec,
        status: int,
        body: bytes,
        *,
        is_first: bool = True,
    ) -> str | None:
        if status != request.expect_status:
            return f"HTTP {status}, expected {request.expect_status}: {excerpt(body)}"
        if request.expect_text and request.expect_text.encode() not in body:
            return f"the answer lacks {request.expect_text!r}: {excerpt(body)}"
        if request in launch.own_requests:
            return None
        accepts_empty = launch.weights == "dummy" or not is_first
        return self.find_answer_fault(request.path, body, accept_empty_text=accepts_empty)


def find_text_model_problem(launch: Launch, config_names: Sequence[str]) -> UsageError | None:
    """Why an engine for transformers-style folders cannot take this model's name or folder."""
    problem = find_name_problem(launch.model, launch.label)
    contents = None if problem is not None else launch.contents
    if contents is None:
        return problem
    if any((contents.path / name).is_file() for name in config_names):
        return None
    if contents.pipeline is not None:
        return UsageError(
            f"{launch.label}: engine {launch.engine} cannot serve a diffusers folder",
            hint="engines that might: reference, sglang-diffusion",
        )
    return UsageError(f"{launch.label}: no {' or '.join(config_names)} in this folder")
