"""Tag lists: what is one, and what of it its own signature covers."""

from __future__ import annotations

import pytest

from relay.mailauth.tag_list import parse_tag_list, without_signature
from relay.mailauth.verification import Refusal


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"a=1", {b"a": b"1"}),
        (b"a=1;", {b"a": b"1"}),
        (b"a=1; \r\n\t", {b"a": b"1"}),
        (b" a = 1 ;\r\n\tb_2 = x y ", {b"a": b"1", b"b_2": b"x y"}),
        (b"a=;b=1", {b"a": b"", b"b": b"1"}),
        (b"a=b=c==", {b"a": b"b=c=="}),
        (b"A=1; a=2", {b"A": b"1", b"a": b"2"}),
        ("d=bücher.example".encode(), {b"d": "bücher.example".encode()}),
        (b"", {}),
        (b" \r\n ", {}),
    ],
)
def test_a_list_is_read(text, tags):
    assert parse_tag_list(text) == tags


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a=1;;", "malformed tag list"),
        (b";a=1", "malformed tag list"),
        (b"a=1; ;b=2", "malformed tag list"),
        (b"a", "malformed tag list"),
        (b"=1", "malformed tag list"),
        (b"1a=1", "malformed tag list"),
        (b"a b=1", "malformed tag list"),
        (b"a-b=1", "malformed tag list"),
        (b"a=1; b=2; a=1", "tag a= stands there twice"),
        (b"a=\0", "control characters in a tag list"),
        (b"a=1\x0b", "control characters in a tag list"),
        (b"a=\x7f", "control characters in a tag list"),
        (b"a=" + b"x" * 16384, "the tag list is too long"),
    ],
)
def test_a_list_is_refused(text, reason):
    with pytest.raises(Refusal) as refused:
        parse_tag_list(text)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        (b"a=1; b=AAA=; c=2", b"a=1; b=; c=2"),
        (b"a=1; b=\r\n\tAA\r\n\tA= \r\n\t; c=2", b"a=1; b=; c=2"),
        (b"a=1; b = AAA", b"a=1; b ="),
        (b"a=1; b=AAA\r\n", b"a=1; b="),
        (b"b=AAA;bh=BBB", b"b=;bh=BBB"),
        (b"bb=AAA; x=b=1", b"bb=AAA; x=b=1"),
        (b"a=1; B=AAA", b"a=1; B=AAA"),
    ],
)
def test_the_signature_itself_is_not_covered(text, covered):
    assert without_signature(text) == covered
