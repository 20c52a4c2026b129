"""What several tiny checkpoints are made of: tokenizers over bytes, VAEs, the folder's index."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """The same weights each time, and the caller's random numbers undisturbed."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def strengthen(transformer: Any, vae: Any) -> None:
    """Larger weights than classes start with. A model this small hardly answers to its inputs
    otherwise: another seed or prompt would make the same picture, and a test would see nothing."""
    for module, factor in ((transformer, 3.0), (vae, 2.0)):
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.data *= factor


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_pipeline(
    folder: Path,
    class_name: str,
    components: dict[str, tuple[str, str, Any]],
    defaults: dict[str, Any],
) -> None:
    """Save each component in its own folder, model_index.json, and the sampling defaults.

    components: name → (library, class name, object with save_pretrained).
    """
    import diffusers

    index: dict[str, Any] = {
        "_class_name": class_name,
        "_diffusers_version": diffusers.__version__,
    }
    for name, (library, component_class, component) in components.items():
        component.save_pretrained(folder / name)
        index[name] = [library, component_class]
    write_json(folder / "model_index.json", index)
    write_json(folder / "generation_config.json", defaults)


def get_byte_alphabet() -> list[str]:
    """The 256 characters that byte-level BPE writes bytes as."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def make_clip_tokenizer() -> Any:
    """CLIP's tokenizer over single bytes; 514 tokens, 77 of them in a text at most."""
    from transformers import CLIPTokenizer

    letters = get_byte_alphabet()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77
    )


def make_t5_tokenizer() -> Any:
    """T5's unigram tokenizer over printable ASCII."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def make_qwen_tokenizer() -> Any:
    """Qwen2's byte-level tokenizer, with the special tokens that its vision models use."""
    from transformers import Qwen2Tokenizer

    vocab = {letter: index for index, letter in enumerate(get_byte_alphabet())}
    special = [
        "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
        "<|image_pad|>", "<|video_pad|>",
    ]  # fmt: skip
    vocab["<|endoftext|>"] = len(vocab)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=32768)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    return tokenizer


def get_video_vae_sizes() -> dict[str, Any]:
    """A Wan-like VAE: 8 pixels per latent and 4 frames, as the real one, but 4 channels of 4."""
    return {
        "base_dim": 4,
        "z_dim": 4,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "latents_mean": [0.0, 0.1, -0.1, 0.2],
        "latents_std": [1.0, 1.1, 0.9, 1.2],
    }
