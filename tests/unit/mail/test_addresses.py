"""Address lists are read in full or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.addresses import parse_address_list
from relay.model import Address

READABLE = {
    "alice@example.org": ["alice@example.org"],
    "<alice@example.org>": ["alice@example.org"],
    "Alice <alice@example.org>": ["alice@example.org"],
    "Alice Q. Public <alice@example.org>": ["alice@example.org"],
    '"Public, Alice" <alice@example.org>': ["alice@example.org"],
    '"say \\"hi\\" <x@y>" <alice@example.org>': ["alice@example.org"],
    "=?utf-8?q?J=C3=BCrgen?= <alice@example.org>": ["alice@example.org"],
    "Jürgen <alice@example.org>": ["alice@example.org"],
    "J\udcfcrgen <alice@example.org>": ["alice@example.org"],  # Latin-1 in a display name
    "jürgen@bücher.example": ["jürgen@bücher.example"],
    "alice@example.org, Bob <bob@example.net>": ["alice@example.org", "bob@example.net"],
    ", alice@example.org,, bob@example.net ,": ["alice@example.org", "bob@example.net"],
    "Board: alice@example.org, Bob <bob@example.net>;": ["alice@example.org", "bob@example.net"],
    "Board: alice@example.org;, carol@example.org": ["alice@example.org", "carol@example.org"],
    "(a comment) alice@example.org (with (another) in it)": ["alice@example.org"],
    "alice(\\) still inside)@example.org": ["alice@example.org"],
    "alice . smith @ example . org": ["alice.smith@example.org"],
    '"alice smith"@example.org': ['"alice smith"@example.org'],
    '"a@b"@example.org': ['"a@b"@example.org'],
    "alice@[192.0.2.1]": ["alice@[192.0.2.1]"],
    "alice@[IPv6:2001:db8::1]": ["alice@[IPv6:2001:db8::1]"],
    "<@relay.example,@other.example:alice@example.org>": ["alice@example.org"],
    "a+b=c/d!e{f}~g@example.org": ["a+b=c/d!e{f}~g@example.org"],
    "a=b?c=?d@example.org": ["a=b?c=?d@example.org"],  # no encoded word
    # Specials in a display name without quotes: no standard allows them, much software writes them.
    "[x] <alice@example.org>": ["alice@example.org"],
    "Alice [ACME] <alice@example.org>": ["alice@example.org"],
    "Alice (Sales) [ACME]<alice@example.org> ": ["alice@example.org"],
    "renovate[bot] <alice@example.org>": ["alice@example.org"],
    "Jürgen [x]\t<alice@bücher.example>": ["alice@bücher.example"],
    "J\udcfcrgen [x] <alice@example.org>": ["alice@example.org"],
    "AC\\ME <alice@example.org>": ["alice@example.org"],
    '\\"Alice\\" <alice@example.org>': ["alice@example.org"],
    'Alice "3.5" [ACME] <alice@example.org>': ["alice@example.org"],
    "alice) <alice@example.org>": ["alice@example.org"],
    # In a display name without quotes: whoever reads the message sees it.
    "ceo@bank.example <alice@example.org>": ["ceo@bank.example", "alice@example.org"],
}

UNREADABLE = [
    # What is open some close at the end: then there is nothing but a name without a domain.
    "Alice (Sales <alice@example.org>",
    "Alice) ((Sales) <alice@example.org>",
    '3.5" disks <alice@example.org>',
    '"Alice <alice@example.org>',
    "",
    "()",
    "alice",
    "alice@",
    "@example.org",
    "alice@example.org bob@example.net",
    "alice@example.org <",
    "Alice <alice@example.org",
    "Alice alice@example.org>",
    "<alice@example.org> trailing",
    "<alice@example.org> <bob@example.net>",
    "<<alice@example.org>>",
    "alice@ceo@example.org",
    "a@b@c <alice@example.org>",
    "alice..smith@example.org",
    ".alice@example.org",
    "alice.@example.org",
    "alice@example..org",
    "alice@example.org.",
    'alice@"example.org"',
    "alice@[192.0.2.1].org",
    '"alice@example.org',
    "alice@example.org (unclosed",
    "Board: alice@example.org",
    "Board: Inner: alice@example.org;;",
    "alice@example.org;",
    ": alice@example.org;",
    "a@b: alice@example.org;",
    "undisclosed-recipients:;",
    "Board: alice@example.org; bob@example.net",
    "<x:alice@example.org>",
    "<@a;@b:alice@example.org>",
    "<>",
    "Alice <>",
    "alice\\@example.org",
    "al\x00ice@example.org",
    "ali\udcffce@example.org",
    '"ali\udcffce"@example.org',
    '"a\tb"@example.org',
    # Encoded words: whoever decodes them first reads ceo@bank.example (RFC 2047 5).
    "=?utf-8?q?ceo=40bank.example?=@example.org",
    "<=?utf-8?q?ceo=40bank.example=3e?=@example.org>",
    '"=?utf-8?q?ceo=40bank.example?="@example.org',
    "Alice <alice@=?utf-8?q?bank.example?=.example.org>",
    "=?utf-8?q?ceo=40bank.example?=",
    "Alice [x] <=?utf-8?q?ceo=40bank.example?=@example.org>",
    # Addresses in comments, which some readers take for the real one.
    "alice@example.org (ceo@bank.example)",
    "alice@example.org (<ceo@bank.example>)",
    "(<ceo@bank.example>) <alice@example.org>",
    "Alice (a (ceo@bank.example) b) <alice@example.org>",
    "<alice(@bank.example)@example.org>",
    # Specials without quotes, and more than one address for somebody who reads them otherwise.
    "ceo@bank.example [x] <alice@example.org>",
    "[ceo@bank.example] <alice@example.org>",
    "(ceo@bank.example) [x] <alice@example.org>",
    "(ceo@bank.example [x] <alice@example.org>",
    '"ceo@bank.example [x] <alice@example.org>',
    '"ceo@bank.example" [x] <alice@example.org>',
    "\\ceo@bank.example <alice@example.org>",
    '=?utf-8?q?ceo=40bank.example?=" <alice@example.org>',
    "=?utf-8?q?ceo=40bank.example?=\\ <alice@example.org>",
    "=?utf-8?q?ceo=40bank.example?= [x] <alice@example.org>",
    "[x] <ceo@bank.example> <alice@example.org>",
    "[x] <ceo@bank.example>, <alice@example.org>",
    "[x] <ceo> <alice@example.org>",
    "ceo, Alice [x] <alice@example.org>",  # somebody may make it ceo@ their own domain
    "Doe, Alice <alice@example.org>",
    "[x]: Alice <alice@example.org>",
    "[x]: Alice <alice@example.org>;",
    "[x]; Alice <alice@example.org>",
    "[x] <alice@example.org> ceo",
    "[x] <alice@example.org> (ceo",
    "[x] <@bank.example:alice@example.org>",
    "[x] <alice@bank.example@example.org>",
    "[x] <alice(@)@example.org>",
    '[x] <"alice"@example.org>',
    "[x] <alice@[192.0.2.1]>",
    "[x] <alice @example.org>",
    "[x] <alice@example.org.>",
    "[x] <alice..smith@example.org>",
    "[x] <alice>",
    "[x] alice@example.org",
    "[x]\x00<alice@example.org>",
    "[x]\x0b<alice@example.org>",
    "[x] <al\x00ice@example.org>",
    "[x] <ali\udcffce@example.org>",
    "[x] <alice@exa\u200bmple.org>",
]


@pytest.mark.parametrize(("text", "expected"), READABLE.items())
def test_lists_that_can_be_read(text: str, expected: list[str]) -> None:
    found = parse_address_list(text)
    assert found is not None
    assert [str(address) for address in found] == expected


@pytest.mark.parametrize("text", UNREADABLE)
def test_lists_that_can_not_be_read_in_full_give_nothing(text: str) -> None:
    assert parse_address_list(text) is None


@given(st.text(alphabet='ab@<>:;,."\\()[] \té\udcff\x00', max_size=60))
def test_nothing_is_raised_and_what_is_read_is_an_address(text: str) -> None:
    for address in parse_address_list(text) or ():
        assert isinstance(address, Address)
        assert address.local
        assert address.domain
        assert str(address).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 8000,
        "[" * 8000 + "<a@b>",
        "[<" + "a." * 4000,
        "[<" + "a" * 8000 + "@",
        "[<a@" + "b." * 4000,
        "=?" * 4000 + "@b",
        "=?" * 100 + "@b",
        "(" * 100_000,
        '"' + "\\" * 100_000,
        "a@b," * 30_000,
        "a " * 99_999,
    ],
)
def test_hostile_lengths_take_linear_time(text: str) -> None:
    parse_address_list(text)


def test_a_list_that_would_take_long_is_not_read() -> None:
    """Reading it holds up everybody else: a quarter of a megabyte took half a second."""
    assert len(parse_address_list("a@b, " * 1600) or ()) == 1600
    assert parse_address_list("a@b, " * 1700) is None
