"""What is in a list, by its kind."""

import pytest

from relay.errors import ConfigurationError
from relay.policy.lists import ListKind, NamedList, parse_entries


@pytest.mark.parametrize(
    ("kind", "entries", "inside", "outside"),
    [
        ("exact", ["Lottery", "a b"], ["lottery", "LOTTERY", "a b"], ["lotter", "", "a"]),
        ("exact", [], [], ["", "x"]),
        (
            "domain",
            ["example.org", "*.corp.example", ".net.example", "bücher.example", "TEST"],
            [
                "example.org", "EXAMPLE.org.", "a.b.example.org", "corp.example", "x.corp.example",
                "net.example", "xn--bcher-kva.example", "mail.bücher.example", "a.test",
            ],
            ["notexample.org", "org", "", ".", "example.org.evil.example", "user@example.org"],
        ),
        (
            "network",
            ["192.0.2.0/24", "203.0.113.9", "2001:db8::/32"],
            ["192.0.2.1", "203.0.113.9", "::ffff:192.0.2.1", "2001:db8:1::1"],
            ["192.0.3.1", "203.0.113.8", "", "/run/x.sock", "192.0.2", "example.org"],
        ),
    ],
)  # fmt: skip
def test_in_it_or_not(kind, entries, inside, outside):
    listed = NamedList(ListKind(kind), entries)
    assert [text for text in inside if not listed.has(text)] == []
    assert [text for text in outside if listed.has(text)] == []


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("domain", "a@b.example"),
        ("domain", ""),
        ("domain", "a b"),
        ("network", "192.0.2.1/24"),
        ("network", "example.org"),
    ],
)
def test_an_entry_of_another_kind_is_refused(kind, entry):
    with pytest.raises(ConfigurationError, match="is no "):
        NamedList(ListKind(kind), [entry])


def test_a_file_of_entries():
    text = "# partners\n\na.example\r\n  b.example  # since May\n#c.example"
    assert parse_entries(text) == [(3, "a.example"), (4, "b.example")]
