"""The command line: click options; each body opens a session and calls one command.

Nothing heavy is imported up here: `warmup-ci --help` costs what a bare click program does.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from warmup.version import __version__

if TYPE_CHECKING:
    from warmup.commands.session import Session

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A number of seconds. `nan` lies in every range, so it is refused here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


class JobCount(click.ParamType[str]):
    """A whole number from 1, or `auto`."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "auto" and not (value.isascii() and value.isdigit() and 0 < int(value) < 10000):
            self.fail(f"{value!r} is neither a whole number from 1 nor `auto`", param, ctx)
        return str(value)


_SECONDS = Seconds(min=0, min_open=True, max=1_000_000)
_COUNT = click.IntRange(min=0)
_LOG_BYTES = click.IntRange(min=4096)
_PATH = click.Path(path_type=Path)


_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
# `--help` lists the commands in this order; a name that is not there (yet) is left out.
_SECTIONS = {
    "Warm": "run plan exec observe why",
    "Caches": "audit forecast drift key push pull verify gc",
    "Host": "doctor reap",
    "More": "report fleet kernels serve",
}


class Program(click.Group):
    """A group whose `--help` lists its commands by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for section, names in _SECTIONS.items():
            found = [self.commands[name] for name in names.split() if name in self.commands]
            texts = [each.get_short_help_str(formatter.width) for each in found]
            labels = [str(each.name).ljust(width) for each in found]
            with formatter.section(section):
                formatter.write_dl(list(zip(labels, texts, strict=True)))


class SpreadCommand(click.Command):
    """A command that takes `--models A B:8 --json`; click itself knows one value an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(args: list[str]) -> list[str]:
    """Repeat `--models` before every value of it, up to the next argument with a dash.

    Raises click.UsageError where no value follows.
    """
    found: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            return [*found, arg, *rest]
        name, equals, value = arg.partition("=")
        if name != "--models":
            found.append(arg)
            continue
        values = [value] if equals else []
        while rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        if not values:
            raise click.UsageError("--models names no model; give one or more")
        found += [f"{name}={value}" for value in values]
    return found


def _options(*options: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    """Several options as one decorator, listed by `--help` in this order."""
    return lambda function: functools.reduce(lambda made, add: add(made), options[::-1], function)


def _option(name: str, *also: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that `WARMUP_CI_<NAME>` sets too."""
    variable = "WARMUP_CI_" + name.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(name, *also, envvar=variable, show_envvar=True, **settings)


def _note_json(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    """So that an error, too, becomes a document."""
    ctx.ensure_object(dict)["json"] = value
    return value


json_option = click.option(
    "--json",
    "json_output",
    is_flag=True,
    is_eager=True,
    callback=_note_json,
    help="One document on stdout.",
)
root_option = _option("--cache-root", help="One folder for every JIT cache family.")

selection_options = _options(
    _option("--workflow", type=_PATH, help="Workflow file (TOML)."),
    _option("--engine", help="Engine of models that no workflow describes.  [default: reference]"),
    _option("--python", help="Interpreter of the engine's environment.  [default: this one]"),
    root_option,
)

model_options = _options(
    _option("--models", multiple=True, metavar="MODEL[:TP]...", help="None: all of the workflow."),
    selection_options,
)

target_options = _options(
    _option("--target", "gpu_target", metavar="GPU[xN]", help="Warm for GPUs that are not here."),
    _option("--target-driver", help="Version of their driver.  [default: the profile's]"),
)

timeout_options = _options(
    _option("--start-timeout-s", type=_SECONDS, help="Seconds until a server must be ready."),
    _option("--request-timeout-s", type=_SECONDS, help="Seconds for the warm-up request."),
    _option("--stop-grace-s", type=Seconds(min=0, max=1_000_000), help="From TERM to KILL."),
)


# These only look: they run no interpreter that a workflow names.
_LOOKING = frozenset({"fleet", "plan", "why", "audit", "forecast", "gc", "drift"})


def _open(values: dict[str, Any], *, may_run_python: bool = True) -> Session:
    """A session of the options that speak of models, which are taken out of `values`."""
    from warmup.commands.session import Session

    if "workflow" not in values and values.get("cache_root") is None:
        values.pop("cache_root", None)
        return Session(may_run_python=may_run_python)  # of no models, so nothing is loaded for them
    from warmup.workflow.api import FIELDS, Selection, Settings

    said = {name: values.pop(name) for name in FIELDS if name != "engine" and name in values}
    taken = {name: values.pop(name) for name in Selection.__struct_fields__ if name in values}
    if named := values.pop("named", ()):
        taken["models"] = (*named, *taken["models"])
    settings = Settings(**{name: value for name, value in said.items() if value is not None})
    selection = Selection(**taken, settings=settings)
    return Session(selection=selection, may_run_python=may_run_python)


def _call(name: str, values: dict[str, Any]) -> int:
    """Call `NAME(session, **values)` of `warmup/commands/NAME.py`, which is loaded only now.

    name: `FILE.NAME` where a file holds several commands.
    """
    file, _, function = name.partition(".")
    module = importlib.import_module(f"warmup.commands.{file}")
    session = _open(values, may_run_python=file not in _LOOKING)
    return int(getattr(module, function or file)(session, **values))


@click.group(
    cls=Program,
    context_settings=_HELP,
    no_args_is_help=False,  # what that does differs between click 8.1 and 8.2
)
@click.version_option(__version__, prog_name="warmup-ci")
def cli() -> None:
    """Make GPU CI runners warm, provably.

    Exit status: 0 all warm; 1 a model failed, or findings; 2 usage or workflow error; 3 host
    unusable; 4 integrity failure; 130/143 signalled.
    """


@cli.command(cls=SpreadCommand)
@model_options
@target_options
@timeout_options
@_option("--force", is_flag=True, help="Warm though the marker is valid.")
@_option("--repair/--no-repair", default=True, help="First repair the caches where it is safe.")
@_option("--prove/--no-prove", default=None, help="Boot again: it must compile nothing.")
@_option("--fail-fast", is_flag=True, help="Skip the others once a model failed.")
@_option("--deadline", "deadline_s", type=_SECONDS, help="Seconds for the whole step.")
@_option("--download", is_flag=True, help="Fetch what the hub's cache lacks of a model.")
@_option("--strategy", type=click.Choice(["auto", "kernels", "server"]), help="How to warm.")
@_option("--ladder", type=click.Choice(["short", "full", "off"]), help="Requests sent.")
@_option("--log-lines", type=_COUNT, default=30, help="Lines of each server's log to show.")
@_option("--max-log-bytes", type=_LOG_BYTES, default=64 << 20, help="Disk that one log may take.")
@_option("--jobs", type=JobCount(), metavar="N|auto", help="Models at once, each on its own GPUs.")
@_option("--shard", metavar="I/N", help="Only this machine's share, from 1/N to N/N.")
@_option("--report", "report_dir", type=_PATH, help="Folder for every file of `report`.")
@_option("--from", "pull_from", metavar="REF", help="Pack to pull first (see pull).")
@_option("--to", "push_to", metavar="REF", help="Where to push at the end (see push).")
@_option("--sign", metavar="ssh:KEY|sigstore", help="With --to: sign the pack.")
@json_option
def run(**values: Any) -> int:
    """Warm whatever is cold; skip what is provably warm."""
    return _call("run", values)


@cli.command(cls=SpreadCommand)
@model_options
@target_options
@click.option("--force", is_flag=True, help="Plan as `run --force` would do.")
@click.option("--shard", metavar="I/N", help="Plan as `run --shard` would do.")
@click.option("--matrix", is_flag=True, help="Print the jobs of a fleet, for GitHub's fromJSON.")
@click.option("--shards", type=click.IntRange(min=1), help="Of --matrix.  [default: one a model]")
@click.option("--runner", multiple=True, metavar="CLASS=LABEL,...", help="Of --matrix: h200x8=...")
@json_option
def plan(**values: Any) -> int:
    """What `run` would do and why, launching nothing."""
    return _call("plan", values)


command_options = _options(
    click.option("--timeout", "timeout_s", type=_SECONDS, help="Seconds until it is ended."),
    root_option,
    click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD..."),
)


@cli.command("exec", context_settings={"allow_interspersed_args": False})
@command_options
def exec_command(**values: Any) -> int:
    """Run any command, the tests say; nothing that it starts survives it.

    Streams, terminal, signals and exit status stay the command's; 124 where its time was over.
    """
    return _call("exec.exec_command", values)


@cli.command(context_settings={"allow_interspersed_args": False})
@click.option("--json", "json_path", type=_PATH, help="Document to write.")
@click.option("--fail-on-miss", is_flag=True, help="Exit 1 if it succeeded but compiled.")
@click.option("--log", "logs", multiple=True, metavar="FILE", help="Servers' logs; 'logs/*.log'.")
@command_options
def observe(**values: Any) -> int:
    """`exec`, and list every kernel that the command had to compile.

    Passes the command's exit status and its signals.
    """
    return _call("observe", values)


@cli.command()
@click.argument("model", metavar="MODEL[:TP]")
@selection_options
@target_options
@json_option
def why(model: str, **values: Any) -> int:
    """Which ingredient made it cold, old → new."""
    return _call("why", {**values, "models": (model,)})


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--deep", is_flag=True, help="Hash every file that a marker's manifest lists.")
@click.option("--fix", is_flag=True, help="Repair what is repairable.")
@click.option("--dry-run", is_flag=True, help="With --fix: only say what it would repair.")
@click.option("--format", "style", type=click.Choice(["text", "sarif"]), default="text")
@json_option
def audit(**values: Any) -> int:
    """Hold markers and caches against reality; known hazards of each family."""
    return _call("audit", values)


@cli.command(cls=SpreadCommand)
@click.argument("baseline", type=_PATH)
@model_options
@json_option
def forecast(**values: Any) -> int:
    """Which models a dependency bump turns cold, and what that costs.

    BASELINE: a committed version vector, as `key --write-baseline` writes it.
    """
    return _call("forecast", values)


@cli.command(cls=SpreadCommand)
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH...")
@click.option("--suite", "suites", multiple=True, metavar="PATTERN", help="Only what it runs.")
@model_options
@json_option
def drift(**values: Any) -> int:
    """Hold the server launches of Python tests and of a CI's own files against the workflow.

    Exit status 1 for a difference, a model that the workflow lacks, and nothing to compare.
    """
    return _call("drift", values)


@cli.command(cls=SpreadCommand)
@model_options
@target_options
@click.option("--only-key", is_flag=True, help="Print the version key alone.")
@click.option("--export", is_flag=True, help="Print the cache variables as shell lines.")
@click.option("--github", is_flag=True, help="Append the cache variables to $GITHUB_ENV.")
@click.option("--write-baseline", type=_PATH, help="File for `forecast`.")
@json_option
def key(**values: Any) -> int:
    """The version vector and its key (for a cache key in a workflow)."""
    return _call("key", values)


reference_argument = click.argument("reference", metavar="REF")
unsigned_option = click.option(
    "--allow-unsigned", is_flag=True, help="Use a pack that nobody vouches for."
)


@cli.command(cls=SpreadCommand)
@reference_argument
@model_options
@_option("--sign", metavar="ssh:KEY|sigstore", help="Sign the pack.")
@click.option("--mcv", is_flag=True, help="Send images for KServe's kernel caches (MCV) too.")
@click.option(
    "--pack",
    "packs",
    metavar="REF",
    multiple=True,
    help="Send what these packs hold, as one, instead of what is warm here.",
)
@unsigned_option
@json_option
def push(**values: Any) -> int:
    """Send what is warm here as a pack: oci://…, s3://… or dir:PATH."""
    return _call("push", values)


@cli.command(cls=SpreadCommand)
@reference_argument
@model_options
@unsigned_option
@json_option
def pull(**values: Any) -> int:
    """Bring a pack's cache entries here; a refused one unpacks nothing.

    Exit status 4 where the policy refuses it.
    """
    return _call("pull", values)


@cli.command(cls=SpreadCommand)
@click.argument("reference", metavar="REF|DIR")
@model_options
@unsigned_option
@json_option
def verify(**values: Any) -> int:
    """Whether a pack may be used here: by whom, when, for what."""
    return _call("verify", values)


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--max-bytes", type=_COUNT, help="What all caches may take together.")
@click.option("--keep-last", type=_COUNT, default=0, help="Stale markers of each launch to keep.")
@click.option("--keep-runs", type=_COUNT, default=20, help="Folders of ended runs to keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
def gc(**values: Any) -> int:
    """Drop stale markers and the cache entries that none needs."""
    return _call("gc", values)


@cli.command()
@root_option
@click.option(
    "--profile",
    "kind",
    is_flag=False,
    flag_value="",
    metavar="[GPU]",
    help="Print GPU 0's profile instead, or how it differs from ours of that name.",
)
@click.option("--gate", is_flag=True, help="Exit 3 where a runner must not take jobs.")
@json_option
def doctor(kind: str | None, gate: bool, **values: Any) -> int:
    """Is this host fit: driver, disk, locks, /dev/shm, cache ownership."""
    if kind is not None:
        return _call("profile", {**values, "kind": kind})
    return _call("doctor", {**values, "gate": gate})


@cli.command()
@json_option
def reap(**values: Any) -> int:
    """End what earlier runs left behind: ours alone, never by name."""
    return _call("reap", values)


@cli.group(no_args_is_help=False)
def fleet() -> None:
    """The same warm-up as a Slurm array or a Kubernetes job."""


fleet_options = _options(
    model_options,
    click.option("--shards", type=click.IntRange(1, 10_000), help="Tasks.  [default: one a model]"),
    click.option("--gpus", type=_COUNT, help="Of each task; 0: none.  [default: the largest TP]"),
)


@fleet.command(cls=SpreadCommand)
@fleet_options
@click.option("--per-node", is_flag=True, help="Each node warms every model, on its own disk.")
@click.argument("sbatch_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH ARGS...]")
def slurm(**values: Any) -> int:
    """Print a script for sbatch."""
    return _call("fleet.slurm", values)


@fleet.command(cls=SpreadCommand)
@fleet_options
@click.option("--image", required=True, help="With warmup-ci and the engine.")
@click.option("--name", default="warmup-ci", help="Of the job.")
@click.option("--pack", default="", help="Image of a pack, to begin with its caches.")
@click.option("--queue", default="", help="Kueue's local queue.")
@click.option("--claim", default="", help="PersistentVolumeClaim that keeps home and caches.")
@click.option("--gpu-resource", default="nvidia.com/gpu", help="What a GPU is called.")
def kubernetes(**values: Any) -> int:
    """Print an Indexed Job for kubectl apply."""
    return _call("fleet.kubernetes", values)


@cli.group(no_args_is_help=False)
def kernels() -> None:
    """Compile kernels from a model's config.json alone, without weights."""


@cli.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--html", type=_PATH, help="A page that needs nothing but itself.")
@click.option("--trace", type=_PATH, help="Chrome trace events, for Perfetto.")
@click.option("--junit", type=_PATH, help="JUnit XML: one testcase a model.")
@click.option("--prometheus", type=_PATH, help="Metrics, for a textfile collector.")
@click.option("--otlp", type=_PATH, help="OTLP/JSON traces; TRACEPARENT is their parent.")
@json_option
def report(**values: Any) -> int:
    """What happened in the home's runs, as a table, a page, or for other tools.

    RUN: a run's id, or how only one begins; none: the newest, beside all others.
    """
    return _call("report", values)


named_options = _options(
    click.argument("named", nargs=-1, metavar="[MODEL[:TP]]..."),
    model_options,
    click.option("--full", is_flag=True, help="Every M, not the distinct ones alone."),
    click.option("--download", is_flag=True, help="Fetch each config.json that is not cached."),
    json_option,
)
compile_options = _options(
    click.option("--out", type=_PATH, help="Cache folder to write."),
    click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: what fits]"),
)


@kernels.command("list", cls=SpreadCommand)
@named_options
@click.option("--check", type=_PATH, metavar="PYTHON", help="Ask that environment's DeepGEMM.")
@_option("--target", "gpu_target", metavar="GPU[xN]", help="For this GPU.  [default: an H200]")
def list_kernels(**values: Any) -> int:
    """Print the shapes; needs no GPU. With --check, whether an installed DeepGEMM agrees."""
    return _call("kernels.list_kernels", values)


@kernels.command("compile", cls=SpreadCommand)
@named_options
@click.option("--target", metavar="cuda:90", help="The GPU to compile Triton kernels for.")
@click.option("--fp8", is_flag=True, help="With --target: what the engine's --fp8 needs.")
@compile_options
def compile_kernels(**values: Any) -> int:
    """Compile them on the GPUs here; with --target for one elsewhere."""
    return _call("kernels.compile_kernels", values)


@kernels.command("rebuild")
@click.argument("rebuild_from", type=_PATH, metavar="FROM_CACHE")
@click.option("--was-include", multiple=True, type=_PATH, help="Include path, when recorded.")
@selection_options
@compile_options
@json_option
def rebuild_kernels(**values: Any) -> int:
    """Compile a DeepGEMM cache's recorded sources again, by nvcc."""
    return _call("kernels.rebuild_kernels", values)


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def serve(args: tuple[str, ...]) -> int:
    """The reference engine; `serve --help` lists its flags."""
    from warmup.commands.serve import serve

    return serve(args)


def main() -> NoReturn:
    """Run what the command line says."""
    from warmup.commands.program import run_program

    run_program(_main)


def _main(asked: dict[str, bool]) -> int:
    """click's errors in the words of ours. Raises WarmupError."""
    from warmup.words.errors import UsageError

    try:
        status = cli.main(prog_name="warmup-ci", standalone_mode=False, obj=asked)
    except click.exceptions.Exit as ended:
        return int(ended.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"try `{context.command_path if context else 'warmup-ci'} --help`"
        raise UsageError(error.format_message().rstrip("."), hint=hint) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return status if isinstance(status, int) else 0
