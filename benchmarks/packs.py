"""Push and pull of real entries and of large files through a registry on this machine.

`python -m benchmarks.packs [--triton N] [--nvcc N] [--files N] [--mib M] [--folder DIR]
[--scratch DIR] [--runs N]`

Beside ours, in the same run and through the same registry (Debian's docker-registry): `tar | gzip`
with `skopeo copy`, and the Python client of `oras` alone. The floor of a pull is `sha256sum` and
`gzip -d` of the very layers that it fetches. Whole processes are timed, their start included; the
best of --runs counts, with the largest peak of memory. --folder keeps what was compiled for the
next time (`benchmarks.real_entries`). 4 GiB in 100 files: `--files 100 --mib 41`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pack_peers import Peers, Step, get_best, measure
from benchmarks.real_entries import make_large, make_nvcc, make_triton
from benchmarks.table import get_machine, print_table
from tests.commands.program import write_workflow
from tests.packs.fleet import make_key
from tests.packs.registries import serve_registry

MIB = 1 << 20


class Fleet:
    """A writer and its readers, a registry, and what others send through it."""

    def __init__(self, folder: Path, host: str, entries: Path) -> None:
        self.folder, self.host = folder, host
        self.reference = f"oci://{host}/ours"
        self.key = make_key(folder, "writer@example")
        self.writer = self._make_machine("writer")
        subprocess.run(["cp", "-a", f"{entries}/.", self.writer / "caches"], check=True)
        self.warm()

    def _make_machine(self, name: str) -> Path:
        machine = self.folder / name
        (machine / "caches").mkdir(parents=True)
        (machine / "signers").write_text(self.key.make_line())
        packs = f'allowed_signers = "signers"\ninsecure_registries = ["{self.host}"]\n'
        write_workflow(machine, more=f'\n[packs]\n{packs}[caches]\nroot = "caches"\n')
        return machine

    def call(self, machine: Path, *words: str) -> tuple[Step, dict[str, Any]]:
        command = [sys.executable, "-m", "warmup", *words, "--workflow", "workflow.toml", "--json"]
        step = measure(command, machine, machine / "document.json")
        return step, json.loads((machine / "document.json").read_text())

    def warm(self) -> None:
        self.call(self.writer, "run", "--force")

    def push(self) -> tuple[Step, dict[str, Any]]:
        return self.call(self.writer, "push", self.reference, "--sign", self.key.sign)

    def pull(self, machine: Path) -> tuple[Step, dict[str, Any]]:
        return self.call(machine, "pull", self.reference)

    def pull_anew(self, index: int) -> tuple[Step, Path]:
        if index:
            shutil.rmtree(self.folder / f"reader{index - 1}")
        machine = self._make_machine(f"reader{index}")
        return self.pull(machine)[0], machine

    def measure_round_trip(self, tag: str) -> float:
        host, _, port = self.host.partition(":")
        taken = []
        for _ in range(20):
            connection = http.client.HTTPConnection(host, int(port))
            begin = time.perf_counter()
            connection.request("GET", f"/v2/ours/manifests/{tag}", headers={"Accept": "*/*"})
            connection.getresponse().read()
            taken.append(time.perf_counter() - begin)
            connection.close()
        return sorted(taken)[len(taken) // 2]

    def change_one_entry(self) -> list[str]:
        """Layers that a push sends after one entry of Triton's is new."""
        (self.writer / "caches" / "triton" / "KNEW").mkdir(parents=True)
        (self.writer / "caches" / "triton" / "KNEW" / "new.cubin").write_bytes(os.urandom(5000))
        self.warm()
        families = self.push()[1]["families"]
        return [name for name, each in families.items() if each["sent"]]


def bench(what: str, entries: Path, folder: Path, runs: int) -> None:
    folder.mkdir()
    with serve_registry(folder / "registry") as host:
        fleet = Fleet(folder, host, entries)
        push, pushed = fleet.push()
        again = get_best([fleet.push()[0] for _ in range(runs)])
        others = Peers(folder, host, fleet.writer)
        peers = others.push_tar(), others.run_oras("push")
        pulls = [fleet.pull_anew(index) for index in range(runs)]
        pull, machine = get_best([step for step, _ in pulls]), pulls[-1][1]
        second = get_best([fleet.pull(machine)[0] for _ in range(runs + 2)])
        tar = get_best([others.pull_tar() for _ in range(runs)])
        oras = get_best([others.run_oras("pull") for _ in range(runs)])
        floor = get_best([others.measure_floor(pushed["tag"]) for _ in range(runs)])
        round_trip = fleet.measure_round_trip(pushed["tag"])
        sent = fleet.change_one_entry()
        _, changed = fleet.pull(machine)
    size = sum(path.stat().st_size for path in entries.rglob("*") if path.is_file())
    layers = sum(each["bytes"] for each in pushed["families"].values())
    print(f"\n## {what}: {size / MIB:.0f} MiB, layers of {layers / MIB:.0f} MiB\n")

    def row(name: str, step: Step, beside: Step | None = None) -> list[str]:
        ratio = f"{step.seconds / beside.seconds:.2f}" if beside else ""
        cells = f"{step.seconds:.2f} s", f"{step.cpu_s:.2f} s", f"{step.rss_bytes / MIB:.0f} MiB"
        return [name, *cells, ratio]

    rows = [
        row("warmup-ci push, signed", push, peers[0]),
        row("the same again", again, peers[0]),
        row("tar, gzip, skopeo copy", peers[0], peers[0]),
        row("oras push", peers[1], peers[0]),
        row("sha256sum and gzip -d of the layers", floor, floor),
        row("warmup-ci pull, verified", pull, floor),
        row("skopeo copy, tar -x", tar, floor),
        row("oras pull", oras, floor),
        row("warmup-ci pull, nothing new", second),
    ]
    print_table(["step", "time", "processor", "peak RSS", "beside tar, the floor"], rows)
    print(f"\nOne round trip to the registry: {round_trip * 1000:.1f} ms.")
    print(
        f"One new entry: the push sends {', '.join(sent)}; "
        f"the pull fetches {changed['fetched_layers']} layer, "
        f"{changed['fetched_bytes'] / MIB:.2f} MiB, and places "
        f"{sum(each['placed'] for each in changed['families'].values())} entry."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triton", type=int, default=90, help="entries that Triton compiles")
    parser.add_argument("--nvcc", type=int, default=10, help="entries that nvcc compiles")
    parser.add_argument("--files", type=int, default=10, help="large files")
    parser.add_argument("--mib", type=int, default=8, help="of each large file")
    parser.add_argument("--folder", type=Path, help="for what was compiled; kept")
    parser.add_argument("--scratch", type=Path, help="for all else; default: a temporary folder")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(get_machine())
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        kept = options.folder or Path(scratch)
        small = kept / f"entries-{options.triton}-{options.nvcc}"
        large = kept / f"files-{options.files}-{options.mib}"
        if options.triton + options.nvcc:
            small.mkdir(parents=True, exist_ok=True)
            make_triton(small, options.triton)
            make_nvcc(small, options.nvcc)
            what = f"{options.triton} entries of Triton's, {options.nvcc} of nvcc's"
            bench(what, small, Path(scratch, "one"), options.runs)
        if options.files:
            if not large.exists():
                make_large(large, options.files, options.mib * MIB)
            what = f"{options.files} files of {options.mib} MiB"
            bench(what, large, Path(scratch, "two"), options.runs)


if __name__ == "__main__":
    main()
