"""Addresses, names and parameters by the ABNF, at its edges."""

from __future__ import annotations

import time

import pytest

from relay.smtp import grammar
from relay.smtp.grammar import is_hello_name, is_literal, parse_parameters, read_path

LOCAL_64 = "l" * 64
LABEL_63 = "d" * 63
DOMAIN_255 = f"{LABEL_63}.{LABEL_63}.{LABEL_63}.{LABEL_63}"


@pytest.mark.parametrize(
    ("path", "local", "domain"),
    [
        ("<a@b>", "a", "b"),
        ("<a.b.c@x.example>", "a.b.c", "x.example"),
        ("<!#$%&'*+-/=?^_`{|}~@example.org>", "!#$%&'*+-/=?^_`{|}~", "example.org"),
        ('<""@example.org>', '""', "example.org"),
        ('<"a b"@example.org>', '"a b"', "example.org"),
        (r'<"a\"b\\"@example.org>', r'"a\"b\\"', "example.org"),
        ('<"a@b>"@example.org>', '"a@b>"', "example.org"),
        ('<".."@example.org>', '".."', "example.org"),
        ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
        ("<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]"),
        ("<a@[ipv6:::ffff:192.0.2.1]>", "a", "[ipv6:::ffff:192.0.2.1]"),
        ("<a@[x25:31234567890]>", "a", "[x25:31234567890]"),
        ("<a@3com.example>", "a", "3com.example"),
        ("<a@my_host.example>", "a", "my_host.example"),
        ("<a@xn--bcher-kva.example>", "a", "xn--bcher-kva.example"),
        ("<@relay.example:a@b>", "a", "b"),
        ("<@relay.example,@[192.0.2.1]:a@b>", None, None),
        ("<@one.example,@two.example:a@b>", "a", "b"),
        ("<jürgen@example.org>", "jürgen", "example.org"),
        ('<"jürgen x"@example.org>', '"jürgen x"', "example.org"),
        ("<用户@例子.广告>", "用户", "例子.广告"),
        ("<a@हिन्दी.example>", "a", "हिन्दी.example"),
        (f"<{LOCAL_64}@b>", LOCAL_64, "b"),
        (f"<a@{LABEL_63}.b>", "a", f"{LABEL_63}.b"),
    ],
)
def test_a_path(path: str, local: str | None, domain: str | None) -> None:
    found = read_path(f"FROM:{path} SIZE=1", 5)
    if local is None:
        assert found is None
    else:
        assert found == ((local, domain), 5 + len(path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "<",
        "<>",
        "a@b",
        "<a@b",
        "< a@b>",
        "<a@b >",
        "<a>",
        "<@b>",
        "<a@>",
        "<a@b@c>",
        "<.a@b>",
        "<a.@b>",
        "<a..b@c>",
        "<a b@c>",
        "<a,b@c>",
        "<a(comment)@c>",
        '<"a@b>',
        '<"a"b@c>',
        '<"a\tb"@c>',
        '<"a\\"@c>',
        "<a@b.>",
        "<a@.b>",
        "<a@b..c>",
        "<a@-b>",
        "<a@b-.c>",
        "<a@b!c>",
        f"<a@{LABEL_63}d>",
        "<a@[192.0.2]>",
        "<a@[192.0.2.256]>",
        "<a@[192.0.2.01]>",
        "<a@[::1]>",
        "<a@[IPv6:::1%eth0]>",
        "<a@[IPv6:1::2::3]>",
        "<a@[]>",
        "<a@[ tag:x]>",
        "<a@[tag:]>",
        "<a@[-:x]>",
        "<@b:@c:a@d>",
        "<@b,c:a@d>",
        f"<l{LOCAL_64}@b>",
        f"<{'ü' * 33}@b>",
        f"<a@{DOMAIN_255}>",
        f"<{'@r.example,' * 30}@r.example:a@b>",
        "<a@ex\uff0eample>",
        "<a@\uff45xample>",
        "<a@b\u3002c>",
        "<a@b\u2028c>",
        "<a\u0085b@c>",
        "<a\u2028b@c>",
        "<a@☃.example>",
        "<a@bu\u0308cher.example>",
        "<a@-ü>",
        f"<a@{'ü' * 60}.example>",
        "<\udcff@example.org>",
        "<a\0@b>",
        "<a\x7f@b>",
    ],
)
def test_no_path(path: str) -> None:
    assert read_path(path, 0) is None


@pytest.mark.parametrize(
    "bad",
    [
        "<" + "a." * 5000,
        "<@" + "a,@" * 5000,
        '<"' + "\\a" * 5000,
        "<a@" + "b." * 5000 + "-",
        "<a@" + "b-" * 5000,
        "<" + "@a:" * 5000,
        "<a@[" + "a:" * 5000,
    ],
)
def test_no_input_is_slow(bad: str) -> None:
    start = time.process_time()
    for _ in range(10):
        assert read_path(bad, 0) is None
    assert time.process_time() - start < 0.25


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("client.example", True),
        ("localhost", True),
        ("192.0.2.1", True),  # a Domain by the grammar
        ("[192.0.2.1]", True),
        ("[IPv6:::1]", True),
        ("a" * 63, True),
        (".".join(["a" * 63] * 3 + ["a" * 61]), True),
        ("a" * 64, False),
        (DOMAIN_255 + ".x", False),
        ("my_host", False),
        ("client.example.", False),
        ("-client", False),
        ("[client]", False),
        ("[192.0.2.1", False),
        ("bücher.example", False),
        ("a b", False),
        ("", False),
    ],
)
def test_a_hello_name(name: str, expected: bool) -> None:
    assert is_hello_name(name) is expected


def test_a_literal_has_brackets() -> None:
    assert is_literal("[192.0.2.1]")
    assert not is_literal("192.0.2.1")
    assert not is_literal("[")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" SIZE=10", {"SIZE": "10"}),
        (" size=10  smtputf8 ", {"SIZE": "10", "SMTPUTF8": ""}),
        (" X-Y=a+b<c>", {"X-Y": "a+b<c>"}),
        (" A=ü", {"A": "ü"}),
        (" ", {}),
        ("A=1", None),
        (" A=", None),
        (" =1", None),
        (" -A=1", None),
        (" A=1 a=2", None),
        (" A=1=2", None),
        (" A\t=1", None),
        (" A=\x7f", None),
        (" Ä=1", None),
    ],
)
def test_parameters(text: str, expected: dict[str, str] | None) -> None:
    assert parse_parameters(text) == expected


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (
            grammar.ENVID,
            ["QQ314159", "a+2Bb+3D", "x" * 100, "+41" * 33],
            ["", "a=b", "a+b", "a+2b", "a b", "ü", "x" * 101, "+41" * 34],
        ),
        (
            grammar.ORCPT,
            ["rfc822;a@b", "utf-8;jürgen@b", "x-y;+40", "x;" + "a" * 498],
            ["rfc822", "rfc822;", ";a", "rfc822;a=b", "rfc822;a+4g", "x;" + "a" * 499, "a;b c"],
        ),
        (
            grammar.NOTIFY,
            ["NEVER", "never", "SUCCESS", "Success,FAILURE,delay"],
            ["", "NEVER,DELAY", "SUCCESS,", "SUCCESS, DELAY", "ALWAYS"],
        ),
    ],
)
def test_dsn_values(pattern: object, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert pattern.fullmatch(text), text
    for text in bad:
        assert not pattern.fullmatch(text), text
