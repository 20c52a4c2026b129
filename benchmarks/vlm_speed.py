"""Prefill and decode of the engine's vision-language model beside plain transformers, in one run.

    python -m benchmarks.vlm_speed [--size 3b|7b|tiny] [--fp8] [--batch N] [--tokens N] [--side PX]

Random weights at the real sizes, one rank; bf16 on a GPU, float32 on a CPU. Both get the same
prompt: one square image and 64 tokens of text. transformers runs with SDPA and its default cache.
Numbers are medians after a warm-up; a table and ratios are printed, and nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import get_machine, print_table

# config.json of the released models (Qwen2.5-VL-3B- and 7B-Instruct, 2025-01).
_VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112,
}  # fmt: skip
_TEXT: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
NUM_TEXT_TOKENS = 64
RUNS = 5


def write_config(size: str, folder: Path) -> Path:
    """A folder with the config.json of that size, for `--load-format dummy`; `tiny`: all of it."""
    if size == "tiny":
        from warmup.engine.tiny.qwen2_5_vl import make

        make(folder)
        return folder
    text = _TEXT[size]
    rope = {"type": "mrope", "mrope_section": [16, 24, 24]}
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": rope,
        "hidden_act": "silu",
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_config": {**_VISION, "out_hidden_size": text["hidden_size"]},
        **text,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


class Ours:
    def __init__(self, folder: Path, batch: int, max_len: int, fp8: bool) -> None:
        from warmup.engine.args import ServerArgs
        from warmup.engine.ranks import Ranks
        from warmup.engine.vlm.model import VisionLanguageModel

        args = ServerArgs(
            model=str(folder), load_format="dummy", max_batch=batch, max_model_len=max_len, fp8=fp8
        )
        ranks = Ranks(args, 0)
        self.device = ranks.device
        self.model = VisionLanguageModel(args, ranks, max_len)

    def prefill(self, prompt: Any) -> None:
        self.model.prefill(*prompt)
        self.model.remove(0)

    def decode(self, prompt: Any, batch: int, num_tokens: int) -> float:
        """Seconds of `num_tokens` steps at that batch, prefill not counted."""
        tokens = [int(self.model.prefill(*prompt).argmax()) for _ in range(batch)]
        sync(self.device)
        begin = time.perf_counter()
        for _ in range(num_tokens):
            tokens = self.model.decode(tokens).argmax(-1).tolist()
        taken = time.perf_counter() - begin
        for _ in range(batch):
            self.model.remove(0)
        return taken


class Theirs:
    def __init__(self, folder: Path, device: Any, dtype: Any) -> None:
        import torch
        from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

        config = AutoConfig.from_pretrained(folder)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        with torch.device(device):
            self.model = Qwen2_5_VLForConditionalGeneration(config).eval()
        torch.set_default_dtype(before)
        self.device = device
        self.image_token = config.image_token_id

    def _make_inputs(self, prompt: Any, batch: int) -> dict[str, Any]:
        import torch

        ids = torch.tensor([prompt[0]] * batch, device=self.device)
        return {
            "input_ids": ids,
            "mm_token_type_ids": (ids == self.image_token).int(),
            "pixel_values": prompt[1].repeat(batch, 1).to(self.device),
            "image_grid_thw": torch.tensor(prompt[2] * batch, device=self.device),
        }

    def prefill(self, prompt: Any) -> None:
        self._generate(prompt, 1, 1)

    def decode(self, prompt: Any, batch: int, num_tokens: int) -> float:
        """What `num_tokens` more tokens cost beyond the first: prefill is taken off."""
        short = self._generate(prompt, batch, 1)
        return self._generate(prompt, batch, 1 + num_tokens) - short

    def _generate(self, prompt: Any, batch: int, num_tokens: int) -> float:
        inputs = self._make_inputs(prompt, batch)
        sync(self.device)
        begin = time.perf_counter()
        self.model.generate(
            **inputs, max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=False
        )
        sync(self.device)
        return time.perf_counter() - begin


def sync(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_prompt(side: int, image_token: int) -> Any:
    import torch

    patches = side // 14
    ids = [100] * NUM_TEXT_TOKENS
    ids[8:8] = [image_token] * (patches * patches // 4)
    return ids, torch.randn(patches * patches, 1176), [(1, patches, patches)]


def time_median(engine: Ours | Theirs, prompt: Any, device: Any) -> float:
    """Seconds of one prefill."""
    taken = []
    for index in range(RUNS + 1):
        sync(device)
        begin = time.perf_counter()
        engine.prefill(prompt)
        sync(device)
        if index:
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "3b", "7b"), default="3b")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--side", type=int, default=504, help="of the image: a multiple of 28")
    parser.add_argument("--fp8", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write_config(args.size, Path(name) / "model")
        max_len = (args.side // 28) ** 2 + NUM_TEXT_TOKENS + args.tokens + 8
        ours = Ours(folder, args.batch, max_len, args.fp8)
        theirs = Theirs(folder, ours.device, ours.model.dtype)
    prompt = make_prompt(args.side, theirs.image_token)
    rows = []
    prefills = [time_median(engine, prompt, ours.device) for engine in (ours, theirs)]
    rows.append(["prefill, ms", *(f"{1000 * s:.1f}" for s in prefills), _ratio(prefills)])
    for batch in sorted({1, args.batch}):
        steps = []
        for engine in (ours, theirs):
            engine.decode(prompt, batch, 2)
            runs = [engine.decode(prompt, batch, args.tokens) for _ in range(RUNS)]
            steps.append(statistics.median(runs) / args.tokens)
        cells = (f"{1000 * step:.2f}" for step in steps)
        rows.append([f"decode step at batch {batch}, ms", *cells, _ratio(steps)])
    dtype = "fp8" if args.fp8 else str(ours.model.dtype).removeprefix("torch.")
    what = f"Qwen2.5-VL {args.size}, {dtype}, {ours.device}, {len(prompt[0])} tokens"
    print(f"{what}. {get_machine()}\n")
    print_table(["", "ours", "transformers", "times faster"], rows)


def _ratio(pair: list[float]) -> str:
    return f"{pair[1] / pair[0]:.2f}"


if __name__ == "__main__":
    main()
