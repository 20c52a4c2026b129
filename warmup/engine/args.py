"""What a server was asked to be: one frozen struct that checks itself when made.

Every field is written once: it is one flag (`engine/flags.py` reads them off here) and one key of a
`--config` file. The struct travels to the rank processes as JSON, so it holds plain data only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from warmup.words.errors import UsageError

WarmupMode = Literal["off", "request", "server"]
DEFAULT_CFG_PARALLEL_SIZE = 2


def flag(group: str, text: str | None = None, **more: Any) -> msgspec.Meta:
    """group: its heading in --help. more: `metavar`, and `names` where they are not the field's."""
    return msgspec.Meta(description=text, extra={"group": group, **more})


SERVER, MODEL, RANKS, WARMUP = "server", "model", "ranks", "warm-up and readiness"
Seconds = float


class ServerArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`None` means: not asked for, the default depends on other fields.

    Raises `UsageError` from `check` for sizes and settings that contradict each other.
    """

    json: Annotated[bool, flag("output", "one JSON document on stdout when ready (or made)")] = (
        False
    )

    host: Annotated[str, flag(SERVER, "address to listen on")] = "127.0.0.1"
    port: Annotated[int, flag(SERVER, "port to listen on, 0 for a free one")] = 30000
    served_model_name: Annotated[
        str | None, flag(SERVER, "name in /v1/models (default: the folder's)")
    ] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], flag(SERVER)] = "info"
    hold_timeout: Annotated[
        Seconds, flag(SERVER, "how long a request is held before READY, then 503")
    ] = 600.0
    request_timeout: Annotated[Seconds, flag(SERVER, "how long one request may take")] = 3600.0
    max_batch: Annotated[int, flag(SERVER, "requests decoded together (vision-language)")] = 8
    max_model_len: Annotated[int, flag(SERVER, "tokens of one request (vision-language)")] = 4096
    allowed_media_root: Annotated[
        str, flag(SERVER, "folder whose files image_url may name", metavar="DIR")
    ] = ""
    allow_remote_media: Annotated[
        bool, flag(SERVER, "fetch http(s) image URLs of public addresses (default: refused)")
    ] = False

    model: Annotated[
        str, flag(MODEL, "local model folder", metavar="DIR", names=("--model", "--model-path"))
    ] = ""
    load_format: Annotated[
        Literal["auto", "dummy"],
        flag(MODEL, "dummy: random weights from config.json, on the device"),
    ] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], flag(MODEL)] = "auto"
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], flag(MODEL)] = "auto"
    seed: Annotated[int, flag(MODEL, "of dummy weights")] = 0
    trust_remote_code: Annotated[bool, flag(MODEL)] = False
    torch_compile: Annotated[bool, flag(MODEL, "compile the transformer with Inductor")] = False
    fp8: Annotated[bool, flag(MODEL, "DeepGEMM FP8 linears (SM90)")] = False

    num_gpus: Annotated[
        int | None, flag(RANKS, "rank processes of a diffusion model (default 1)")
    ] = None
    tp: Annotated[
        int | None,
        flag(RANKS, "tensor parallel ranks (vision-language)", names=("--tp", "--tp-size")),
    ] = None
    enable_cfg_parallel: Annotated[
        bool, flag(RANKS, "run guidance's branches on different ranks")
    ] = False
    cfg_parallel_size: Annotated[int | None, flag(RANKS, "ranks of one such group (default 2)")] = (
        None
    )
    cfg_off_policy: Annotated[
        Literal["reject", "serve"],
        flag(RANKS, "a request without guidance under CFG parallel: 400, or serve it anyway"),
    ] = "reject"
    dist_timeout: Annotated[Seconds, flag(RANKS, "of every collective, gloo's too")] = 600.0
    disagg_role: Annotated[
        str | None, flag(RANKS, "role in a disaggregated setup; disables server warm-up")
    ] = None

    warmup: Annotated[
        bool | None, flag(WARMUP, "false disables all warm-up", metavar="true|false")
    ] = None
    warmup_mode: Annotated[
        WarmupMode | None,
        flag(
            WARMUP,
            "server (default): before READY; request: a copy of the first request runs first",
        ),
    ] = None
    warmup_resolutions: Annotated[
        tuple[tuple[int, int], ...], flag(WARMUP, "shapes to warm; commas too", metavar="WxH")
    ] = ()
    warmup_steps: Annotated[
        int | None, flag(WARMUP, "denoising steps (default: 2 in server mode, else 1)")
    ] = None
    warmup_num_frames: Annotated[int | None, flag(WARMUP, "frames of a video warm-up")] = None
    warmup_sampling_params: Annotated[
        dict[str, Any],
        flag(WARMUP, "sampling parameters of every warm-up request", metavar="JSON"),
    ] = {}
    warmup_fail_policy: Annotated[
        Literal["abort", "continue"] | None,
        flag(WARMUP, "default: abort if resolutions were asked for, else continue"),
    ] = None
    warmup_deadline: Annotated[Seconds, flag(WARMUP, "of the whole warm-up")] = 1800.0
    readiness_compat: Annotated[bool, flag(WARMUP, "/health is 200 while warming")] = False
    input_save_path: Annotated[
        str,
        flag(WARMUP, "folder of the warm-up image (default: a temporary one)", metavar="DIR"),
    ] = ""

    @property
    def model_name(self) -> str:
        """What answers and /v1/models call the model."""
        return self.served_model_name or Path(self.model).resolve().name

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


# What must be above 0, where it is given.
_POSITIVE = (
    "num_gpus", "tp", "cfg_parallel_size", "dist_timeout", "warmup_steps", "warmup_num_frames",
    "warmup_deadline", "hold_timeout", "request_timeout", "max_batch", "max_model_len",
)  # fmt: skip


def _check_numbers(args: ServerArgs) -> None:
    for name in _POSITIVE:
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
