import sys
from pathlib import Path

import pytest

from warmup.launch.launch import Launch
from warmup.words.errors import UsageError
from warmup.workflow.selection import Resolved, Selection, load
from warmup.workflow.settings import Settings

WORKFLOW = """
schema = 1
[defaults]
engine = "sglang"
start_timeout_s = 100
python = "python-of-the-workflow"
deadline_s = 60
[caches]
root = "cache"
[[model]]
id = "org/a"
tp = 8
fallback_args = ["--dp", "8"]
start_timeout_s = 50
[[model]]
id = "./local"
engine = "vllm"
[[model]]
id = "org/two"
tp = 2
[[model]]
id = "org/two"
tp = 4
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    folder = tmp_path / "workflows"
    folder.mkdir()
    path = folder / "w.toml"
    path.write_text(WORKFLOW)
    return path


def resolve(tmp_path: Path, *models: str, **said: object) -> Resolved:
    return load(Selection(models=models, **said), tmp_path)  # type: ignore[arg-type]


def one(tmp_path: Path, *models: str, **said: object) -> Launch:
    (launch,) = resolve(tmp_path, *models, **said).launches
    return launch


def test_no_models_means_all_of_the_workflow_in_its_order(tmp_path: Path, workflow: Path) -> None:
    names = [launch.name for launch in resolve(tmp_path, workflow=workflow).launches]
    assert names == ["org/a:8", "./local:1", "org/two:2", "org/two:4"]


def test_a_named_model_takes_the_workflows_settings_and_the_size_given(
    tmp_path: Path, workflow: Path
) -> None:
    launch = one(tmp_path, "org/a:4", workflow=workflow)
    assert (launch.tp, launch.engine, launch.fallback_args) == (4, "sglang", ("--dp", "8"))
    assert (launch.start_timeout_s, launch.python) == (50, "python-of-the-workflow")
    assert one(tmp_path, "org/a", workflow=workflow).tp == 8


def test_engine_flag_speaks_for_undescribed_models_only(tmp_path: Path, workflow: Path) -> None:
    launches = resolve(tmp_path, "org/a", "org/new", workflow=workflow, engine="vllm").launches
    assert [launch.engine for launch in launches] == ["sglang", "vllm"]
    assert one(tmp_path, "org/new", workflow=workflow).engine == "sglang"
    assert one(tmp_path, "org/new").engine == "reference"


def test_setting_order(tmp_path: Path, workflow: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.warmup-ci]\nstart_timeout_s = 7\nrequest_timeout_s = 7\nengine = "vllm"\n'
    )
    launch = one(tmp_path, "org/a", workflow=workflow)
    assert (launch.start_timeout_s, launch.request_timeout_s) == (50, 7)
    flags = Settings(start_timeout_s=1)
    assert one(tmp_path, "org/a", workflow=workflow, settings=flags).start_timeout_s == 1
    assert one(tmp_path, "org/new").engine == "vllm"
    assert one(tmp_path, "org/new").python == sys.executable


def test_local_folders_are_absolute_and_keep_what_was_written(
    tmp_path: Path, workflow: Path
) -> None:
    listed = one(tmp_path, "./workflows/local", workflow=workflow)
    assert listed.engine == "vllm", "the same folder, spelt from another place"
    assert listed.model == str(tmp_path / "workflows" / "local")
    (tmp_path / "here").mkdir()
    bare = one(tmp_path, "here:2")
    assert (bare.model, bare.name) == (str(tmp_path / "here"), "here:2")
    assert one(tmp_path, "org/hub").model == "org/hub"


def test_a_model_listed_at_several_sizes(tmp_path: Path, workflow: Path) -> None:
    names = [launch.name for launch in resolve(tmp_path, "org/two", workflow=workflow).launches]
    assert names == ["org/two:2", "org/two:4"]
    assert one(tmp_path, "org/two:4", workflow=workflow).tp == 4
    with pytest.raises(UsageError, match="cannot tell which settings"):
        resolve(tmp_path, "org/two:8", workflow=workflow)
    with pytest.raises(UsageError, match="duplicate model: org/two:4"):
        resolve(tmp_path, "org/two", "org/two:4", workflow=workflow)


def test_nothing_named_and_an_empty_workflow(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model named"):
        resolve(tmp_path)
    path = tmp_path / "w.toml"
    path.write_text("schema = 1\n")
    with pytest.raises(UsageError, match="lists no model"):
        resolve(tmp_path, workflow=path)
    assert load(Selection(workflow=path), tmp_path, need_models=False).launches == ()


def test_cache_root_and_deadline_layers(tmp_path: Path, workflow: Path) -> None:
    found = resolve(tmp_path, workflow=workflow)
    assert found.cache_root == str(tmp_path / "workflows" / "cache")
    assert found.deadline_s == 60
    found = resolve(tmp_path, workflow=workflow, cache_root="mine", deadline_s=5.0)
    assert (Path(found.cache_root).name, found.deadline_s) == ("mine", 5)
