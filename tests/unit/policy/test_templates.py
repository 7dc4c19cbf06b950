"""Texts with facts in them: whatever a client sends, a reply stays one line of printable ASCII."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.facts import Missing
from relay.policy.templates import TemplateMistake, parse_reply, parse_template
from relay.smtp.replies import format_reply

VALUES = st.one_of(
    st.text(),
    st.text(st.characters(codec=None, categories=["Cs", "Cc", "Zl", "Zp", "Lu"])),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text()).map(tuple),
    st.builds(Missing, st.text()),
)


@given(VALUES, VALUES)
def test_no_value_can_add_a_line_or_make_one_too_long(sender, other):
    template = parse_reply("550 5.7.1 {sender.domain} may not write as {identity.name}, sorry")
    reply = template.render({"sender.domain": sender, "identity.name": other})
    line = format_reply(reply._replace(lines=(f"{reply.lines[0]} (ref ABCDEFGHJKLM)",)))
    assert line.count(b"\r\n") == 1
    assert line.endswith(b" (ref ABCDEFGHJKLM)\r\n"), "the reference is never cut off"
    assert len(line) <= 512
    assert all(0x20 <= byte <= 0x7E for byte in line[:-2])
    assert line.startswith(b"550 5.7.1 ")


@given(st.lists(VALUES, min_size=4, max_size=4))
def test_a_text_of_many_values_is_bounded(values):
    names = [f"a.f{number}" for number in range(4)]
    text = " and ".join(f"{{{name}}}" for name in names) * 3
    rendered = parse_template(text).render(dict(zip(names, values, strict=True)))
    assert len(rendered) <= 400
    assert rendered.isascii()
    assert rendered.isprintable() or not rendered


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("acme", "acme"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        (("a", "b"), "a, b"),
        ((), ""),
        (Missing("timeout"), "(unknown)"),
        ("a\r\n250 ok", "a??250 ok"),
        ("müller", "m?ller"),
        ("a\x00b\x7f", "a?b?"),
        ("{x}", "{x}"),
        ("y" * 101, "y" * 97 + "..."),
    ],
)
def test_a_value_is_shown(value, shown):
    assert parse_template("<{a.b}>").render({"a.b": value}) == f"<{shown}>"


def test_braces_are_doubled():
    assert parse_template("{{{a.b}}} {{}}").render({"a.b": "x"}) == "{x} {}"


@given(st.text())
def test_what_is_no_template_is_told(text):
    found = told(parse_template, text)
    if isinstance(found, TemplateMistake):
        assert 0 <= found.offset <= len(text)
    else:
        assert len(found.pieces) == len(found.facts) + 1


@given(st.text())
def test_what_is_no_reply_is_told(text):
    found = told(parse_reply, text)
    if isinstance(found, TemplateMistake):
        assert 0 <= found.offset <= max(len(text), 3)
    else:
        assert found.enhanced[0] == str(found.code)[0]


def told(parse, text):
    """What a parser makes of a text, or the mistake that it tells of."""
    try:
        return parse(text)
    except TemplateMistake as mistake:
        return mistake
