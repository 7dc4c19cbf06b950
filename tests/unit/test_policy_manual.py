"""The operator's manual: every example of docs/policy.md is a policy that compiles over the defaults."""

import re
import tomllib
from pathlib import Path

import pytest

from relay.policy.tables import ListTable, RuleTable
from relay.policy_files import DEFAULTS, compile_stacks

MANUAL = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_compiles(example):
    found = tomllib.loads(example)
    if "listener" in found:
        assert found["listener"][0]["policy"][0] == DEFAULTS
        return
    engine = compile_stacks([(DEFAULTS, "example.toml")], {"example.toml": example}.__getitem__)
    names = {rule.name for rule in engine[DEFAULTS, "example.toml"].rules}
    for rule in found["rule"]:
        assert (rule["name"] in names) == rule.get("enabled", True)


@pytest.mark.parametrize("key", [*RuleTable.model_fields, *ListTable.model_fields])
def test_every_key_is_in_the_manual(key):
    assert re.search(rf"`{key}\b|^{key} = ", MANUAL, re.MULTILINE)
