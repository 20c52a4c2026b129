"""`python -m tools.pictures`: the pictures under docs/img/, from a real run of toy servers.

Makes a home with several runs (a cold one, warm ones, one after caches were lost, one with a model
that fails), has `report` write its page, and lets headless Chromium (Debian package `chromium`)
show it at two widths. The console's picture is what `warmup-ci run` writes on a terminal, as SVG.
"""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
MAX_BYTES = 200_000
COLUMNS = 108
# Name, width and height in CSS pixels, whether in the dark.
SHOTS = (("report-wide", 1100, 1500, False), ("report-phone", 412, 1500, True))

# Name, GPUs, seconds of loading, entries that each of its requests makes sure of.
MODELS = (
    ("demo/moe-fp8", 8, 1.6, ({"deep_gemm": 18, "triton": 4}, {"deep_gemm": 41}, {"triton": 26})),
    ("demo/vision-language", 4, 1.1, ({"triton": 12}, {"triton": 31})),
    ("demo/diffusion", 2, 0.8, ({"triton": 22},)),
    ("demo/new-model", 8, 0.9, ({"triton": 1},)),
)


def write_workflow(folder: Path, models: int, failing: int) -> None:
    lines = ["schema = 1", "[defaults]", 'engine = "command"', "price_per_gpu_hour = 3.5"]
    for number, (name, tp, load_s, requests) in enumerate(MODELS[:models]):
        fail = ', "--fail"' if number == failing else ""
        asked = [", ".join(f"{name} = {n}" for name, n in each.items()) for each in requests]
        first, *rest = [f'{{ path = "/generate", json = {{ {each} }} }}' for each in asked]
        lines += [
            "[[model]]",
            f'id = "{name}"\ntp = {tp}\nstart_timeout_s = 30',
            'command = ["python3", "{workflow_dir}/demo_server.py", "--port", "{port}", "--name",'
            f' "{name.rpartition("/")[2]}", "--load-s", "{load_s}"{fail}]',
            f"request = {first}",
            f"requests = [{', '.join(rest)}]",
        ]
    (folder / "ci.toml").write_text("\n".join(lines))


def run(folder: Path, env: Mapping[str, str], *args: str) -> None:
    """`warmup-ci ARGS`; a model that fails is part of the picture."""
    command = [sys.executable, "-m", "warmup", *args]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)


def make_home(folder: Path, env: Mapping[str, str]) -> None:
    """Runs as a few days of CI have them; the last one has a new model that fails."""
    shutil.copy(ROOT / "tools" / "demo_server.py", folder)
    write_workflow(folder, 3, failing=-1)
    run(folder, env, "run", "--workflow", "ci.toml")
    run(folder, env, "run", "--workflow", "ci.toml")
    shutil.rmtree(folder / "cache" / "triton")
    run(folder, env, "run", "--workflow", "ci.toml")
    run(folder, env, "run", "--workflow", "ci.toml")
    write_workflow(folder, 3, failing=2)
    run(folder, env, "run", "--workflow", "ci.toml", "--force")
    write_workflow(folder, 4, failing=3)
    shutil.rmtree(folder / "cache")
    run(folder, env, "run", "--workflow", "ci.toml")


def take_shots(page: Path, scratch: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("pictures need chromium: apt-get install chromium")
    for name, width, height, is_dark in SHOTS:
        shot = scratch / f"{name}.png"
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
                f"--user-data-dir={scratch / 'profile'}",
                f"--window-size={width},{height}",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        shrink(shot, IMAGES / shot.name)


def shrink(shot: Path, to: Path) -> None:
    """A palette of 128 colours is enough for a page, and a third of the bytes."""
    from PIL import Image

    with Image.open(shot) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(to, optimize=True)
    size = to.stat().st_size
    print(f"{to.relative_to(ROOT)}: {image.width}x{image.height}, {size / 1024:.0f} KiB")
    if size > MAX_BYTES:
        raise SystemExit(f"{to} is larger than {MAX_BYTES} bytes")


def record_console(folder: Path, env: Mapping[str, str]) -> str:
    """What a terminal shows when a cold run and then a warm one are over, on a home of its own."""
    shutil.rmtree(folder / "cache")
    write_workflow(folder, 3, failing=-1)
    told = ""
    for _ in range(2):
        told += "\x1b[1m$ warmup-ci run --workflow ci.toml\x1b[0m\n"
        told += run_on_terminal(
            ["run", "--workflow", "ci.toml", "--log-lines", "1"],
            folder,
            {**env, "WARMUP_CI_HOME": str(folder / "console"), "COLUMNS": str(COLUMNS)},
        )
        told += "\n\n"
    return told


def run_on_terminal(args: list[str], folder: Path, env: Mapping[str, str]) -> str:
    """The lines that are left on the terminal at the end, with their colours."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "warmup", *args], cwd=folder, env=env, stdout=slave, stderr=slave
    )
    os.close(slave)
    found = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the terminal any more
        while data := os.read(master, 65536):
            found += data
    os.close(master)
    process.wait()
    return "\n".join(replay(found.decode()))


def replay(text: str) -> list[str]:
    """The screen after what rich does to it: lines, lines erased, and the cursor moved up."""
    rows, row, is_at_start = [""], 0, True
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\r":
            is_at_start = True
        elif token == "\n":
            row, is_at_start = row + 1, True
            rows += [""] * (row + 1 - len(rows))
        elif token.startswith("\x1b[") and token.endswith("A"):
            row = max(row - int(token[2:-1] or 1), 0)
        elif token.startswith("\x1b[") and token.endswith("K"):
            rows[row] = ""
        elif not token.startswith("\x1b[") or token.endswith("m"):
            rows[row] = token if is_at_start else rows[row] + token
            is_at_start = False
    return [each.rstrip() for each in rows if re.sub(r"\x1b\[[0-9;]*m", "", each).strip()]


def draw_console(text: str) -> str:
    """As SVG by rich, without the font that it would fetch."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True)
    console.print(Text.from_ansi(text.rstrip()), soft_wrap=False)
    fetched = r"@font-face \{\{.*?\}\}\n|<!--.*?-->"
    form = re.sub(fetched, "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="warmup-ci", code_format=form, unique_id="warmup-ci")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="warmup-ci-") as name:
        folder = Path(name)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "TERM": "xterm-256color",
            "WARMUP_CI_HOME": f"{name}/home",
            "WARMUP_CI_CACHE_ROOT": f"{name}/cache",
            "PYTHONPATH": str(ROOT),
        }
        make_home(folder, env)
        run(folder, env, "report", "--html", "report.html")
        take_shots(folder / "report.html", folder)
        if len(sys.argv) > 1:  # to look at the page itself
            shutil.copy(folder / "report.html", sys.argv[1])
        text = record_console(folder, env).replace(name, "/tmp/ci")
        (IMAGES / "run.svg").write_text(draw_console(text))


if __name__ == "__main__":
    main()
