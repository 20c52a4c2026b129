"""`run --json`: the one document of a run (design.md section 3), and one model's part of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from warmup.words.encoding import encode_json
from warmup.words.errors import WarmupError
from warmup.words.secrets import Redactor

SCHEMA = 1

State = Literal["warm", "warmed", "seeded", "failed", "skipped", "cold"]


StepState = Literal["answered", "failed", "left_out"]


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the ladder; `first` is the request that every warm-up sends.

    step: its name, with `prove_` before it in `--prove`'s second boot. state: `left_out` for want
    of time. new_entries: JIT cache entries added, per family; those of a step too quick to be
    looked at by itself are the next one's.
    """

    step: str
    state: StepState
    seconds: float = 0.0
    new_entries: dict[str, int] = {}


class ModelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one model.

    state: `warm` = valid marker, nothing launched; `warmed` = was cold, is now warm; `seeded` =
    made for `target`, which is not here: not warm before a boot there compiled nothing; `cold`
    only in `plan`. seconds: wall time of this model's step; phases: seconds per phase, those of
    `--prove`'s second boot as `prove_…`; failed_phase: the first that failed. new_entries: JIT
    cache entries added, per family. marker, log: paths. argv: the exact command of the server.
    survivors: descriptions of processes of its server that could not be ended. left_out:
    autotuners' results that the seed does without. seed_missed: what the first boot on the GPU
    compiled although there was a seed. steps: of the ladder that its server climbed.
    """

    model: str
    tp: int
    engine: str
    state: State
    reason: str
    seconds: float = 0.0
    phases: dict[str, float] = {}
    failed_phase: str | None = None
    new_entries: dict[str, int] = {}
    proven: bool = False
    marker: str | None = None
    log: str | None = None
    argv: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()
    target: str = ""
    left_out: tuple[str, ...] = ()
    seed_missed: tuple[str, ...] = ()
    steps: tuple[StepResult, ...] = ()

    @property
    def name(self) -> str:
        """`MODEL:TP`, as a user names it on the command line."""
        return f"{self.model}:{self.tp}"

    def redact(self, redactor: Redactor) -> ModelResult:
        """The same without secrets, as it may be written down and printed."""
        argv, reason = redactor.redact_argv(self.argv), redactor.redact(self.reason)
        if (argv, reason) == (self.argv, self.reason):
            return self
        return msgspec.structs.replace(self, argv=argv, reason=reason)

    @property
    def gpu_hours(self) -> float:
        return get_gpu_hours(self.tp, self.state, self.seconds)

    @property
    def is_warm(self) -> bool:
        """Whether the runner is warm for this model now."""
        return self.state in ("warm", "warmed")

    @property
    def is_success(self) -> bool:
        """Whether all was done that was asked for here."""
        return self.is_warm or self.state == "seeded"


def get_gpu_hours(tp: int, state: str, seconds: float) -> float:
    """TP times the time that a model took; a host whose GPUs NVML does not show holds them too.
    0 for one that was not launched."""
    return 0.0 if state in ("warm", "skipped", "cold") else tp * seconds / 3600


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `run --json` prints. exit_code: the run's own exit status."""

    schema: int = SCHEMA
    run_id: str
    exit_code: int
    version_key: str
    models: tuple[ModelResult, ...]

    def encode(self) -> str:
        """The document in one line, without a newline at its end."""
        return encode_json(self).decode("utf-8")


class ErrorFields(msgspec.Struct, frozen=True, kw_only=True):
    """An error as its lines on stderr tell it."""

    what: str
    cause: str | None
    log: str | None
    hint: str | None


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a command prints under `--json` where an error ended it before its own document."""

    schema: int = SCHEMA
    exit_code: int
    error: ErrorFields

    @classmethod
    def make(cls, error: WarmupError) -> ErrorDocument:
        fields = ErrorFields(what=error.what, cause=error.cause, log=error.log, hint=error.hint)
        return cls(exit_code=error.exit_status, error=fields)

    def encode(self) -> str:
        return encode_json(self).decode("utf-8")
