"""Engine `command`: any server at all, started by the workflow's own command."""

from __future__ import annotations

from collections.abc import Mapping

from warmup.launch.adapter import Adapter
from warmup.launch.engine import Allocation
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.placeholders import get_values, substitute
from warmup.words.errors import UsageError, WarmupError
from warmup.words.names import FAMILY_NAMES


class CommandEngine(Adapter):
    """The argv is the workflow's; the model is only a name, unless the command uses `{model}`.

    Without a `request`, a GET of the health path is the one real request: enough for a server
    that warms itself before it is healthy, and no more than that.
    """

    name = "command"
    # Nobody knows what an arbitrary server compiles with, so all are looked at.
    families = FAMILY_NAMES
    crash_patterns = ()
    has_dummy_weights = False

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        if not launch.command or not launch.command[0]:
            return UsageError(
                f"{launch.name}: engine command needs a `command`",
                hint='give its argv in a workflow: command = ["my-server", "--port", "{port}"]',
            )
        if launch.weights == "dummy":
            return UsageError(
                f'{launch.name}: weights = "dummy" means nothing to engine command',
                hint="give the server's own flag for random weights in `command`",
            )
        return None

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        values = get_values(launch, allocation)
        return [substitute(argument, values) for argument in launch.command]

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        return RequestSpec(method="GET", path=self.get_health_path(launch))

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        return None


ENGINE = CommandEngine()
