"""Text out of bytes, also out of bytes that are none."""

from __future__ import annotations

import encodings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.charsets import decode, decode_base64, decode_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("=?utf-8?B?R3LDvMOfZQ==?=", "Grüße"),
        ("=?UTF-8?q?Gr=C3=BC=C3=9Fe_an_alle?=", "Grüße an alle"),
        ("=?iso-8859-1*de?Q?Gr=FC=DFe?=", "Grüße"),
        ("=?utf-8?B?aW52b2ljZS4=?= =?utf-8?B?ZXhl?=", "invoice.exe"),
        ("=?utf-8?B?aW52b2ljZS4=?=exe", "invoice.exe"),
        ("a =?utf-8?Q?b?= c", "a b c"),
        ("=?utf-8?B?aW52b2ljZS5leGU?=", "invoice.exe"),
        ("=?utf-8?B?!!!?=", ""),
        ("=?nonsense?Q?a?=", "a"),
        ("=?utf-8?Q?=FF?=", "\ufffd"),
        ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
        ("=?utf-8?Q?a", "=?utf-8?Q?a"),
        ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
    ],
)
def test_encoded_words(text, expected):
    assert decode_words(text) == expected


@pytest.mark.parametrize(
    "charset",
    ["zlib", "hex", "rot13", "idna", "punycode", "unicode_escape", "undefined", "\0", "x.y"],
)
def test_what_is_no_character_set_of_mail_is_utf_8(charset):
    assert decode(b"gr\xc3\xbc\xc3\x9fe", charset) == "grüße"


def test_unknown_names_leave_nothing_behind():
    before = len(encodings._cache)
    for number in range(100):
        decode(b"x", f"hostile-{number}")
    assert len(encodings._cache) == before


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"SGVsbG8=", b"Hello"),
        (b"SGVs\r\nbG8=\r\n", b"Hello"),
        (b"SGVsbG8", b"Hello"),
        (b"S G-V!s*bG8", b"Hello"),
        (b"SGVsbG8=SGk=", b"Hello\x01"[:5] + decode_base64(b"SGVsbG8SGk")[5:]),
        (b"A", b""),
        (b"", b""),
        (b"\xff\xfe====", b""),
    ],
)
def test_base64_as_lenient_readers_take_it(data, expected):
    assert decode_base64(data) == expected


@given(st.binary(max_size=200), st.text(max_size=20))
def test_nothing_is_raised(data, charset):
    decode(data, charset)
    decode_base64(data)
    decode_words(data.decode("utf-8", "surrogateescape"))
