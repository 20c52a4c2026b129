from __future__ import annotations

from pathlib import Path

from tests.needs import load

torch = load("torch")

from warmup.engine.tiny.text import make  # noqa: E402


def test_small_the_same_each_time_and_whole(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    before = torch.random.get_rng_state()
    make(tmp_path / "a")
    make(tmp_path / "b")
    make(tmp_path / "c", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ac"]
    assert weights[0] != weights[1]
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) < 512 << 10

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a", local_files_only=True)
    text = "any text at all: é ✓"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    chat = [{"role": "user", "content": "warmup"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model = LlamaForCausalLM.from_pretrained(tmp_path / "a", local_files_only=True)
    output = model.generate(**inputs, max_new_tokens=8)
    assert tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
