"""The HTTP half of the diffusion backend. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Warmup
from warmup.engine.client import RankClient
from warmup.engine.diffusion.plan import parse_sampling_params, plan_warmups
from warmup.engine.diffusion.spec import get_defaults, read_index
from warmup.words.errors import UsageError

_log = logging.getLogger("warmup.engine")


class DiffusionFrontend:
    def __init__(self, args: ServerArgs) -> None:
        folder = Path(args.model)
        self.args = args
        self.spec = read_index(folder).spec
        self.defaults = get_defaults(folder, self.spec)
        self._check()

    def _check(self) -> None:
        """Raise `UsageError` for settings that this family cannot have."""
        args, spec = self.args, self.spec
        parse_sampling_params(args.warmup_sampling_params)
        if args.cfg_parallel and not spec.has_cfg:
            raise UsageError(
                f"--enable-cfg-parallel: {spec.name} has one branch",
                cause="its guidance is distilled into the model",
                hint="drop --enable-cfg-parallel and --cfg-parallel-size",
            )
        if args.world_size > args.cfg_size:
            num_groups = args.world_size // args.cfg_size
            _log.warning(
                "%d groups of ranks all do the same work: only CFG parallel shares it", num_groups
            )
        if args.warmup_num_frames is not None and not spec.task.makes_video:
            raise UsageError(f"--warmup-num-frames: {spec.name} makes images")

    @property
    def info(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "family": spec.name,
            "pipeline": spec.pipeline,
            "task": spec.task.value,
            "accepts_image": spec.task.accepts_image,
            "requires_image": spec.needs_image,
            "sampling_defaults": msgspec.to_builtins(self.defaults),
        }

    @property
    def model_card(self) -> dict[str, Any]:
        return {}

    def add_routes(self, app: Any, client: RankClient) -> None:
        from warmup.engine.diffusion.routes import add_routes

        add_routes(app, client, self.spec)

    def get_warmups(self) -> list[Warmup]:
        return plan_warmups(self.args, self.spec, self.defaults)

    def close(self) -> None:
        pass


def make_frontend(args: ServerArgs) -> DiffusionFrontend:
    return DiffusionFrontend(args)
