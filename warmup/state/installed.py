"""Is an engine installed in the interpreter that is to start it? Read, not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.launch.api import Launch
from warmup.state.distributions import find_package_dir, read_distributions
from warmup.state.interpreter import get_interpreter
from warmup.words.errors import UsageError

# Distribution of an engine → package → the distribution that brings it; and what pip is asked for.
_NEEDS: dict[str, tuple[dict[str, str], str]] = {
    "warmup-ci": (
        {"warmup": "warmup-ci", "torch": "torch", "transformers": "transformers"},
        "warmup-ci[serve]",
    ),
    "transformers": ({"transformers": "transformers", "torch": "torch"}, "transformers[serving]"),
}


def find_missing_engine(
    launch: Launch,
    distribution: str | None,
    env: Mapping[str, str],
    more_paths: Sequence[str],
    *,
    may_run_python: bool = True,
) -> UsageError | None:
    """Why this launch's interpreter cannot start its engine; None where nothing is seen amiss.

    distribution: the engine's; None where there is none to look for. env: the interpreter's.
    more_paths: where its server looks for packages besides. A package without metadata (a
    checkout on PYTHONPATH) will do. Raises UsageError for an interpreter that does not answer.
    """
    if distribution is None or launch.strategy == "kernels":  # no server is started
        return None
    packages, wanted = _NEEDS.get(distribution, ({distribution: distribution}, distribution))
    paths = (*get_interpreter(launch.python, env, may_run=may_run_python).paths, *more_paths)
    missing = [name for name in packages if find_package_dir(name, paths) is None]
    if missing:  # an editable install has no folder there
        installed = read_distributions(paths)
        missing = [name for name in missing if packages[name] not in installed]
    if not missing:
        return None
    return UsageError(
        f"{launch.name}: engine {launch.engine} is not installed",
        cause=f"{launch.python} has no {', '.join(missing)}",
        hint=f"install it there (`{launch.python} -m pip install '{wanted}'`), or name the"
        " interpreter of the engine's environment with --python",
    )
