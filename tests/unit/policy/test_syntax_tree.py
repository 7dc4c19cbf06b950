"""What the library's serialised trees say."""

import pytest
from cel_expr_python import cel

from relay.policy.syntax_tree import Call, read_tree

ENVIRONMENT = cel.NewEnv(
    variables={
        "a.text": cel.Type.STRING,
        "a.number": cel.Type.INT,
        "a.part": cel.Type.DOUBLE,
        "a.texts": cel.Type.List(cel.Type.STRING),
    },
)


def tree(text):
    return read_tree(ENVIRONMENT.compile(text).serialize())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("true", set()),
        ('a.text == "a.number"', {"a.text"}),
        (" a . text == 'x' // a.number", {"a.text"}),
        ("a.number > -1 && a.number < 12345678901 && a.part > 1.5e300", {"a.number", "a.part"}),
        ("a.texts.exists(x, x == a.text)", {"a.texts", "a.text"}),
        ("a.number > 0 ? a.text == 'x' : a.part > 0.0", {"a.text", "a.number", "a.part"}),
        ("a.text in [a.text, 'x'] || [a.text, 'y'][0] == 'y'", {"a.text"}),
    ],
)
def test_variables(text, names):
    facts = {"a.text", "a.number", "a.part", "a.texts"}
    assert tree(text).variables & facts == names


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("a.text.matches('^x$')", "^x$"),
        ("matches(a.text, 'é')", "é"),
        ("true || (a.texts.exists(t, t.matches('in a loop')))", "in a loop"),
        ("[a.text.matches('in a list')][0]", "in a list"),
        ("a.text.matches(a.text)", None),
        ("a.text.matches('x' + a.text)", None),
    ],
)
def test_the_pattern_of_a_call(text, pattern):
    assert Call("matches", pattern) in tree(text).calls


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("true", 0),
        ("a.texts.exists(x, x == 'x') && a.texts.all(y, y == 'y')", 1),
        ("a.texts.exists(x, a.texts.all(y, x == y))", 2),
        ("a.texts.filter(x, x == 'x').exists(y, y == 'x')", 2),
        ("a.texts.map(x, a.texts.map(y, x + y)).size() > 0", 2),
    ],
)
def test_how_deep_loops_are_nested(text, depth):
    assert tree(text).loop_depth == depth
