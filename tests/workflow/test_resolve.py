import sys
from pathlib import Path

import pytest

from warmup.launch.launch import Launch
from warmup.report.text import get_short_names
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
price_per_gpu_hour = 2.5
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


def test_the_price_of_a_gpu_hour_is_the_workflows_then_the_projects(
    tmp_path: Path, workflow: Path
) -> None:
    assert resolve(tmp_path, workflow=workflow).price_per_gpu_hour == 2.5
    assert resolve(tmp_path, "org/other").price_per_gpu_hour == 0
    (tmp_path / "pyproject.toml").write_text("[tool.warmup-ci]\nprice_per_gpu_hour = 4\n")
    assert resolve(tmp_path, "org/other").price_per_gpu_hour == 4
    assert resolve(tmp_path, workflow=workflow).price_per_gpu_hour == 2.5


NAMES = """
schema = 1
[[model]]
id = "../models/tiny-qwen2"
[[model]]
id = "org/one"
tp = 8
[[model]]
id = "org/same"
tp = 4
[[model]]
id = "other/same"
tp = 8
"""


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "flows" / "names.toml"
    path.parent.mkdir()
    (tmp_path / "models" / "tiny-qwen2").mkdir(parents=True)
    path.write_text(NAMES)
    return path


def test_every_name_that_plan_prints_means_the_workflows_entry(tmp_path: Path, names: Path) -> None:
    launches = resolve(tmp_path, workflow=names).launches
    shorts = get_short_names(launch.name for launch in launches)
    for launch in launches:
        for name in (shorts[launch.name], launch.name, f"{launch.model}:{launch.tp}"):
            assert one(tmp_path, name, workflow=names) == launch
    assert one(tmp_path, "tiny-qwen2", workflow=names) == launches[0]
    assert one(tmp_path, "one", workflow=names) == launches[1]
    assert one(tmp_path, "one:2", workflow=names).name == "org/one:2"


def test_a_workflows_folder_has_one_path_whoever_names_it(tmp_path: Path, names: Path) -> None:
    launch = resolve(tmp_path, workflow=names).launches[0]
    assert launch.model == str(tmp_path / "models" / "tiny-qwen2")
    assert launch.label == "../models/tiny-qwen2"


@pytest.mark.parametrize("name", ["same", "same:2"])
def test_a_short_name_of_two_models_is_an_error(tmp_path: Path, names: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot tell which model same is") as caught:
        resolve(tmp_path, name, workflow=names)
    assert "org/same, other/same" in str(caught.value.hint)


def test_a_short_name_that_is_a_folder_here_too_is_an_error(tmp_path: Path, names: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(UsageError, match="cannot tell which model one is") as caught:
        resolve(tmp_path, "one", workflow=names)
    assert "org/one, ./one" in str(caught.value.hint)
    assert one(tmp_path, "./one", workflow=names).model == str(tmp_path / "one")
    assert one(tmp_path, "org/one", workflow=names).tp == 8


def test_a_hub_id_that_the_workflow_lacks_is_a_hub_id(tmp_path: Path, names: Path) -> None:
    for name in ("gpt2", "third/same", "third/one"):
        launch = one(tmp_path, name, workflow=names)
        assert (launch.model, launch.label, launch.engine) == (name, name, "reference")
