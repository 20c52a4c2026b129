from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.caches.caches import write_deep_gemm
from warmup.caches.hazards.rule import Facts
from warmup.caches.hazards.rules import RULES, find_hazards, get_rule
from warmup.caches.walk import take_snapshot
from warmup.words.errors import UsageError
from warmup.words.names import FAMILY_NAMES


def test_every_rule_says_what_it_is() -> None:
    for rule in RULES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.id)
        assert rule.summary and "\n" not in rule.summary
        assert rule.link.startswith("https://github.com/")
        assert (rule.repair is None) == (rule.fix == "")
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_every_rule_has_a_fixture_in_the_tests() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [rule.id for rule in RULES if f'"{rule.id}"' not in texts] == []


def test_an_unknown_rule_is_a_users_error() -> None:
    with pytest.raises(UsageError):
        get_rule("no-such-rule")


def test_all_families_of_a_host_are_looked_at(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    write_deep_gemm(tmp_path / ".deep_gemm", cubin=b"")
    found = list(find_hazards(take_snapshot(FAMILY_NAMES, env), Facts(env=env)))
    assert {each.rule for each in found} == {"cubin-broken", "root-volatile"}
