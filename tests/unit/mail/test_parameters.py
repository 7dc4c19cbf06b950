"""Values with parameters: the forms of RFC 2045, 2231 and 2047, and the forms that attackers use."""

from __future__ import annotations

import pytest

from relay.mail.parameters import MAX_VALUE_BYTES, parse_parameterized


@pytest.mark.parametrize(
    ("raw", "value", "parameters"),
    [
        (b"text/plain", "text/plain", {}),
        (b" Text/PLAIN ;Charset=UTF-8", "text/plain", {"charset": ("UTF-8",)}),
        (b'a/b; x="1;2\\"3"; y=4', "a/b", {"x": ('1;2"3',), "y": ("4",)}),
        (b'a/b;\r\n\tboundary="b b"', "a/b", {"boundary": ("b b",)}),
        (b"a/b (a comment; x=1); y=2", "a/b", {"y": ("2",)}),
        (b"", "", {}),
        (b";;;", "", {}),
        (b"a/b; x=", "a/b", {"x": ("",)}),
        # RFC 2231 3 and 4, the RFC's own examples
        (b'message/external-body; access-type=URL; URL*0="ftp://";\r\n URL*1="cs.utk.edu/x.tar"',
         "message/external-body", {"url": ("ftp://cs.utk.edu/x.tar",), "access-type": ("URL",)}),
        (b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
         "application/x-stuff", {"title": ("This is ***fun***",)}),
        ((b"application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n"
         b' title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn\'t it!"'),
         "application/x-stuff", {"title": ("This is even more ***fun*** isn't it!",)}),
        (b"a/b; name*1*=.exe; name*0*=utf-8''%E2%82%AC", "a/b", {"name": ("\u20ac.exe",)}),
        (b"a/b; name*=nonsense''%41", "a/b", {"name": ("A",)}),
        (b"a/b; name*=%41%zz", "a/b", {"name": ("A%zz",)}),
        (b'a/b; name="=?utf-8?B?aW52b2ljZS5leGU=?="', "a/b", {"name": ("invoice.exe",)}),
        (b'a/b; name="\xc3\xa4.exe"', "a/b", {"name": ("ä.exe",)}),
    ],
)  # fmt: skip
def test_values(raw, value, parameters):
    found = parse_parameterized(raw)
    assert (found.value, found.parameters, found.defects) == (value, parameters, ())


@pytest.mark.parametrize(
    ("raw", "name", "values", "defects"),
    [
        (b"attachment; filename=a.txt; filename*=utf-8''b.exe", "filename",
         ("b.exe", "a.txt"), {"two_values"}),
        (b"attachment; filename=a.txt; filename=b.exe", "filename",
         ("a.txt", "b.exe"), {"two_values"}),
        (b"attachment; filename=a.txt; filename=a.txt", "filename", ("a.txt",), set()),
        (b"attachment; filename*0=a; filename*0=b", "filename", ("a",), {"two_values"}),
        (b"attachment; filename*0=a; filename*2=.exe", "filename", ("a.exe",), {"lost_piece"}),
        (b"attachment; filename*1=a.exe", "filename", ("a.exe",), {"lost_piece"}),
        (b"attachment; filename=a b.exe", "filename", ("a b.exe",), {"unquoted_blank"}),
        (b"attachment; filename=report (1).pdf; size=3", "filename", ("report (1).pdf",),
         {"unquoted_blank"}),
        (b"attachment; filename=a.exe; x", "filename", ("a.exe",), {"bad_parameter"}),
        (b'attachment; filename="a.exe', "filename", ("a.exe",), {"unclosed_quote"}),
        (b"attachment; =; nonsense; filename=a.exe", "filename", ("a.exe",), {"bad_parameter"}),
        (b'attachment; filename="a.exe" trailing; x=y', "filename", ("a.exe",), set()),
    ],
)  # fmt: skip
def test_what_readers_may_read_differently(raw, name, values, defects):
    found = parse_parameterized(raw)
    assert found.parameters[name] == values
    assert set(found.defects) == defects


def test_a_value_without_end_is_cut_off():
    found = parse_parameterized(b"a/b; x=" + b"y" * 1_000_000)
    assert found.defects == ("long_value",)
    assert len(found.first("x")) < MAX_VALUE_BYTES


def test_pieces_without_end_are_not_kept():
    raw = b"a/b" + b"".join(b";x*%d=y" % number for number in range(1000))
    assert parse_parameterized(raw).first("x") == "y" * 100
