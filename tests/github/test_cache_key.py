"""The step of the reusable workflow that names the cache, run under bash."""

from __future__ import annotations

import os
from pathlib import Path

from tests.github.actions_yaml import ROOT, get_step, start_script, write_program

WORKFLOW = ROOT / ".github" / "workflows" / "warmup.yml"


def name_cache(tmp_path: Path, **inputs: str) -> dict[str, str]:
    write_program(tmp_path / "bin", "warmup-ci", 'printf "%s\\n" "$@" > argv; echo key123')
    output = tmp_path / "output"
    output.write_text("")
    names = ("CACHE_NAME", "MODELS", "WORKFLOW", "PYTHON", "ARGS", "PACKS")
    environ = {f"INPUT_{name}": inputs.get(name, "") for name in names}
    environ |= {"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "GITHUB_OUTPUT": str(output)}
    environ |= {"CACHE_ROOT": "/tmp dir/caches"}
    child = start_script(get_step(WORKFLOW, "Name the cache")["run"], tmp_path, environ)
    assert child.communicate(timeout=30)[0] == ""
    assert child.returncode == 0
    lines = output.read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_key_holds_class_versions_and_launches(tmp_path: Path) -> None:
    file = tmp_path / "a b.toml"
    file.write_text("schema = 1\n")
    first = name_cache(tmp_path, CACHE_NAME="h200", WORKFLOW=str(file), PYTHON="py")
    assert first["prefix"] == "warmup-ci-h200+"
    assert first["exact"].startswith("key123-")
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv == [
        *("key", "--only-key", "--cache-root=/tmp dir/caches"),
        *(f"--workflow={file}", "--python=py"),
    ]

    assert name_cache(tmp_path, CACHE_NAME="h200", WORKFLOW=str(file), PYTHON="py") == first
    file.write_text("schema = 1\n# other\n")
    changed = name_cache(tmp_path, CACHE_NAME="h200", WORKFLOW=str(file), PYTHON="py")
    assert changed["exact"] != first["exact"]


def test_models_and_arguments_tell_keys_apart(tmp_path: Path) -> None:
    keys = {
        name_cache(tmp_path, CACHE_NAME="c", MODELS=models, ARGS=args)["exact"]
        for models, args in (("a", ""), ("b", ""), ("a", "b"), ("ab", ""), ("", "ab"))
    }
    assert len(keys) == 5


def test_a_hostile_name_is_one_line_of_plain_characters(tmp_path: Path) -> None:
    named = name_cache(tmp_path, CACHE_NAME="a\nexact=forged $(touch hacked),b")
    assert named["prefix"] == "warmup-ci-a_exact_forged___touch_hacked__b+"
    assert named["exact"].startswith("key123-")
    assert not (tmp_path / "hacked").exists()


def test_no_class_is_the_beginning_of_another(tmp_path: Path) -> None:
    """`restore-keys` match by prefix: `h200` must not restore what `h200-pr` has saved."""
    names = ("h200", "h200-", "h200-pr", "h200.1", "h200+", "h200+x", "h200_")
    prefixes = [name_cache(tmp_path, CACHE_NAME=name)["prefix"] for name in names]
    different = sorted(set(prefixes))
    for one in different:
        assert [other for other in different if other.startswith(one)] == [one]


def test_no_log_goes_into_a_cache() -> None:
    """Logs are as servers wrote them, and a pull request may restore what a branch saved."""
    saved, restored = (
        get_step(WORKFLOW, name)["with"] for name in ("Save the cache", "Restore the cache")
    )
    kept = ("caches", "home/markers", "home/manifests")
    assert (
        saved["path"].split()
        == "".join(f"${{{{ runner.temp }}}}/warmup-ci/{part}\n" for part in kept).split()
    )
    assert saved["path"] == restored["path"], "a cache's version is the hash of its paths"
    prefix, exact = "${{ steps.key.outputs.prefix }}", "${{ steps.key.outputs.exact }}"
    assert restored["restore-keys"].splitlines() == [f"{prefix}{exact}-", prefix]
