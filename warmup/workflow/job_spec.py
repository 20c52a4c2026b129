"""What a run tells the child that warms one of its models, and what it hears of a failure."""

from __future__ import annotations

import json

import msgspec

from warmup.launch.api import Launch
from warmup.report.api import ModelResult
from warmup.supervise.api import Limits
from warmup.words.errors import EXIT_HOST, HostError, WarmupError
from warmup.workflow.selection import Resolved


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """launches, default, cache_root, gpu_target, target_driver: what the whole run resolved. index:
    of this child's launch among them, from 0. run_id: of its own ledger. run_dir: where logs go.
    gpus: its own. is_alone:
    nobody else warms meanwhile; else the proof is left for later. parent: pid of the run.
    """

    launches: tuple[Launch, ...]
    default: Launch
    cache_root: str
    gpu_target: str
    target_driver: str
    index: int
    run_id: str
    run_dir: str
    gpus: tuple[str, ...]
    limits: Limits
    force: bool
    is_alone: bool
    parent: int

    @property
    def resolved(self) -> Resolved:
        return Resolved(
            launches=self.launches,
            default=self.default,
            cache_root=self.cache_root,
            gpu_target=self.gpu_target,
            target_driver=self.target_driver,
        )

    def encode(self) -> bytes:
        """ASCII: a path may hold what is not valid UTF-8."""
        return json.dumps(msgspec.to_builtins(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> JobSpec:
        return msgspec.convert(json.loads(data), cls)


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """The error beside a model's result."""

    what: str
    cause: str | None = None
    log: str | None = None
    hint: str | None = None
    exit_status: int

    @classmethod
    def make(cls, error: WarmupError) -> JobError:
        return cls(
            what=error.what,
            cause=error.cause,
            log=error.log,
            hint=error.hint,
            exit_status=error.exit_status,
        )

    def find_error(self) -> WarmupError | None:
        """None where a signal ended the child: the run knows of it, and tells it once."""
        if self.exit_status > 128:
            return None
        kind = HostError if self.exit_status == EXIT_HOST else WarmupError
        return kind(self.what, cause=self.cause, log=self.log, hint=self.hint)


def merge_proof(warmed: ModelResult, proof: ModelResult) -> ModelResult:
    """One result of a warm-up and of the second boot that proved it, or did not."""
    if warmed.state == "warm":  # nothing but the proof was missing
        return proof
    return msgspec.structs.replace(
        proof,
        reason=warmed.reason if proof.is_warm else proof.reason,
        seconds=round(warmed.seconds + proof.seconds, 3),
        phases={**warmed.phases, **proof.phases},
        new_entries=warmed.new_entries,
    )
