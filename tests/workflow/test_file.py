from pathlib import Path

import pytest

from warmup.words.errors import UsageError
from warmup.workflow.file import find_tool_table, get_workflow

WORKFLOWS = Path(__file__).parents[2] / "workflows"


def refuse(tmp_path: Path, text: str) -> str:
    path = tmp_path / "workflow.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        get_workflow(path)
    assert caught.value.exit_status == 2
    assert str(path) in caught.value.what
    return caught.value.render()


MODEL = 'schema = 1\n[[model]]\nid = "a"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MODEL + 'tp = "8"', "model[0].tp: Expected `int`, got `str`"),
        (MODEL + "tp = 0", "model[0].tp: Expected `int` >= 1"),
        (MODEL + "tp = -1", "model[0].tp: Expected `int` >= 1"),
        (MODEL + "tp = 1000000000", "model[0].tp: Expected `int` <= 1024"),
        (MODEL + "fallback_arg = []", "did you mean `fallback_args`?"),
        (MODEL + "request = { pth = '/' }", "did you mean `path`?"),
        (MODEL + "request = {}", "missing key `path`"),
        (MODEL + "health_path = 'health'", "model[0].health_path"),
        (MODEL + "engine = 'sglan'", "did you mean `sglang`?"),
        (MODEL + "command = ['x', '{prot}']", "model[0].command[1]: unknown placeholder {prot}"),
        (MODEL + "env = { A = '{x}' }", "model[0].env.A: unknown placeholder {x}"),
        (MODEL + "env = { 'A=B' = '1' }", "not a variable's name"),
        (MODEL + "env = { A = '', B = 1 }", "model[0].env.B: Expected `str`, got `int`"),
        (MODEL + "request = { path = 'x' }", "model[0].request.path: expected a path that starts"),
        (MODEL + "request = { path = '/x y' }", "model[0].request.path: expected a path"),
        (MODEL + 'health_path = "/x\\ny"', "model[0].health_path: expected a path"),
        (MODEL + "request = { path = '/', expect_status = 9 }", "request.expect_status: Expected"),
        (
            MODEL + 'request.path = "/"\nrequest.headers = { A = "b\\n" }',
            "headers: expected",
        ),
        (
            MODEL + 'request.path = "/"\nrequest.headers = { "a b" = "" }',
            "headers: expected",
        ),
        (MODEL + 'request = { path = "/", method = "FETCH" }', "expected one of GET, POST"),
        (MODEL + "strategy = 'x'", "strategy: expected one of auto, kernels, server, got 'x'"),
        (MODEL + MODEL.partition("\n")[2], "model[1]: duplicate of model[0], a:1"),
        ("schema = 1\n[defaults]\nstop_grace_s = -1", "defaults.stop_grace_s"),
        ("schema = 1\n[defaults]\nstart_timeout_s = inf", "defaults.start_timeout_s: Expected"),
        ("schema = 1\n[defaults]\nstart_timeout_s = nan", "defaults.start_timeout_s: Expected"),
        ("schema = 1\n[defaults]\ndeadline_s = inf", "defaults.deadline_s: Expected"),
        ("schema = 1\n[defaults]\nprice_per_gpu_hour = -1", "price_per_gpu_hour: Expected"),
        ("schema = 1\n[default]", "did you mean `defaults`?"),
        ("schema = 1\npath = 'x'", "path: unknown key"),
        ("schema = 2", "expected 1, got 2"),
        ("schema = true", "expected 1, got True"),
        ("", "expected 1, got None"),
        ("schema = ", "not valid TOML"),
        ("a = " + "[" * 100_000, "not valid TOML"),
    ],
)
def test_a_wrong_file_names_where_and_what(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refuse(tmp_path, text)


def test_bytes_that_are_no_text_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    with pytest.raises(UsageError, match="cannot read"):
        get_workflow(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not valid TOML"):
        get_workflow(path)
    with pytest.raises(UsageError, match="cannot read"):
        get_workflow(tmp_path)


@pytest.mark.parametrize("name", ["h200-8gpu.toml", "cpu-demo.toml"])
def test_the_workflows_of_this_repository_are_valid(name: str) -> None:
    assert get_workflow(WORKFLOWS / name).model


def test_the_step_budget_holds_the_sum_of_the_models_timeouts() -> None:
    defaults = get_workflow(WORKFLOWS / "h200-8gpu.toml").defaults
    assert isinstance(defaults.deadline_s, float)
    each = [defaults.start_timeout_s, defaults.request_timeout_s, defaults.stop_grace_s]
    assert 5 * sum(s for s in each if isinstance(s, float)) <= defaults.deadline_s <= 3600


def test_the_project_file_is_found_upwards_and_checked(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_tool_table(tmp_path / "a") is None
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.warmup-ci]\nengine = "vllm"\ncache_root = "c"\n')
    found = find_tool_table(tmp_path / "a" / "b")
    assert found is not None
    assert (found[0].engine, found[1]) == ("vllm", tmp_path)
    project.write_text('[tool.warmup-ci]\nengin = "vllm"\n')
    with pytest.raises(UsageError, match=r"tool\.warmup-ci\.engin: unknown key"):
        find_tool_table(tmp_path)
