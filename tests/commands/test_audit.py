from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.caches.caches import make_cubin, set_mtime, write_deep_gemm
from tests.caches.hazards.test_libraries import link
from tests.commands.program import call
from tests.commands.warmed import FAMILIES, Unreadable, Warmed, make_launch, make_vector
from tests.needs import load
from warmup.commands.audit import audit
from warmup.words.errors import UsageError

Document = dict[str, Any]

# What SARIF 2.1.0 demands of the parts that we write (sarif-v2.1.0-os, sections 3.13-3.29).
_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id", "shortDescription"],
                                            "properties": {
                                                "shortDescription": _TEXT,
                                                "helpUri": {"pattern": "^https://"},
                                                "defaultConfiguration": {
                                                    "properties": {"level": _LEVEL}
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "required": ["message", "ruleId", "level", "locations"],
                            "properties": {"message": _TEXT, "level": _LEVEL},
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def warmed(tmp_path: Path) -> Warmed:
    warmed = Warmed(tmp_path / "w")
    warmed.compile("fp8_gemm", make_cubin())
    return warmed


def run(warmed: Warmed, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, Document]:
    status = audit(warmed, families=FAMILIES, json_output=True, **options)
    document: Document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == status and document["schema"] == 1
    return status, document


def get_states(document: Document) -> list[str]:
    return [marker["state"] for marker in document["markers"]]


def test_a_fresh_home_is_clean(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    warmed.mark()
    status, document = run(warmed, capsys)
    assert status == 0 and get_states(document) == ["fresh"]
    assert document["markers"][0]["model"] == "org/model"
    assert document["unneeded"] == {} and document["damage"] == []
    # The cache of a test lies under /tmp, which is worth a note and no failure.
    assert {each["rule"] for each in document["findings"]} <= {"root-volatile"}


def test_nothing_at_all_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(Warmed(tmp_path / "w"), capsys)
    assert status == 0 and document["markers"] == []


def test_an_old_vector_is_stale_and_says_why(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()
    warmed.vector = make_vector(torch="2.14", deep_gemm="2.5")
    status, document = run(warmed, capsys)
    assert status == 1 and get_states(document) == ["stale"]
    assert document["markers"][0]["reason"] == "torch 2.13 → 2.14"
    assert document["unneeded"]["deep_gemm"]["entries"] == 1


def test_an_old_marker_beside_its_better_is_superseded_and_no_failure(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()
    warmed.vector = make_vector(torch="2.14", deep_gemm="2.5")
    warmed.mark()
    status, document = run(warmed, capsys)
    assert status == 0 and sorted(get_states(document)) == ["fresh", "superseded"]
    warmed.vector = make_vector(torch="2.13", deep_gemm="2.5")
    assert sorted(get_states(run(warmed, capsys)[1])) == ["fresh", "superseded"]


def test_of_two_old_markers_the_newer_is_the_stale_one(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    older = warmed.mark()
    warmed.vector = make_vector(torch="2.14")
    newer = warmed.mark()
    warmed.vector = make_vector(torch="2.15")
    states = {each["path"]: each["state"] for each in run(warmed, capsys)[1]["markers"]}
    assert states == {str(older): "superseded", str(newer): "stale"}


def test_entries_that_are_gone_dangle_and_are_named(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()
    (next(warmed.root.glob("cache/*")) / "kernel.cubin").unlink()
    status, document = run(warmed, capsys)
    assert status == 1 and get_states(document) == ["dangling"]
    assert "fp8_gemm" in document["markers"][0]["reason"]
    assert document["findings"][0]["rule"] == "deep-gemm-half-written"


def test_a_manifest_that_is_gone_dangles(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = warmed.mark()
    (warmed.home.manifests / marker.name).unlink()
    status, document = run(warmed, capsys)
    assert (status, get_states(document)) == (1, ["dangling"])


@pytest.mark.parametrize("damage", ["marker", "manifest", "emptied"])
def test_bytes_that_were_changed_are_an_integrity_failure(
    warmed: Warmed, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    marker = warmed.mark()
    path = marker if damage == "marker" else warmed.home.manifests / marker.name
    data = path.read_bytes()
    if damage == "emptied":  # well formed, and lists nothing that could be missing
        manifest = json.loads(data)
        manifest["families"]["deep_gemm"][0]["entries"] = []
        path.write_text(json.dumps(manifest))
    else:
        path.write_bytes(data[: len(data) // 2])
    status, document = run(warmed, capsys)
    assert (status, get_states(document)) == (4, ["corrupt"])


def test_files_that_are_no_markers_are_told_and_left(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    (warmed.home.markers / "notes.json").write_text("{}")
    (warmed.home.markers / "later.json").write_text('{"schema": 99}')
    os.mkfifo(warmed.home.markers / "pipe.json")
    status, document = run(warmed, capsys)
    assert status == 1 and get_states(document) == ["future", "foreign", "foreign"]
    assert len(list(warmed.home.markers.iterdir())) == 3


def test_all_paths_of_a_document_are_written_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Findings had `%25` where damage had `%`: paths of the one were not those of the other."""
    warmed = Warmed(tmp_path / "w")
    folder = warmed.compile("odd%name", make_cubin())
    warmed.mark()
    times = (folder / "kernel.cubin").stat()
    (folder / "kernel.cubin").write_bytes(b"x" * times.st_size)
    os.utime(folder / "kernel.cubin", ns=(times.st_atime_ns, times.st_mtime_ns))
    _, document = run(warmed, capsys, deep=True)
    found = [each["path"] for each in document["findings"] if each["rule"] == "cubin-broken"]
    assert found == [each["path"] for each in document["damage"]]
    assert "odd%25name" in found[0]


def test_deep_tells_a_flip_that_a_stat_does_not(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()
    warmed.mark(make_launch(tp=2))
    cubin = next(warmed.root.glob("cache/*")) / "kernel.cubin"
    mtime, data = cubin.stat().st_mtime, bytearray(cubin.read_bytes())
    data[-200] ^= 1
    cubin.write_bytes(data)
    set_mtime(cubin, mtime)
    assert run(warmed, capsys)[0] == 0
    status, document = run(warmed, capsys, deep=True)
    assert status == 4
    (found,) = document["damage"]  # one file, though two markers list it
    assert (found["kernel"], found["path"]) == ("fp8_gemm", str(cubin))


def test_a_vector_that_cannot_be_read_here_is_said(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()

    status = audit(Unreadable(warmed.path), families=FAMILIES, json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert status == 1 and get_states(document) == ["unjudged"]


def test_a_package_that_moved_is_told_by_the_vector_it_was_warmed_with(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """DeepGEMM 54e2261 writes the include path into no file, only into its key."""
    warmed.vector = make_vector(deep_gemm_include="/old/deep_gemm/include")
    warmed.mark()
    warmed.vector = make_vector(deep_gemm_include="/new/deep_gemm/include")
    status, document = run(warmed, capsys)
    (found,) = [one for one in document["findings"] if one["rule"] == "deep-gemm-include-path"]
    assert status == 1
    assert found["message"] == (
        "org/model:1 was warmed with /old/deep_gemm/include, installed is /new/deep_gemm/include"
    )


def test_caches_of_a_launch_with_places_of_its_own_are_looked_at(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deep_gemm(warmed.path / "own", "elsewhere", cubin=b"")
    warmed.launches = [make_launch()]
    warmed.launch_env = {"DG_JIT_CACHE_DIR": str(warmed.path / "own")}
    status = audit(warmed, families=FAMILIES, json_output=True)
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert status == 1 and {one["kernel"] for one in findings} == {"", "elsewhere"}


def test_a_family_that_the_environment_moved_dangles(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.mark()
    warmed.env = {**warmed.env, "DG_JIT_CACHE_DIR": "/elsewhere"}
    status, document = run(warmed, capsys)
    assert (status, get_states(document)) == (1, ["dangling"])
    assert "the environment now puts it at /elsewhere" in document["markers"][0]["reason"]


def test_hazards_are_findings(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    warmed.compile("broken", b"")
    warmed.mark()
    status, document = run(warmed, capsys)
    found = next(each for each in document["findings"] if each["rule"] == "cubin-broken")
    assert status == 1 and found["kernel"] == "broken" and found["is_repairable"]


def test_a_dry_run_shows_what_fix_then_does(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = warmed.compile("broken", b"")
    _, planned = run(warmed, capsys, fix=True, dry_run=True)
    assert broken.exists()
    status, done = run(warmed, capsys, fix=True)
    assert not broken.exists() and status == 0
    keys = ("rule", "path")
    assert [[each[k] for k in keys] for each in planned["repairs"]] == [
        [each[k] for k in keys] for each in done["repairs"]
    ]
    assert {each["state"] for each in planned["repairs"]} == {"planned"}
    assert {each["state"] for each in done["repairs"]} == {"done"}
    assert run(warmed, capsys, fix=True)[1]["repairs"] == []


def test_without_fix_nothing_is_touched(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    broken = warmed.compile("broken", b"")
    assert run(warmed, capsys)[0] == 1
    assert broken.exists()


def test_lines_for_people_name_hazard_link_and_remedy(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(30):
        warmed.compile(f"broken{index}", b"")
    warmed.mark()
    status = audit(warmed, families=FAMILIES)
    text = capsys.readouterr().out
    assert status == 1
    assert "fresh       org/model:1: marker of " in text
    assert "cubin-broken" in text and "https://github.com/flashinfer-ai/flashinfer" in text
    assert "… and 10 more (--json lists them)" in text
    assert "--fix can remove the entry" in text
    assert text.count("cubin-broken: ") == 1 and text.index("error  ") < text.index("note  ")
    assert text.splitlines()[-1] == "markers: 1 fresh; hazards: 30 errors, 1 note"


def test_sarif_is_valid_and_complete(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema = load("jsonschema")
    broken = warmed.compile("bro ken%", b"")
    warmed.mark()
    warmed.vector = make_vector(torch="2.14")
    status = audit(warmed, families=FAMILIES, style="sarif")
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SARIF)
    (report,) = document["runs"]
    ids = {rule["id"] for rule in report["tool"]["driver"]["rules"]}
    results = {result["ruleId"]: result for result in report["results"]}
    assert status == 1 and set(results) <= ids
    assert results["marker-stale"]["level"] == "warning"
    uri = results["cubin-broken"]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == f"file://{broken}/kernel.cubin".replace("%", "%25").replace(" ", "%20")


def test_two_formats_at_once_are_a_users_error(warmed: Warmed) -> None:
    with pytest.raises(UsageError):
        audit(warmed, json_output=True, style="sarif")


def test_a_library_whose_needs_are_gone_is_told_and_put_aside(tmp_path: Path) -> None:
    """Held against the packages of the interpreter that would start a server."""
    folder = tmp_path / "extensions" / "py311_cpu" / "ext"
    needed = link(tmp_path / "image" / "libgone.so.8", "int dep(void) { return 1; }")
    search = (f"-L{needed.parent}", f"-l:{needed.name}")
    link(folder / "ext.so", "int dep(void); int use(void) { return dep(); }", *search)
    env = {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"), "LD_LIBRARY_PATH": ""}
    needed.unlink()
    told = call(tmp_path, "audit", **env)
    assert told.returncode == 1, told.stderr
    assert "library-needs-missing" in told.stdout and "libgone.so.8" in told.stdout
    mended = call(tmp_path, "audit", "--fix", **env)
    assert mended.returncode == 0, mended.stdout
    assert "put in quarantine" in mended.stdout and not folder.exists()
