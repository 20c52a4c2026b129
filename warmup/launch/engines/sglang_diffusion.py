"""Engine `sglang-diffusion`: sglang's image and video server (facts: sglang 0.5.22 and 0.5.23,
multimodal_gen/runtime/server_args/server_args.py, entrypoints/http_server.py).

It warms itself with a request of its own before `/health` is 200. With its port taken it would
silently serve on another one; `--strict-ports` makes that an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmup.launch.adapter import HOST, PORT_TAKEN, Adapter
from warmup.launch.answers import find_media_fault, find_predictions_fault
from warmup.launch.arguments import parse
from warmup.launch.engine import Allocation
from warmup.launch.folder import find_name_problem
from warmup.launch.ladder import LadderStep
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.requests import make_image_url
from warmup.words.errors import UsageError, WarmupError

# The first and the last step start different kernels.
_SMALL = {"size": "256x256", "num_inference_steps": 2}
# Of an edit or a video, all that 0.5.22's and 0.5.23's `vertex_generate` let one choose: no steps.
# A video VAE's first frame is coded alone and the others by fours.
_SMALL_VERTEX = {"width": 256, "height": 256}
_NUM_FRAMES = 5
_VERTEX_PATH = "/vertex_generate"
# Words in a pipeline's class or a model's name; matched in lower case.
_IMAGE_INPUT_WORDS = ("edit", "i2v", "imagetovideo", "img2img", "kontext")
_VIDEO_WORDS = ("i2v", "t2v", "ti2v", "video", "wan")


class SglangDiffusionEngine(Adapter):
    """Extra ports: the request broker's, torch.distributed's, and a scheduler's for each of up to
    eight replicas.

    The broker takes the port after HTTP's, unasked (0.5.23, `broker_port`): the first extra port
    is left to it. Where that is taken the server is unhealthy for ever.
    """

    name = "sglang-diffusion"
    has_dummy_weights = False
    distribution = "sglang"
    families = (
        "triton",
        "inductor",
        "deep_gemm",
        "flashinfer",
        "flashinfer_autotune",
        "cute_dsl",
        "quack",
        "tvm_ffi",
        "cuda_driver",
        "aiter",
    )
    crash_patterns = (
        "Server warmup failed; aborting startup",
        "Scheduler worker exited; restart the server",
        "Offline request broker exited; restart the server",
        "Disaggregation router exited; restart the server",
        "--strict-ports is enabled",
        PORT_TAKEN,
    )
    num_extra_ports = 10

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        if launch.weights == "dummy":
            return UsageError(
                f'{launch.name}: sglang-diffusion has no random weights (weights = "dummy")',
                hint="use engine reference, or make a random checkpoint on disk",
            )
        problem = find_name_problem(launch.model, launch.label)
        contents = None if problem is not None else launch.contents
        if contents is None:
            return problem
        arguments = parse(launch.fallback_args, self.name)
        has_pipeline = arguments.find("--pipeline-class-name") is not None
        if contents.pipeline is None and not has_pipeline:
            return UsageError(
                f"{launch.label}: no model_index.json in this folder",
                hint="name its pipeline (--pipeline-class-name) in fallback_args",
            )
        return None

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        # The module behind `sglang serve --model-type diffusion`; sglang.cli.main has no
        # `__main__`, and the console script may belong to another interpreter.
        argv = [launch.python, "-m", "sglang.multimodal_gen.runtime.entrypoints.cli.main", "serve"]
        argv += ["--model-path", launch.model_argument, "--num-gpus", str(launch.tp)]
        argv += ["--host", HOST, "--port", str(allocation.port), "--strict-ports", "true"]
        if allocation.extra_ports:
            argv += ["--master-port", str(allocation.extra_ports[1])]
            argv += ["--scheduler-port", str(allocation.extra_ports[2])]
        if launch.revision and launch.folder is None:
            argv += ["--revision", launch.revision]
        return [*argv, "--trust-remote-code", "true"] if launch.trust_remote_code else argv

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        """Images by OpenAI's path; edits and videos by `/vertex_generate`.

        `/v1/images/edits` takes forms only, and `/v1/videos` answers before anything is computed.
        Sizes and steps are left to the server, so that its model's own are warmed. Without a GPU
        they are small: a model's own, 1024 pixels and 30 steps, were not done in 200 s.
        """
        is_small = not env.get("CUDA_VISIBLE_DEVICES")
        if _makes_images(launch):
            return _make_image(**(_SMALL if is_small else {}))
        return _make_vertex(launch, is_small=is_small)

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        """Another size. Without a GPU the first request of an edit or a video had it already."""
        has_gpu = bool(env.get("CUDA_VISIBLE_DEVICES"))
        if _makes_images(launch):
            request = _make_image(**{**_SMALL, "size": "512x512"})
            return [LadderStep("512x512, 2 steps", (request,), not has_gpu)]
        small = LadderStep("256x256", (_make_vertex(launch, is_small=True),))
        return [small] if has_gpu else []

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        return find_predictions_fault(body) if path == _VERTEX_PATH else find_media_fault(body)


def _make_image(**more: Any) -> RequestSpec:
    body = {"prompt": "warmup", "n": 1, "response_format": "b64_json", **more}
    return RequestSpec(path="/v1/images/generations", json=body)


def _make_vertex(launch: Launch, *, is_small: bool) -> RequestSpec:
    instance = {"prompt": "warmup"}
    words = _describe(launch)
    if any(word in words for word in _IMAGE_INPUT_WORDS):
        instance["image"] = make_image_url()
    body: dict[str, Any] = {"instances": [instance]}
    if is_small:
        is_video = any(word in words for word in _VIDEO_WORDS)
        body["parameters"] = {**_SMALL_VERTEX, **({"num_frames": _NUM_FRAMES} if is_video else {})}
    return RequestSpec(path=_VERTEX_PATH, json=body)


def _makes_images(launch: Launch) -> bool:
    """From words alone: neither an edit nor a video."""
    words = _describe(launch)
    return not any(word in words for word in (*_IMAGE_INPUT_WORDS, *_VIDEO_WORDS))


def _describe(launch: Launch) -> str:
    """What there is to guess the task from: the pipeline's class, else the model's name."""
    pipeline = None if launch.contents is None else launch.contents.pipeline
    return (pipeline or launch.model.rsplit("/", 1)[-1]).lower()


ENGINE = SglangDiffusionEngine()
