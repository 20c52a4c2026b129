"""Holding a large cache against its marker: the check of every run, `audit`, `audit --deep`.

`python -m benchmarks.cache_check [--entries N] [--mib M] [--folder DIR]`; makes N DeepGEMM entries
of two files, M MiB of sparse cubins together, and a marker for them. The whole process is timed,
start included; the best of three counts, since the page cache is what differs. `audit --deep` is
compared with `sha256sum` over the same files, as many processes as cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import get_machine, get_rss_bytes, print_table

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
RUNS = 3

COMMON = """
import sys
from pathlib import Path
from tests.commands.warmed import Warmed
warmed = Warmed(Path(sys.argv[1]))
"""
MARK = COMMON + "warmed.mark()"
CHECK = COMMON + (
    "from tests.commands.warmed import make_launch\n"
    "from warmup.state.check import check_launch\n"
    "assert check_launch(warmed.home, make_launch(), warmed.vector, warmed.env).is_warm\n"
)
AUDIT = COMMON + ("from warmup.commands.audit import audit\nassert audit(warmed, deep=DEEP) == 0\n")
TASKS = {
    "skip check": CHECK,
    "audit": AUDIT.replace("DEEP", "False"),
    "audit --deep": AUDIT.replace("DEEP", "True"),
}


def write_cache(root: Path, num_entries: int, num_bytes: int) -> None:
    from tests.caches.caches import make_cubin

    cubin, size = make_cubin(), num_bytes // num_entries
    for index in range(num_entries):
        folder = root / "deep_gemm" / "cache" / f"kernel.gemm_{index % 50}.{index:032x}"
        folder.mkdir(parents=True)
        (folder / "kernel.cu").write_bytes(b"// source\n")
        with (folder / "kernel.cubin").open("wb") as file:
            file.write(cubin)
            file.truncate(max(size, len(cubin)))


def run(command: list[str]) -> tuple[float, float, int]:
    """(seconds, of them on a processor, peak resident bytes) of a process with its children."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[:2]} failed with {process.returncode}")
    seconds = time.perf_counter() - began
    return seconds, usage.ru_utime + usage.ru_stime, get_rss_bytes(usage)


def run_best(command: list[str]) -> tuple[float, float, int]:
    """Of several runs the quickest, with the largest peak."""
    results = [run(command) for _ in range(RUNS)]
    return (*min(results)[:2], max(rss for _, _, rss in results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--mib", type=int, default=20 * 1024)
    parser.add_argument("--folder", help="on the file system to measure; default: a temporary one")
    options = parser.parse_args()
    num_cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_cache(Path(folder), options.entries, options.mib * MIB)
        run([sys.executable, "-c", MARK, folder])
        find = f"find {folder}/deep_gemm -type f -print0 | xargs -0 -n 256 -P {num_cores} sha256sum"
        peer, peer_cpu, _ = run_best(["sh", "-c", find])
        rows = []
        for name, code in TASKS.items():
            seconds, cpu, rss = run_best([sys.executable, "-c", code, folder])
            ratio = f"{peer / seconds:.2f}" if name == "audit --deep" else ""
            rows.append([name, f"{seconds:.2f} s", f"{cpu:.2f} s", f"{rss / MIB:.0f} MiB", ratio])
        name = f"sha256sum, {num_cores} processes"
        rows.append([name, f"{peer:.2f} s", f"{peer_cpu:.2f} s", "", "1.00"])
    told = f"{options.entries} entries of two files, {options.mib} MiB, sparse."
    print(f"{told} {get_machine()}\n")
    print_table(["task", "time", "processor", "peak RSS", "speed against sha256sum"], rows)


if __name__ == "__main__":
    main()
