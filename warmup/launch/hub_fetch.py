"""Fetch a model into the hub's cache. Its text is run by the engine's interpreter, by itself.

Arguments: the id, its revision, the cache's folder, and what is wanted: `config`, `all`, or `code`
for all but the weights. An error is one JSON object on stdout.
"""

import json
import os
import sys
import threading
from pathlib import Path

# What the embedded engine reads; the same weights in other formats are not fetched.
OTHERS = ["*.bin", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx*", "*.pt", "*.pth", "*.fp16.*"]


def fetch(model: str, revision: str, cache: str, wanted: str) -> None:
    from huggingface_hub import snapshot_download

    def get(allow: list[str], ignore: list[str]) -> Path:
        folder = snapshot_download(
            model,
            revision=revision,
            cache_dir=cache,
            allow_patterns=allow,
            ignore_patterns=ignore,
        )
        return Path(folder)

    if wanted == "config":
        get(["config.json"], [])
        return
    index = get(["config.json", "model_index.json"], []) / "model_index.json"
    ignored = [*OTHERS, *(["*.safetensors"] if wanted == "code" else [])]
    if index.is_file():
        parts = [name for name, said in json.loads(index.read_text()).items() if said[:1] != [None]]
        get(["model_index.json", *(f"{part}/*" for part in parts)], ignored)
    else:
        get(["*.json", "*.jinja", "*.model", "*.safetensors", "*.txt"], ["*/*", *ignored])


def end_with_parent() -> None:
    """stdin is a pipe that ends with whoever started this."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        fetch(*sys.argv[1:])
    except Exception as error:  # the hub's errors are many, and none may pass for a traceback
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        os._exit(1)
    os._exit(0)
