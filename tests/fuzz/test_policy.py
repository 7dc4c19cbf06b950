"""Policy files of any kind: either rules, or mistakes with a place; nothing else escapes."""

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import ConfigurationError
from relay.policy_files import compile_stacks

WORDS = [
    "sender.local", "identity.known", "dnsbl.lists", "x", "true", "==", "&&", "||", "!", "in", "(", ")",
    "[", "]", "{", "}", ".", ",", "'a'", '"b"', "matches", "exists", "lists.p.has", "1", "1.5", "?", ":",
    "\n", "\t", "é", "\\", "//", "-", "null", "size", "\0", "r'''",
]  # fmt: skip
CONDITIONS = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
)
TOML_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def read(text):
    try:
        return compile_stacks([("p.toml",)], {"p.toml": text}.__getitem__)
    except ConfigurationError as error:
        for mistake in (error, *error.others):
            assert mistake.line is None or mistake.line >= 1
            assert "\n" not in mistake.problem
            assert str(mistake).startswith("p.toml:")


@settings(deadline=None)
@given(CONDITIONS)
def test_any_condition(condition):
    rule = {"name": "r", "at": "message", "when": condition, "then": "accept"}
    try:
        text = tomlkit.dumps({"rule": [rule], "lists": {"p": {"values": []}}})
    except ValueError:  # what TOML has no spelling for
        return
    read(text)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "name",
                "at",
                "when",
                "then",
                "reply",
                "header",
                "value",
                "duration",
                "prefix",
                "mode",
                "on_error",
                "enabled",
                "x",
            ]
        ),  # fmt: skip
        st.one_of(st.integers(-9, 99), st.booleans(), TOML_TEXT, st.lists(TOML_TEXT, max_size=2)),
    ),
    TOML_TEXT,
)
def test_any_rule(rule, reply):
    whole = {"name": "r", "at": "sender", "when": "true", "then": "reject", "reply": reply} | rule
    read(tomlkit.dumps({"rule": [whole, rule]}))


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text(text):
    read(text)
