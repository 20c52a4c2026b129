"""`warmup-ci kernels list, compile, rebuild`: from a model's config.json, without weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from warmup.commands.session import Session
from warmup.kernels.api import ModelShapes, derive, merge_asks
from warmup.launch.api import Launch
from warmup.report.api import Output, get_count, show
from warmup.words.errors import EXIT_FAILED, EXIT_OK, UsageError
from warmup.words.escape import get_printable

if TYPE_CHECKING:
    from warmup.kernels.api import KernelsDocument, LibraryCheck

# deep_gemm's ingredient of a version vector: its include folders, comma-separated.
_INCLUDE = "deep_gemm_include"


def list_kernels(
    session: Session,
    *,
    full: bool = False,
    download: bool = False,
    check: Path | None = None,
    json_output: bool = False,
) -> int:
    """Print every model's shapes, and the Ms that cover every kernel of them; full: every M.

    check: an interpreter whose DeepGEMM is asked, on a null device, whether it takes the same
    kernels. Returns 0, also where a model is left to its server; 1 where that DeepGEMM differs.
    download: fetch each config.json that the hub cache lacks. Raises UsageError for wrong configs
    and sizes and for a `check` that cannot be asked, WarmupError for a download.
    """
    launches = session.get_launches()
    models = [_derive(session, launch, download) for launch in launches]
    document: dict[str, object] = {"schema": 1, "models": [model.to_data() for model in models]}
    if check is None:
        show(document, _render(session, models, full), json_output=json_output)
        return EXIT_OK
    _require_derived(models)
    from warmup.kernels.api import check_library
    from warmup.target.api import make_seeding

    launch = next(each for each, model in zip(launches, models, strict=True) if model.shapes)
    launch = msgspec.structs.replace(launch, python=str(check.absolute()))
    found = check_library(
        merge_asks(models),
        launch.python,
        session.get_env(launch),
        session.get_vector(launch),
        session.seeding or make_seeding("h200", "", session.home.path),
        session.home,
        full=full,
    )
    exit_code = EXIT_OK if found.is_equal else EXIT_FAILED
    document |= {"exit_code": exit_code, "check": msgspec.to_builtins(found)}
    show(document, _render_check(models, found), json_output=json_output)
    return exit_code


def compile_kernels(
    session: Session,
    *,
    full: bool = False,
    download: bool = False,
    target: str | None = None,
    fp8: bool = False,
    out: Path | None = None,
    jobs: int | None = None,
    json_output: bool = False,
) -> int:
    """Compile DeepGEMM's kernels here, or the reference engine's Triton kernels for a GPU.

    target: that GPU, `cuda:90`; fp8: as the engine's `--fp8` needs them. out: cache folder, None
    for the one that the engine looks in. jobs: processes, None as many as fit. Returns 0 if all are
    compiled, 1 if one is not or a model is left to its server. Raises UsageError, HostError where
    nothing can be compiled here, and Cancelled.
    """
    launches = session.get_launches()
    python = launches[0].python
    if any(launch.python != python for launch in launches):
        raise UsageError("the models' engines have different interpreters: name them apart")
    if target is not None:
        from warmup.kernels.api import compile_for_target

        env = session.get_env(launches[0])
        document = compile_for_target(
            launches, target, env, session.home, fp8=fp8, out=out, num_jobs=jobs
        )
    else:
        models = [_derive(session, launch, download) for launch in launches]
        document = _compile_here(session, launches, models, full, out, jobs)
    return _show(document, json_output)


def rebuild_kernels(
    session: Session,
    *,
    rebuild_from: Path,
    was_include: Sequence[Path] = (),
    out: Path | None = None,
    jobs: int | None = None,
    json_output: bool = False,
) -> int:
    """Compile a DeepGEMM cache's recorded sources again, with nvcc, for this environment.

    was_include: where the package stood when they were recorded. Returns 1 where an entry could not
    be carried over. Raises WarmupError where no key can be reproduced, HostError without nvcc.
    """
    from warmup.kernels.api import find_toolchain, rebuild
    from warmup.state.api import NONE, Marker, list_markers

    values = session.vector.values
    toolchain = find_toolchain(values[_INCLUDE], values["nvcc_path"], session.env)
    markers = [each for each in list_markers(session.home) if isinstance(each, Marker)]
    vectors = [marker.vector.values for marker in markers]
    included = [vector.get(_INCLUDE, NONE) for vector in vectors]
    old = [Path(path) for text in included if text != NONE for path in text.split(", ")]
    document = rebuild(
        rebuild_from, toolchain, [*was_include, *old], session.env, session.home, out, jobs
    )
    return _show(document, json_output)


def _derive(session: Session, launch: Launch, download: bool) -> ModelShapes:
    """A model that no workflow describes has the embedded engine's name, which multiplies nothing
    through DeepGEMM unless told to: its shapes are sglang's."""
    env = session.get_env(launch)
    if download:
        from warmup.kernels.api import download_config

        download_config(launch, env)
    return derive(launch, env, "sglang" if launch.engine == "reference" else "")


def _compile_here(
    session: Session,
    launches: Sequence[Launch],
    models: Sequence[ModelShapes],
    full: bool,
    out: Path | None,
    jobs: int | None,
) -> KernelsDocument:
    """Every kernel of every model whose shapes can be derived; the others are told."""
    from warmup.kernels.api import Setting, begin, compile_shapes

    err = Output(sys.stderr)
    left = [model for model in models if model.strategy == "server"]
    for model in left:
        err.line(get_printable(f"{model.name}: left to its server, since {model.reason}"))
    _require_derived(models)
    launch = next(each for each, model in zip(launches, models, strict=True) if model.shapes)
    with begin(session.home) as work:
        setting = Setting(
            engine="sglang" if launch.engine == "reference" else launch.engine,
            python=launch.python,
            env=session.get_env(launch),
            run_dir=work.run_dir,
            name=work.run_id,
            num_jobs=jobs,
            full=full,
            out=out,
            check=work.check,
        )
        result = compile_shapes(merge_asks(models), setting, work.on_outcome)
    return work.conclude(
        "compile",
        kernels=result.num_kernels,
        failed=result.failed,
        notes=result.notes,
        models=[model.to_data() for model in models],
        cache_dir=result.cache_dir,
        is_whole=not left,
    )


def _require_derived(models: Sequence[ModelShapes]) -> None:
    if not any(model.shapes for model in models):
        raise UsageError(
            "no model's kernels can be derived from its config",
            cause="; ".join(f"{model.name}: {model.reason}" for model in models),
            hint="`warmup-ci run` lets the servers compile them",
        )


def _render_check(models: Sequence[ModelShapes], found: LibraryCheck) -> Iterator[str]:
    for model in models:
        told = f"{model.strategy}, {model.reason}" if not model.shapes else "compared"
        yield f"{model.name}: {told}"
    for each in found.differences:
        yield f"{each.at}"
        yield f"    ours    {each.ours}"
        yield f"    theirs  {each.theirs}"
    for name in found.wrong_keys:
        yield f"{name}: our key for it is another"
    yield (
        f"DeepGEMM {found.deep_gemm} for {found.num_sms} SMs ({found.gpu}):"
        f" {get_count(found.calls, 'call')}, {get_count(found.kernels, 'kernel')},"
        f" {get_count(len(found.differences), 'difference')},"
        f" {get_count(len(found.wrong_keys), 'wrong key')} ({found.seconds:.1f} s)"
    )


def _show(document: KernelsDocument, json_output: bool) -> int:
    num_failed = len(document.failed)
    good = f"{document.kernels - num_failed} of {get_count(document.kernels, 'kernel')}"
    lines = [f"{good} in {document.seconds:.1f} s, into {document.cache_dir}"]
    lines += [f"{num_failed} failed; log: {document.log}"] if num_failed else []
    show(document, lines, json_output=json_output)
    return document.exit_code


def _render(session: Session, models: Sequence[ModelShapes], full: bool) -> Iterator[str]:
    from warmup.kernels.api import H200_SMS, describe_ms
    from warmup.state.api import read_gpus

    facts = read_gpus() if session.seeding is None else session.seeding.gpus
    is_here = facts.sm_count.isdigit()
    num_sms = int(facts.sm_count) if is_here else H200_SMS
    for index, model in enumerate(models):
        yield f"{model.name}: {model.strategy}"
        yield f"    {model.reason}"
        same = next((each for each in models[:index] if each.asks == model.asks), None)
        if model.shapes and same is not None:
            yield f"    the same shapes as {same.name}: compiled once"
        elif model.shapes:
            lines, num_kernels = describe_ms(model.asks, num_sms, full)
            yield from (f"    {line}" for line in lines)
            counts = f"{len(model.shapes)} shapes, {num_kernels} kernels"
            yield f"    {counts}, M up to {model.max_m}"
    if any(model.shapes for model in models):
        how = "the whole sweep, as the engine's own warm-up calls it" if full else _HOW
        whose = facts.names if is_here else "an H200's: no GPU to ask here"
        yield f"M: {how}, for {num_sms} SMs ({whose})"


_HOW = (
    "the smallest for each kernel that DeepGEMM selects; its choice can change only past 16, "
    "past 32 and past multiples of 64 (of 128 in the contiguous layout)"
)
