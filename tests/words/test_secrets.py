from __future__ import annotations

import base64
import json
import os
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from warmup.words.secrets import Redactor, is_secret_name, strip_escapes

HF = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


def get_values(**env: str) -> tuple[str, ...]:
    return Redactor.from_environment(env).values


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "GH_PAT", "ACTIONS_RUNTIME_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "OPENAI_API_KEY", "WANDB_APIKEY", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "DB_PASSWORD", "MYSQL_PWD", "CLIENT_SECRET", "MY_CREDENTIALS",
        "npm_config__auth",
    ],
)  # fmt: skip
def test_variables_that_are_named_like_secrets(name: str) -> None:
    value = "9f8e7d6c5b4a-x"
    assert get_values(**{name: value}) == (value,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "disabled-for-now"),
        ("MAX_TOKENS", "1000000000"),
        ("HF_TOKEN", ""),
        ("HF_TOKEN", "abc12"),
        ("OPENAI_API_KEY", "EMPTY"),
        ("POSTGRES_PASSWORD", "postgres"),
        ("USE_AUTH_TOKEN", "true"),
        ("HF_TOKEN_PATH", "/root/.cache/huggingface/token"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/usr/bin"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://pipelines.actions.example/idtoken"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-abcdef/agent.1"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("PWD", "/work/some/folder"),
    ],
)
def test_what_is_short_common_or_a_place_stays(name: str, value: str) -> None:
    assert get_values(**{name: value}) == ()


def test_values_that_are_shaped_like_tokens_whatever_their_name() -> None:
    assert get_values(MY_THING=HF) == (HF,)
    assert get_values(DATABASE="postgres://ada:pw%2F123456@db/x") == (
        "ada:pw%2F123456", "pw%2F123456", "pw/123456",
    )  # fmt: skip


def test_each_line_of_a_secret_is_one() -> None:
    values = get_values(SIGNING_KEY="first-line-1\nsecond-line-2\n")
    assert "second-line-2" in values
    assert Redactor(values).redact("only second-line-2 here") == "only *** here"


@pytest.mark.parametrize(
    "token",
    [
        HF,
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2_" * 9,
        "glpat-" + "a1B2c3D4e5",
        "sk-proj-" + "a1B2" * 8,
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "xoxb-1234567890-abcdef",
    ],
)
def test_shapes_without_any_environment(token: str) -> None:
    assert Redactor().redact(f"a {token} b") == "a *** b"
    assert Redactor().redact(f"key='{token}',") == "key='***',"
    assert token[1:] not in Redactor().redact(f"a \x1b{token} b")
    assert Redactor().redact(f"a {token[:9]}\x1b[1m{token[9:]}\x1b[0m b") == "a ***\x1b[0m b"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc123def456", "Authorization: Bearer ***"),
        ("authorization: basic YWRhOnB3MTIz", "authorization: basic ***"),
        ("https://ada:pw@host/x", "https://***@host/x"),
        ("ServerArgs(api_key='abc-def-123', tp=8)", "ServerArgs(api_key='***', tp=8)"),
        ('{"password": "abc-def-123"}', '{"password": "***"}'),
        ("?X-Amz-Signature=0a1b2c3d4e5f&x=1", "?X-Amz-Signature=***&x=1"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nnext", "***\nnext"),
    ],
)
def test_shapes_in_their_surroundings(text: str, redacted: str) -> None:
    assert Redactor().redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Loading checkpoint shards: 100%|██████████| 4/4",
        "max_tokens=16, tokenizer='gpt2', api_key=None, password=None",
        "token: 151643 secret sauce, bearer of news",
        "ssh://git@github.com/a/b https://example.org:8000/x git+https://host",
        "task-force-of-sk-learn hf_hub_download hf_transfer asia-northeast1",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "eyJ is how it begins",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor.from_environment({"HF_TOKEN": "s3cr3t-value-1"}).redact(text) == text


@pytest.mark.parametrize("value", ["pa/ss+word&1=", "quo\"te'd-and\\slashed", "grün-und-geheim"])
def test_other_spellings_of_a_value(value: str) -> None:
    redactor = Redactor((value,))
    for text in (value, quote(value, safe=""), json.dumps(value), repr(value)):
        assert value[2:-2] not in redactor.redact(text)
        assert "***" in redactor.redact(text)
    for prefix in (b"", b"a", b"ab:"):
        text = base64.b64encode(prefix + value.encode() + b"!").decode()
        # no more is left than what the neighbours' bits are mixed with
        assert "***" in redactor.redact(text)
        assert len(redactor.redact(text).replace("***", "")) <= 12


def test_value_that_is_no_text() -> None:
    value = os.fsdecode(b"s3cr3t-\xff-value")
    redactor = Redactor.from_environment({"HF_TOKEN": value})
    assert redactor.redact("a s3cr3t-\\xff-value b") == "a *** b"
    assert redactor.values == ("s3cr3t-\\xff-value",)
    assert redactor.reach > 256


JUNK = st.sampled_from(
    ["\n", "\r", "\r\n", "  \n    ", "\x1b[31m", "\x1b[0m", "\x1b]0;t\x07", "\x08", "\x00", ""]
)
VALUE = st.text("abcXYZ0189_-+/=.$", min_size=8, max_size=40)


@settings(max_examples=150, deadline=None)
@given(VALUE, st.data())
def test_secret_split_anywhere_by_anything(value: str, data: st.DataObject) -> None:
    redactor = Redactor((value,))
    junk = data.draw(st.lists(JUNK, min_size=len(value) - 1, max_size=len(value) - 1))
    dense = "".join(map("".join, zip(value, [*junk, ""], strict=True)))
    redacted = redactor.redact(f"«{dense}»")
    assert "«***»" in redacted.replace(value, "")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), VALUE)
@example("\x1b", "", "abcdefgh")  # which swallows the character behind it
@example("\x1b[3", "", "abcdefgh")
@example("\x1b]0;", "", "abcdefgh")
def test_surroundings_of_a_secret_stay(before: str, after: str, value: str) -> None:
    redacted = Redactor((f"<{value}>",)).redact(f"{before}<{value}>{after}")
    assert f"<{value}>" not in redacted
    assert "***" in redacted


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_text_without_secrets_never_changes(text: str) -> None:
    assert Redactor(("a-secret-that-is-not-there",)).redact(text) == text


@pytest.mark.parametrize(
    "text",
    [" " * 250_000, "a" * 250_000 + "://", "eyJ-" * 60_000, "\x1b]" * 100_000, "\n \n" * 80_000,
     "sk-" * 80_000, "-----BEGIN PRIVATE KEY" * 10_000, "secret:" * 40_000, "bearer " * 40_000],
)  # fmt: skip
def test_hostile_text_takes_no_time_to_speak_of(text: str) -> None:
    """A quadratic shape would take minutes here."""
    began = time.monotonic()
    Redactor(("s3cr3t-value",)).redact(text)
    assert time.monotonic() - began < 60


def test_strip_escapes_keeps_tabs_and_line_ends() -> None:
    assert strip_escapes("a\tb\r\n\x1b[2Kc\x07") == "a\tb\r\nc"


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "aws_secret_access_key",
        "GITHUB_PAT",
        "PRIVATEKEY",
        "MY_KEY",
        "COOKIE",
        "TRITON_KEY",
    ],
)
def test_one_rule_says_which_names_are_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["SGLANG_MAX_TOKENS", "MONKEYS", "PWD", "HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM"]
)
def test_names_that_only_look_secret_are_not(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("argv", "written"),
    [
        ("--api-key abc --tp 8", "--api-key *** --tp 8"),
        ("--hf-token=ab --max-tokens 16", "--hf-token=*** --max-tokens 16"),
        ("env HF_TOKEN=xyz server", "env HF_TOKEN=*** server"),
        ("--api-key EMPTY --api-key --tp 8", "--api-key EMPTY --api-key --tp 8"),
        ("--store https://u:pw@h/x?token=abcdef12&x=1", "--store https://***@h/x?token=***&x=1"),
        (
            "--speculative-token-map a/b --dbo-decode-token-threshold 32 --experts-per-token 2",
            "--speculative-token-map a/b --dbo-decode-token-threshold 32 --experts-per-token 2",
        ),
        ("--tokenizer-path /m/t --ssl-keyfile /k", "--tokenizer-path /m/t --ssl-keyfile /k"),
    ],
)
def test_secrets_of_a_command_line(argv: str, written: str) -> None:
    assert Redactor().redact_argv(argv.split()) == tuple(written.split())
    assert Redactor().redact_argv(written.split()) == tuple(written.split()), "again, no change"


def test_a_secret_option_is_blanked_in_text_too() -> None:
    argvs = [["--api-key", "s3cr3t-value", "--hf-token=other-s3cr3t", "--tp", "8"]]
    redactor = Redactor.from_environment({}, argvs=argvs)
    assert redactor.redact("args: s3cr3t-value other-s3cr3t 8") == "args: *** *** 8"


def test_secrets_of_data_and_of_an_environment() -> None:
    redactor = Redactor(("s3cr3t-value",))
    data = {"argv": ["--api-key", "abc"], "more": [{"text": "a s3cr3t-value"}, 1, None, True]}
    assert redactor.redact_data(data) == {
        "argv": ["--api-key", "***"],
        "more": [{"text": "a ***"}, 1, None, True],
    }
    env = {"HF_TOKEN": "x", "STORE": "redis://u:pw@h/0", "TP": "8"}
    assert redactor.redact_env(env) == {"HF_TOKEN": "***", "STORE": "redis://***@h/0", "TP": "8"}
