"""A folder in which a page's commands run as they stand, with small things under the large names.

The reader's workflow names GPUs; here a file of that name lists toy servers. Nothing is patched:
what runs is the real program, by the name and with the words that the page gives it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.commands.program import TOY
from tests.docs.commands import ROOT
from tests.docs.markdown import Document

# Models of the stand-ins, with TPs that the pages speak of; the servers take no GPU.
MODELS = (("deepseek-ai/DeepSeek-V3.2", 8), ("XiaomiMiMo/MiMo-V2-Flash", 4))
WORKFLOWS = ("workflows/h200-8gpu.toml", "warmup.toml", "w.toml")
HEAD = """schema = 1
[defaults]
engine = "command"
start_timeout_s = 60
stop_grace_s = 2
[caches]
root = "caches"
[packs]
allowed_signers = "allowed_signers"
"""
TEST = """
register_cuda_ci(est_time=60, stage="base-c", runner_config="8-gpu-h200")

def test_it():
    popen_launch_server(
        "XiaomiMiMo/MiMo-V2-Flash",
        "http://127.0.0.1:8000",
        timeout=60,
        other_args=[
            "--tp", "4", "--dp", "2", "--enable-dp-attention", "--attention-backend", "fa3",
            "--trust-remote-code",
        ],
    )
"""
CI = """jobs:
  stage:
    uses: ./.github/workflows/_stage.yml
    with:
      warmup_server_models: "XiaomiMiMo/MiMo-V2-Flash:4"
"""
WARM_UP = """
FALLBACK_ARGS = {
    "XiaomiMiMo/MiMo-V2-Flash": [
        "--dp", "2", "--enable-dp-attention", "--attention-backend", "fa3",
    ],
}
"""
# Programs that no test machine has: each takes what it is given, and looks whether it is whole.
STAND_INS = {
    "kubectl": 'exec python3 -m json.tool "$(cat > objects.json && echo objects.json)" checked',
    "sbatch": 'exec bash -n "$1"',
}


class Sandbox:
    """One page's folder. path: where its commands run."""

    def __init__(
        self, folder: Path, document: Document, *before: Document, launches: bool = True
    ) -> None:
        """before: pages whose files this one goes on with. launches: else its commands only read,
        and have the tree's own workflows."""
        self.path = folder / "at"
        self._bin = folder / "bin"
        self._folder = folder
        self.path.mkdir()
        self._bin.mkdir()
        self._install("warmup-ci", f'exec "{sys.executable}" -m warmup "$@"')
        for name, body in STAND_INS.items():
            self._install(name, body)
        self._write_stand_ins()
        if not launches:
            shutil.copytree(ROOT / "workflows", self.path / "workflows", dirs_exist_ok=True)
        for page in (*before, document):
            for block in page.blocks:
                if block.name:
                    self._write(block.name, block.text)

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """`text` under bash; waits for its end."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.path,
            env=self._get_env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def prepare(self, text: str) -> str:
        """The command with what a reader puts in, and what the page tells between the lines."""
        if "REF" in text.split():
            text = text.replace(" REF", " dir:pack")
        for run in self._folder.glob("home/runs/*"):
            text = text.replace("report 20261124T1247", f"report {run.name}")
        key = self.path / "pack-key.pub"
        if key.exists():  # as the page's block of `allowed_signers` has it
            line = f'ci@example namespaces="warmup-ci-pack" {key.read_text()}'
            self._write("allowed_signers", line)
        return text

    def _get_env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join(
                [str(self._bin), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(ROOT),
            "HOME": str(self._folder / "user"),
            "TMPDIR": str(self._folder),
            "USER": "reader",
            "WARMUP_CI_HOME": str(self._folder / "home"),
            "WARMUP_CI_CACHE_ROOT": str(self.path / "caches"),
        }

    def _install(self, name: str, body: str) -> None:
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def _write(self, name: str | Path, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _write_stand_ins(self) -> None:
        models = "".join(
            f"[[model]]\nid = {json.dumps(name)}\ntp = {tp}\n"
            f'command = ["python3", "{TOY}", "--port", "{{port}}", "--kernel", "k{tp}"]\n'
            'request = { path = "/generate", json = {} }\n'
            for name, tp in MODELS
        )
        for name in WORKFLOWS:
            self._write(name, HEAD + models)
        # As huggingface_hub keeps a model, of which nothing but its configuration is here.
        hub = self._folder / "user/.cache/huggingface/hub/models--deepseek-ai--DeepSeek-V3-0324"
        config = ROOT / "tests" / "kernels" / "configs" / "deepseek-v3.json"
        self._write(hub / "refs" / "main", "abc")
        self._write(hub / "snapshots" / "abc" / "config.json", config.read_text())
        self._write("test/registered/8-gpu-models/test_mimo.py", TEST)
        self._write(".github/workflows/pr-test.yml", CI)
        self._write("scripts/ci/cuda/warmup_deep_gemm.py", WARM_UP)
