"""What packs are measured beside: tar, gzip and skopeo, and oras's own client."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import get_rss_bytes
from tests.commands.program import get_env
from warmup.packs import oci

_ORAS = """
import sys
from oras.client import OrasClient
client = OrasClient(hostname=sys.argv[2].partition("/")[0], insecure=True)
if sys.argv[1] == "push":
    client.push(sys.argv[2], files=[sys.argv[3]], disable_path_validation=True)
else:
    client.pull(sys.argv[2], outdir=sys.argv[3])
"""


@dataclass(frozen=True)
class Step:
    """seconds: of the quickest run. cpu_s: on processors. rss_bytes: the peak of one process."""

    seconds: float
    cpu_s: float
    rss_bytes: int

    def __add__(self, other: Step) -> Step:
        rss = max(self.rss_bytes, other.rss_bytes)
        return Step(self.seconds + other.seconds, self.cpu_s + other.cpu_s, rss)


def measure(command: Sequence[str], folder: Path, output: Path | None = None) -> Step:
    """Run it in `folder`. output: where its stdout goes."""
    begin = time.perf_counter()
    with (
        (output or Path(os.devnull)).open("wb") as out,
        subprocess.Popen(command, cwd=folder, env=get_env(folder), stdout=out) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{list(command)[:6]} failed with {process.returncode}")
    seconds = time.perf_counter() - begin
    return Step(seconds, usage.ru_utime + usage.ru_stime, get_rss_bytes(usage))


def get_best(steps: Sequence[Step]) -> Step:
    quickest = min(steps, key=lambda each: each.seconds)
    return Step(quickest.seconds, quickest.cpu_s, max(each.rss_bytes for each in steps))


class Peers:
    """Others who send `folder/NAME/caches` through the same registry. host: HOST:PORT."""

    def __init__(self, folder: Path, host: str, writer: Path) -> None:
        self.folder, self.host, self.writer = folder, host, writer

    def push_tar(self) -> Step:
        layout = self.folder / "layout"
        shutil.rmtree(layout, ignore_errors=True)
        (layout / "blobs" / "sha256").mkdir(parents=True)
        layer, caches = layout / "layer", self.writer / "caches"
        packed = measure(["sh", "-c", f"tar -C {caches} -c . | gzip > {layer}"], self.folder)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        layer.rename(layout / "blobs" / "sha256" / digest)
        size = (layout / "blobs" / "sha256" / digest).stat().st_size
        described = oci.Descriptor(media_type=oci.LAYER_TYPE, digest=f"sha256:{digest}", size=size)
        config = oci.encode(oci.ImageConfig(rootfs=oci.RootFS(diff_ids=[described.digest])))
        image = oci.encode(
            oci.ImageManifest(config=oci.describe(oci.CONFIG_TYPE, config), layers=[described])
        )
        for data in (config, image):
            (layout / "blobs" / oci.get_digest(data).replace(":", "/")).write_bytes(data)
        index = oci.Index(manifests=[oci.describe(oci.MANIFEST_TYPE, image)])
        (layout / "index.json").write_bytes(oci.encode(index))
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return packed + self._copy(f"oci:{layout}", f"docker://{self.host}/tar:main")

    def pull_tar(self) -> Step:
        layout, out = self.folder / "fetched", self.folder / "unpacked"
        for folder in (layout, out):
            shutil.rmtree(folder, ignore_errors=True)
        out.mkdir()
        fetched = self._copy(f"docker://{self.host}/tar:main", f"oci:{layout}:main")
        layer = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
        return fetched + measure(["tar", "-xzf", str(layer), "-C", str(out)], self.folder)

    def _copy(self, source: str, to: str) -> Step:
        flags = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        return measure(["skopeo", "copy", "-q", *flags, source, to], self.folder)

    def run_oras(self, verb: str) -> Step:
        out = self.folder / "oras"
        shutil.rmtree(out, ignore_errors=True)
        path = "caches" if verb == "push" else str(out)
        command = [sys.executable, "-c", _ORAS, verb, f"{self.host}/oras:main", path]
        return measure(command, self.writer)

    def measure_floor(self, tag: str) -> Step:
        """sha256 and gunzip of the layers of our pack, one after the other."""
        layout = self.folder / "ours"
        self._copy(f"docker://{self.host}/ours:{tag}", f"oci:{layout}:main")
        blobs = [str(p) for p in (layout / "blobs/sha256").iterdir() if _is_gzip(p)]
        gunzip = f"gzip -dc {' '.join(blobs)} > {os.devnull}"
        steps = measure(["sha256sum", *blobs], self.folder), measure(["sh", "-c", gunzip], layout)
        shutil.rmtree(layout)
        return steps[0] + steps[1]


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
