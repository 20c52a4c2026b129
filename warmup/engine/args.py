"""What a server was asked to be: one frozen struct that checks itself when made.

Every field is one flag (`engine/flags.py`) and one key of a `--config` file. The struct travels to
the rank processes as JSON, so it holds plain data only.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from warmup.words.errors import UsageError

WarmupMode = Literal["off", "request", "server"]
DEFAULT_CFG_PARALLEL_SIZE = 2


class ServerArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All `_s` are seconds. `None` means: not asked for, the default depends on other fields.

    Raises `UsageError` from `check` for sizes and settings that contradict each other.
    """

    model: str = ""
    served_model_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 30000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    load_format: Literal["auto", "dummy"] = "auto"
    seed: int = 0
    trust_remote_code: bool = False
    torch_compile: bool = False
    fp8: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False

    num_gpus: int | None = None
    tp: int | None = None
    enable_cfg_parallel: bool = False
    cfg_parallel_size: int | None = None
    cfg_off_policy: Literal["reject", "serve"] = "reject"
    dist_timeout: float = 600.0
    disagg_role: str | None = None

    warmup: bool | None = None
    warmup_mode: WarmupMode | None = None
    warmup_resolutions: tuple[tuple[int, int], ...] = ()
    warmup_steps: int | None = None
    warmup_num_frames: int | None = None
    warmup_sampling_params: dict[str, Any] = {}
    warmup_fail_policy: Literal["abort", "continue"] | None = None
    warmup_deadline: float = 1800.0
    readiness_compat: bool = False
    hold_timeout: float = 600.0
    request_timeout: float = 3600.0
    input_save_path: str = ""

    max_batch: int = 8
    max_model_len: int = 4096
    allowed_media_root: str = ""
    allow_remote_media: bool = False

    @property
    def world_size(self) -> int:
        """Number of rank processes."""
        return self.num_gpus or self.tp or 1

    @property
    def cfg_size(self) -> int:
        """Ranks over which the branches of a denoising step are spread; 1: no CFG parallel."""
        if self.cfg_parallel_size is not None:
            return self.cfg_parallel_size
        return DEFAULT_CFG_PARALLEL_SIZE if self.enable_cfg_parallel else 1

    @property
    def cfg_parallel(self) -> bool:
        return self.cfg_size > 1

    @property
    def mode(self) -> WarmupMode:
        """The warm-up that will happen: `--disagg-role` turns server warm-up off."""
        if self.warmup is False:
            return "off"
        mode = self.warmup_mode or "server"
        return "off" if mode == "server" and self.disagg_role else mode

    @property
    def fail_policy(self) -> Literal["abort", "continue"]:
        """Shapes that were asked for must warm; the synthesised default shape may fail."""
        if self.warmup_fail_policy is not None:
            return self.warmup_fail_policy
        return "abort" if self.warmup_resolutions else "continue"

    def check(self) -> None:
        _check_numbers(self)
        _check_ranks(self)
        _check_warmup(self)


def _check_numbers(args: ServerArgs) -> None:
    positive = (
        "num_gpus", "tp", "cfg_parallel_size", "dist_timeout", "warmup_steps",
        "warmup_num_frames", "warmup_deadline", "hold_timeout", "request_timeout",
        "max_batch", "max_model_len",
    )  # fmt: skip
    for name in positive:
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be greater than 0, not {value}")
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port must be 0..65535, not {args.port}")
    for width, height in args.warmup_resolutions:
        if width < 1 or height < 1:
            raise UsageError(f"--warmup-resolutions: {width}x{height} has no area")


def _check_ranks(args: ServerArgs) -> None:
    if args.num_gpus is not None and args.tp is not None and args.num_gpus != args.tp:
        raise UsageError(
            f"--num-gpus {args.num_gpus} contradicts --tp {args.tp}",
            hint="give one of them: --num-gpus for diffusion, --tp for vision-language models",
        )
    if args.enable_cfg_parallel and args.cfg_parallel_size == 1:
        raise UsageError("--enable-cfg-parallel contradicts --cfg-parallel-size 1")
    if args.cfg_parallel and args.world_size == 1:
        raise UsageError(
            "CFG parallel needs at least two devices, and num_gpus == 1",
            hint="add --num-gpus 2, or drop --enable-cfg-parallel and --cfg-parallel-size",
        )
    if args.world_size % args.cfg_size:
        raise UsageError(
            f"--num-gpus {args.world_size} is not a multiple of the CFG parallel size"
            f" {args.cfg_size}"
        )


def _check_warmup(args: ServerArgs) -> None:
    off = args.warmup is False or args.warmup_mode == "off"
    if args.warmup is True and args.warmup_mode == "off":
        raise UsageError("--warmup true contradicts --warmup-mode off")
    if args.warmup is False and args.warmup_mode in ("server", "request"):
        raise UsageError(f"--warmup false contradicts --warmup-mode {args.warmup_mode}")
    if off and args.warmup_resolutions:
        how = "--warmup false" if args.warmup is False else "--warmup-mode off"
        raise UsageError(
            f"{how} contradicts --warmup-resolutions",
            hint="drop one of the two: they can't both be",
        )
