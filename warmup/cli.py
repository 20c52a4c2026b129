"""The command line: click options; each body imports and calls one command.

Nothing heavy is imported up here: `warmup-ci --help` costs what a bare click program does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from warmup.version import __version__

if TYPE_CHECKING:
    from warmup.workflow.selection import Selection

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A number of seconds; `nan` lies in every range, and is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


_SECONDS = Seconds(min=0, min_open=True, max=1_000_000)


# Options that take one value or more, up to the next argument that starts with a dash.
_SPREAD = ("--models", "--launch-args")


class SpreadCommand(click.Command):
    """A command that takes `--models A B:8 --json`; click itself knows one value an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(args: list[str]) -> list[str]:
    """Repeat each of the `_SPREAD` options before every value of it, as click wants it.

    Raises click.UsageError where no value follows.
    """
    found: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            return [*found, arg, *rest]
        name, equals, value = arg.partition("=")
        if name not in _SPREAD:
            found.append(arg)
            continue
        values = [value] if equals else []
        while rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        if not values:
            raise click.UsageError(f"{name} names no {name[2:].rstrip('s')}; give one or more")
        found += [f"{name}={value}" for value in values]
    return found


def _options(*options: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _option(name: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that `WARMUP_CI_<NAME>` sets too."""
    variable = "WARMUP_CI_" + name.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, **settings)


json_option = click.option("--json", "json_output", is_flag=True, help="One document on stdout.")

selection_options = _options(
    _option("--workflow", type=click.Path(path_type=Path), help="Workflow file (TOML)."),
    _option("--engine", help="Engine of models that no workflow describes.  [default: reference]"),
    _option("--python", help="Interpreter of the engine's environment.  [default: this one]"),
    _option("--cache-root", help="One folder for every JIT cache family."),
)

model_options = _options(
    _option(
        "--models",
        multiple=True,
        metavar="MODEL[:TP]...",
        help="Models, space- or comma-separated, or repeated. None: all of the workflow.",
    ),
    selection_options,
)

timeout_options = _options(
    _option("--start-timeout-s", type=_SECONDS, help="Seconds until a server must be ready."),
    _option("--request-timeout-s", type=_SECONDS, help="Seconds for the warm-up request."),
    _option("--stop-grace-s", type=Seconds(min=0, max=1_000_000), help="From TERM to KILL."),
)


def _get_cwd() -> Path:
    """Raises HostError where the folder we stand in was removed."""
    from warmup.words.errors import HostError

    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise HostError("the current folder does not exist", hint="cd to one that does") from error


def _select(values: dict[str, Any]) -> Selection:
    """Take the options of `model_options` and `timeout_options` out of `values`."""
    from warmup.workflow.selection import Selection
    from warmup.workflow.settings import Settings

    said = {
        name: values.pop(name, None)
        for name in (
            "python",
            "start_timeout_s",
            "request_timeout_s",
            "stop_grace_s",
            "strategy",
            "prove",
        )
    }
    return Selection(
        models=values.pop("models"),
        workflow=values.pop("workflow"),
        engine=values.pop("engine"),
        cache_root=values.pop("cache_root"),
        deadline_s=values.pop("deadline", None),
        settings=Settings(**{name: value for name, value in said.items() if value is not None}),
    )


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
@timeout_options
@_option("--force", is_flag=True, help="Warm though the marker is valid.")
@_option("--prove/--no-prove", default=None, help="Boot again: it must compile nothing.")
@_option("--fail-fast", is_flag=True, help="Skip the others once a model failed.")
@_option("--deadline", type=_SECONDS, metavar="SECONDS", help="Budget of the whole step.")
@_option("--strategy", type=click.Choice(["auto", "kernels", "server"]), help="How to warm.")
@_option(
    "--log-lines",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Lines of each server's log to show.",
)
@_option(
    "--max-log-bytes",
    type=click.IntRange(min=4096),
    default=64 << 20,
    show_default=True,
    help="Disk that one server's log may take; its head and tail are kept.",
)
@json_option
def run(**values: Any) -> int:
    """Warm whatever is cold; skip what is provably warm."""
    from warmup.commands.run import RunOptions, run

    selection = _select(values)
    return run(selection, RunOptions(**values), environ=os.environ, cwd=_get_cwd())


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--force", is_flag=True, help="Plan as `run --force` would do.")
@json_option
def plan(force: bool, json_output: bool, **values: Any) -> int:
    """What `run` would do and why, launching nothing."""
    from warmup.commands.plan import plan

    return plan(
        _select(values), force=force, json_output=json_output, environ=os.environ, cwd=_get_cwd()
    )


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--only-key", is_flag=True, help="Print the version key alone.")
@click.option("--export", is_flag=True, help="Print the cache variables as shell lines.")
@click.option("--github", is_flag=True, help="Append the cache variables to $GITHUB_ENV.")
@click.option(
    "--write-baseline", type=click.Path(path_type=Path), help="File for `audit --baseline`."
)
@json_option
def key(
    only_key: bool,
    export: bool,
    github: bool,
    write_baseline: Path | None,
    json_output: bool,
    **values: Any,
) -> int:
    """The version vector and its key (for a cache key in a workflow)."""
    from warmup.commands.key import key
    from warmup.commands.session import open_session

    session = open_session(_select(values), os.environ, _get_cwd(), need_models=False)
    return key(
        session.vector,
        home=session.home,
        cache_variables=session.cache_variables,
        environ=os.environ,
        json_output=json_output,
        only_key=only_key,
        export=export,
        github=github,
        write_baseline=write_baseline,
    )


@cli.command()
@click.argument("model", metavar="MODEL[:TP]")
@selection_options
@json_option
def why(model: str, json_output: bool, **values: Any) -> int:
    """Which ingredient made it cold, old → new."""
    from warmup.commands.session import open_session
    from warmup.commands.why import why

    session = open_session(_select({"models": (model,), **values}), os.environ, _get_cwd())
    if len(session.launches) > 1:
        names = ", ".join(launch.name for launch in session.launches)
        raise click.UsageError(f"{model} is listed at several sizes: name one of {names}")
    (launch,) = session.launches
    vector, env = session.get_vector(launch), session.get_env(launch)
    return why(session.home, launch, vector, env, json_output=json_output)


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--deep", is_flag=True, help="Hash every file that a marker's manifest lists.")
@click.option("--fix", is_flag=True, help="Repair what is repairable.")
@click.option("--dry-run", is_flag=True, help="With --fix: only say what it would repair.")
@click.option(
    "--format", "style", type=click.Choice(["text", "sarif"]), default="text", show_default=True
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Committed version vector: which models would this host's turn cold?",
)
@click.option(
    "--launch-args",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH...",
    help="Hold the server launches of these Python tests against the workflow.",
)
@json_option
def audit(
    baseline: Path | None,
    launch_args: tuple[Path, ...],
    deep: bool,
    fix: bool,
    dry_run: bool,
    style: str,
    json_output: bool,
    **values: Any,
) -> int:
    """Hold markers and caches against reality; known hazards of each family."""
    from warmup.commands.session import open_session

    is_of_models = baseline is not None or bool(launch_args)
    session = open_session(_select(values), os.environ, _get_cwd(), need_models=is_of_models)
    if is_of_models and (style == "sarif" or deep or fix or dry_run):
        raise click.UsageError("--baseline and --launch-args go with --json alone")
    if baseline is not None and launch_args:
        raise click.UsageError("--baseline and --launch-args are two audits: ask for one")
    if baseline is not None:
        from warmup.commands.audit_baseline import audit_baseline

        return audit_baseline(
            baseline, session.launches, session.vector, session.get_vector, json_output=json_output
        )
    if launch_args:
        from warmup.commands.audit_launch_args import audit_launch_args

        return audit_launch_args(launch_args, session.launches, json_output=json_output)
    from warmup.commands.audit import audit

    return audit(
        session,
        deep=deep,
        fix=fix,
        dry_run=dry_run,
        json_output=json_output,
        sarif=style == "sarif",
    )


@cli.command(cls=SpreadCommand)
@model_options
@click.option("--max-bytes", type=click.IntRange(min=0), help="What all caches may take together.")
@click.option(
    "--keep-last",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Stale markers of each launch to keep, newest first.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
def gc(
    max_bytes: int | None, keep_last: int, dry_run: bool, json_output: bool, **values: Any
) -> int:
    """Drop stale markers and the cache entries that none needs."""
    from warmup.commands.gc import gc
    from warmup.commands.session import open_session

    session = open_session(_select(values), os.environ, _get_cwd(), need_models=False)
    return gc(
        session,
        max_bytes=max_bytes,
        keep_last=keep_last,
        dry_run=dry_run,
        json_output=json_output,
    )


@cli.command()
@_option("--cache-root", help="One folder for every JIT cache family.")
@json_option
def doctor(cache_root: str | None, json_output: bool) -> int:
    """Is this host fit: driver, disk, locks, /dev/shm, cache ownership."""
    from warmup.commands.doctor import doctor
    from warmup.commands.session import open_session
    from warmup.workflow.selection import Selection

    selection = Selection(cache_root=cache_root)
    session = open_session(selection, os.environ, _get_cwd(), need_models=False)
    return doctor(session.home, session.env, json_output=json_output)


@cli.command(cls=SpreadCommand)
@click.argument("named", nargs=-1, metavar="[MODEL[:TP]]...")
@model_options
@click.option("--list", "only_list", is_flag=True, help="Print the shapes; needs no GPU.")
@click.option("--full", is_flag=True, help="Every M, not the distinct ones alone.")
@click.option("--download", is_flag=True, help="Fetch each config.json that the hub cache lacks.")
@click.option(
    "--target",
    default="",
    metavar="cuda:90",
    help="Compile the reference engine's Triton kernels for that GPU, on any machine.",
)
@click.option("--fp8", is_flag=True, help="With --target: what the engine's --fp8 needs.")
@click.option(
    "--rebuild",
    "rebuild_from",
    type=click.Path(path_type=Path),
    metavar="FROM_CACHE",
    help="Compile a DeepGEMM cache's recorded sources again, for this environment.",
)
@click.option(
    "--was-include",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --rebuild: include path of the package when the sources were recorded.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Cache folder to write.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: what fits]")
@json_option
def kernels(
    named: tuple[str, ...],
    only_list: bool,
    full: bool,
    download: bool,
    target: str,
    fp8: bool,
    rebuild_from: Path | None,
    was_include: tuple[Path, ...],
    out: Path | None,
    jobs: int | None,
    json_output: bool,
    **values: Any,
) -> int:
    """Compile kernels from a model's config.json alone, without weights."""
    from warmup.commands.kernels import KernelOptions, kernels
    from warmup.commands.session import open_session

    values["models"] = (*named, *values["models"])
    need_models = rebuild_from is None
    session = open_session(_select(values), os.environ, Path.cwd(), need_models=need_models)
    return kernels(
        session,
        KernelOptions(
            only_list=only_list,
            target=target,
            fp8=fp8,
            rebuild_from=rebuild_from,
            was_include=was_include,
            download=download,
            full=full,
            out=out,
            jobs=jobs,
            json_output=json_output,
        ),
    )


@cli.command()
@json_option
def reap(json_output: bool) -> int:
    """End what earlier runs left behind: ours alone, never by name."""
    from warmup.commands.reap import reap
    from warmup.state.home import get_home

    return reap(get_home(os.environ).path, json_output=json_output)


@cli.command(context_settings={"allow_interspersed_args": False})
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Document to write.")
@click.option("--fail-on-miss", is_flag=True, help="Exit 1 if it succeeded but compiled.")
@_option("--cache-root", help="One folder for every JIT cache family.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
def observe(command: tuple[str, ...], **values: Any) -> int:
    """Run a command, then list every kernel that it had to compile.

    Passes the command's exit status and its signals.
    """
    from warmup.commands.observe import observe

    return observe(command, environ=os.environ, **values)


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def serve(args: tuple[str, ...]) -> int:
    """The reference engine; `serve --help` lists its flags."""
    from warmup.commands.serve import serve

    return serve(list(args))


def main() -> None:
    """Run the program; the one place where errors become lines and an exit status."""
    status = _main(sys.argv[1:])
    for name in ("stdout", "stderr"):
        try:
            if (stream := getattr(sys, name)) is not None:
                stream.flush()
        except OSError:
            # What was lost has been told; the interpreter would try again and exit with 120.
            setattr(sys, name, None)
    sys.exit(status)


def _main(args: list[str]) -> int:
    from warmup.report.output import Output
    from warmup.words.errors import WarmupError

    try:
        status = cli.main(args, prog_name="warmup-ci", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return int(ended.exit_code)
    except click.ClickException as error:
        return _report_usage(error)
    except (click.Abort, KeyboardInterrupt):
        Output(sys.stderr).line("error: cancelled by SIGINT")
        return 130
    except WarmupError as error:
        Output(sys.stderr).line(error.render())
        return error.exit_status
    except Exception:
        import traceback

        err = Output(sys.stderr)
        err.line(traceback.format_exc().rstrip())
        err.line("error: this is a bug in warmup-ci")
        err.line("hint: report it with the lines above")
        return 1
    return status if isinstance(status, int) else 0


def _report_usage(error: click.ClickException) -> int:
    from warmup.report.output import Output
    from warmup.words.errors import UsageError

    name = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else None
    message = error.format_message().rstrip(".")
    usage = UsageError(message, hint=f"try `{name or 'warmup-ci'} --help`")
    Output(sys.stderr).line(usage.render())
    return error.exit_code if isinstance(error.exit_code, int) else 2
