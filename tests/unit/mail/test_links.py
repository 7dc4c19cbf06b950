"""Where links lead, in all the spellings that readers and browsers understand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.links import MAX_HOSTS, links_of
from relay.mail.mime import read_structure


def links(text, kind="text/plain", *fields, charset="utf-8"):
    head = "\r\n".join((f"Content-Type: {kind}; charset={charset}", *fields, "", ""))
    message = b"MIME-Version: 1.0\r\n" + head.encode() + (
        text if isinstance(text, bytes) else text.encode(charset)
    )  # fmt: skip
    return links_of(message, read_structure(message))


def names(text, kind="text/plain"):
    return list(links(text, kind).names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no link here, not even http", []),
        ("see https://www.example.org/path?x=y#z.", ["www.example.org"]),
        ("HTTP://EXAMPLE.ORG", ["example.org"]),
        ("ftp://files.example.org/", ["files.example.org"]),
        ("(http://example.org)", ["example.org"]),
        ("http://example.org. And more", ["example.org"]),
        ("<http://example.org>,<http://example.com>", ["example.org", "example.com"]),
        ("http://example.org:8080/", ["example.org"]),
        ("http://user:secret@example.org/", ["example.org"]),
        ("http://good.example@evil.example/", ["evil.example"]),
        ("http://good.example,x;y@evil.example/", ["evil.example"]),
        ("http:\\\\evil.example\\x", ["evil.example"]),
        ("http:////evil.example", ["evil.example"]),
        ("http://evil%2Eexample/", ["evil.example"]),
        ("www.example.org and www2.example.com", ["www.example.org", "www2.example.com"]),
        ("mailto:alice@example.org?subject=x", ["example.org"]),
        ("https://münchen.example/", ["xn--mnchen-3ya.example"]),
        ("https://ｅvil。example/", ["evil.example"]),
        ("http://localhost/ http://a..b/ http://.../ http://-/", []),
        ("http://example.org http://EXAMPLE.org", ["example.org"]),
        ("xhttp://example.org", []),
        ("http://", []),
    ],
)
def test_links_in_plain_text(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<a href="https://example.org/">x</a>', ["example.org"]),
        ("<a href='https://example.org/'>x</a>", ["example.org"]),
        ("<A HREF = https://example.org/>x</A>", ["example.org"]),
        ('<a href="//example.org/x">x</a>', ["example.org"]),
        ('<a href="\\\\example.org/x">x</a>', ["example.org"]),
        ('<a href=" \t\nhttps://example.org">x</a>', ["example.org"]),
        ('<a href="ht\ntp:/\t/exa\r\nmple.org">x</a>', ["example.org"]),
        ('<a href="https:example.org">x</a>', ["example.org"]),
        ('<a href="https&#58;//evil&period;example/">x</a>', ["evil.example"]),
        ('<a href="https://a.example&#64;evil.example">x</a>', ["evil.example"]),
        ('<a href="mailto:a@example.org">x</a>', ["example.org"]),
        ('<img src="https://pixel.example/1.gif">', ["pixel.example"]),
        ('<form action="https://evil.example/login">', ["evil.example"]),
        ("<p>visible https://example.org</p>", ["example.org"]),
        ("<style>@import url(https://style.example/x.css)</style>", ["style.example"]),
        ('<meta http-equiv=refresh content="0;url=https://next.example/">', ["next.example"]),
        ('<a href="#top">x</a><a href="/relative">x</a><a href="cid:1">x</a>', []),
        ('<a href="javascript:alert(1)">x</a>', []),
    ],
)
def test_links_in_html(text, expected):
    assert names(text, "text/html") == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("0xc0000201", "192.0.2.1"),
        ("3221225985", "192.0.2.1"),
        ("0300.0.02.01", "192.0.2.1"),
        ("0xC0.0.0x2.1", "192.0.2.1"),
        ("192.513", "192.0.2.1"),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ("user@192.0.2.1", "192.0.2.1"),
        ("192.0.2.256", None),
        ("1.2.3.4.5", None),
        ("4294967296", None),
        ("09.1.1.1", None),
        ("[nonsense]", None),
        ("0x", "0.0.0.0"),
        ("1" * 21, None),
        ("\u0661.1", None),
    ],
)
def test_addresses(host, expected):
    found = links(f'<a href="http://{host}/">x</a>', "text/html")
    assert [str(address) for address in found.addresses] == ([expected] if expected else [])
    assert found.names == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<a href="https://evil.example/">https://bank.example/login</a>',
         [("bank.example", "evil.example")]),
        ('<a href="https://evil.example/">www.bank.com</a>', [("bank.com", "evil.example")]),
        ('<a href="https://evil.example/">bank.com</a>', [("bank.com", "evil.example")]),
        ('<a href="https://evil.example/"><b>bank</b>.com</a>', [("bank.com", "evil.example")]),
        ('<a href="https://evil.example/">&#98;ank.com</a>', [("bank.com", "evil.example")]),
        ('<a href="http://192.0.2.1/">bank.com</a>', [("bank.com", "192.0.2.1")]),
        ('<a href="https://evil.example/">192.0.2.1</a>', []),
        ('<a href="https://evil.example/">http://192.0.2.1/</a>', [("192.0.2.1", "evil.example")]),
        ('<a href="https://www.bank.com/x">login.bank.com</a>', []),
        ('<a href="https://evil.example/">click here</a>', []),
        ('<a href="https://evil.example/">invoice.pdf</a>', []),
        ('<a href="https://evil.example/">setup.py</a>', []),
        ('<a href="https://evil.example/">bank.com is not in this text alone</a>', []),
        ('<a href="https://evil.example/">Dr. No</a>', []),
        ('<a href="#x">bank.com</a>', []),
        ('<a href="https://evil.example/">bank.com<a href="https://bank.com/">x</a>',
         [("bank.com", "evil.example")]),
        ("<a>bank.com</a>", []),
    ],
)  # fmt: skip
def test_what_a_link_shows_and_where_it_leads(text, expected):
    assert list(links(text, "text/html").mismatches) == expected


def test_mismatches_are_for_html_only():
    assert links('<a href="https://evil.example/">bank.com</a>').mismatches == ()


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16", "utf-7"])
def test_character_sets(charset):
    assert links("https://example.org/", charset=charset).names == ("example.org",)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("base64", b"aHR0cHM6Ly9leGFtcGxlLm9yZy8="),
        ("quoted-printable", b"https=3A//exam=\r\nple.org"),
    ],
)
def test_transfer_encodings(encoding, text):
    found = links(text, "text/plain", f"Content-Transfer-Encoding: {encoding}")
    assert found.names == ("example.org",)


def test_files_of_html_are_read_and_others_are_not():
    html = b'<a href="https://example.org/">x</a>'
    name = 'Content-Disposition: attachment; filename="x"'
    assert links(html, "text/html", name).names == ("example.org",)
    assert links(html, "application/octet-stream", name).names == ()


def test_hosts_without_end_are_not_kept():
    text = " ".join(f"http://h{number}.example/" for number in range(1000))
    assert len(names(text)) == MAX_HOSTS


HOSTILE = [
    "<a ", "<a>", "<a href=http://x.example>www.y.com", 'href="', "href='", "href ", " ", "http://",
    "http://@", "<", "&", "&#x41", "www.", "a.", "href=" + " " * 100, "http:" + "/" * 100, "mailto:",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_take_time_linear_in_their_length(piece):
    begun = time.process_time()
    links(piece * (256 * 1024 // len(piece)), "text/html")
    assert time.process_time() - begun < 1, "measured: below 0.1 s"


@given(
    st.lists(st.sampled_from([*HOSTILE, "evil.example", "/", "@", "%", "[", "]", "é", "\0", ">"]))
)
def test_nothing_is_raised(pieces):
    found = links("".join(pieces), "text/html")
    assert all(name.isascii() and "." in name for name in found.names)
