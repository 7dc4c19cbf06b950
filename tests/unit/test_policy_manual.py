"""The operator's manual: every example of docs/policy.md is a policy that compiles over the defaults."""

import re
import tomllib
from pathlib import Path

import pytest

from relay.policy.tables import LimitTable, ListTable, RuleTable
from relay.policy_files import DEFAULTS, compile_stacks
from tests.kit.command_line import gatepost

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "policy.md").read_text()
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)
EXAMPLES += re.findall(r"<!-- rule -->\n```toml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_compiles(example):
    found = tomllib.loads(example)
    if "listener" in found:
        assert found["listener"][0]["policy"][0] == DEFAULTS
        return
    engine = compile_stacks([(DEFAULTS, "example.toml")], {"example.toml": example}.__getitem__)
    names = {rule.name for rule in engine[DEFAULTS, "example.toml"].rules}
    for rule in found.get("rule", []):
        assert (rule["name"] in names) == rule.get("enabled", True)


def test_examples_ban_strangers_only():
    rules = [rule for example in EXAMPLES for rule in tomllib.loads(example).get("rule", [])]
    bans = [rule["when"] for rule in rules if rule.get("then") == "ban"]
    assert bans
    assert all(when.startswith("!identity.known && ") for when in bans)


def commands():
    """The lines of docs/policy.md and README.md that call `gatepost policy`."""
    return re.findall(r"^gatepost policy [^#\n]*", MANUAL + README, re.MULTILINE)


@pytest.mark.parametrize("line", commands())
def test_options_of_the_commands_shown_are_there(line):
    _, _, command, *words = line.split()
    offered = gatepost("policy", command, "--help").output
    assert all(word in offered for word in words if word.startswith("--"))


@pytest.mark.parametrize(
    "key", [*RuleTable.model_fields, *ListTable.model_fields, *LimitTable.model_fields]
)
def test_every_key_is_in_the_manual(key):
    assert re.search(rf"`{key}\b|^{key} = ", MANUAL, re.MULTILINE)
