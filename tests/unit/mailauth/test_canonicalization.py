"""Canonical header fields and bodies, whole and in blocks, against the RFC's words taken literally."""

from __future__ import annotations

import re
import time
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.headers import split
from relay.mailauth import canonicalization
from relay.mailauth.canonicalization import (
    FieldStack,
    body_hash,
    body_start,
    hashing,
    header_hash,
    relaxed_field,
)


@pytest.mark.parametrize(
    ("raw", "relaxed"),
    [
        (b"A: X\r\n", b"a:X\r\n"),  # RFC 6376 3.4.5
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (b"SUBJect:  a  b\t\tc \r\n", b"subject:a b c\r\n"),
        (b"Subject:\r\n folded into nothing\r\n", b"subject:folded into nothing\r\n"),
        (b"Subject:\r\n", b"subject:\r\n"),
        (b"Subject: \t \r\n", b"subject:\r\n"),
        (b"Subject: a:b : c\r\n", b"subject:a:b : c\r\n"),
        (b"Subject: \x0b \xa0\xc2\xa0 \r\n", b"subject:\x0b \xa0\xc2\xa0\r\n"),  # no blanks of ours
        (b"Subject: no end", b"subject:no end\r\n"),
    ],
)
def test_a_field_is_relaxed(raw, relaxed):
    assert relaxed_field(raw) == relaxed


BODIES = [
    # body, simple, relaxed
    (b"", b"\r\n", b""),
    (b"\r\n", b"\r\n", b""),
    (b"\r\n\r\n\r\n", b"\r\n", b""),
    (b" \r\n", b" \r\n", b""),
    (b" \t ", b" \t \r\n", b""),
    (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),  # RFC 6376 3.4.5
    (b"a", b"a\r\n", b"a\r\n"),
    (b"a\r\n", b"a\r\n", b"a\r\n"),
    (b"a \t", b"a \t\r\n", b"a\r\n"),
    (b"a\r\n \r\n\t\r\n", b"a\r\n \r\n\t\r\n", b"a\r\n"),
    (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
    (b"a\r\n\r\n\r\nb\r\n\r\n", b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
    (b"\ta  b\t\tc\r\n", b"\ta  b\t\tc\r\n", b" a b c\r\n"),
    ("ä\xa0 ü\r\n".encode(), "ä\xa0 ü\r\n".encode(), "ä\xa0 ü\r\n".encode()),
]


@pytest.mark.parametrize(("body", "simple", "relaxed"), BODIES)
def test_a_body_is_canonical(body, simple, relaxed):
    for canonical, is_relaxed in ((simple, False), (relaxed, True)):
        found = body_hash(b"A: b\r\n\r\n" + body, 8, relaxed=is_relaxed)
        assert found.length == len(canonical)
        assert found.digests == {None: sha256(canonical).digest()}


def literal_body(body, *, relaxed):
    """RFC 6376 3.4.3 and 3.4.4, step by step."""
    if relaxed:
        body = re.sub(rb"[ \t]+(?=\r\n|\Z)", b"", body)
        body = re.sub(rb"[ \t]+", b" ", body)
    while body.endswith(b"\r\n\r\n"):
        body = body[:-2]
    if body == b"\r\n" or not body:
        return b"" if relaxed else b"\r\n"
    return body if body.endswith(b"\r\n") else body + b"\r\n"


PIECES = st.lists(
    st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"bc", b"\r\n\r\n\r\n", b"    ", b"-- \r\n"]),
    max_size=40,
).map(b"".join)


@given(PIECES, st.booleans(), st.integers(2, 9), st.lists(st.integers(0, 60), max_size=4))
def test_a_body_in_blocks_is_what_the_rfc_says(body, relaxed, block_bytes, lengths):
    literal = literal_body(body, relaxed=relaxed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonicalization, "_BLOCK_BYTES", block_bytes)
        found = body_hash(body, 0, relaxed=relaxed, lengths=set(lengths))
    expected = {n: sha256(literal[:n]).digest() for n in lengths if n <= len(literal)}
    assert found.digests == {None: sha256(literal).digest(), **expected}
    assert found.length == len(literal)


@given(st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a"]), max_size=12).map(b"".join))
def test_relaxing_twice_changes_nothing_more(value):
    value = re.sub(rb"\r\n(?![ \t])", b"", value)
    once = relaxed_field(b"Name:" + value + b"\r\n")
    assert relaxed_field(once) == once


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" * 2_000_000,
        b" \t\r\n" * 1_000_000,
        b" " * 4_000_000,
        b"a\r\n" + b"\r\n" * 2_000_000 + b"b",
        b"\t a" * 1_300_000,
        b"x" * 4_000_000,
    ],
    ids=["empty lines", "blank lines", "one blank line", "gap", "blanks", "one line"],
)
@pytest.mark.parametrize("relaxed", [False, True])
def test_no_body_takes_long(body, relaxed):
    before = time.process_time()
    body_hash(body, 0, relaxed=relaxed, lengths={0, 7, len(body) // 2})
    assert time.process_time() - before < 1.0  # 4 MB; 10 to 60 ms here, quadratic would be minutes


BLOCK = 64 * 1024


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize(
    "line",
    [b"a  line of text \t with  blanks\r\n", b"x" * 76 + b"\r\n", b" \t\r\n"],
    ids=["text", "base64", "blank"],
)
@pytest.mark.parametrize(("size", "steps"), [(60_000, 1), (3_000_000, 46), (20_000_000, 128)])
def test_a_large_body_is_hashed_in_small_steps(line, size, steps, relaxed):
    # One call into C holds the event loop for as long as it takes; and a turn may be long in coming.
    body = line * (size // len(line))
    assert steps - 2 <= sum(1 for _ in hashing(body, 0, relaxed=relaxed)) + 1 <= steps + 1


def test_a_block_is_hardly_larger_than_asked_for():
    lines = b"a  line of text \t with  blanks\r\n" * 100_000
    assert max(map(len, canonicalization._blocks(lines, 0, BLOCK))) <= BLOCK + 998


def test_empty_lines_that_count_are_hashed_in_small_pieces():
    pieces = list(canonicalization._relaxed_body(b"a" + b"\r\n" * 500_000 + b"b\r\n", 0, BLOCK))
    assert max(map(len, pieces)) <= BLOCK + 2


HEADER = (
    b"Received: 1\r\nReceived: 2\r\nSubject: one\r\nreceived: 3\r\nX: \r\n folded\r\n\r\nbody\r\n"
)


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (b"received", [b"received: 3\r\n"]),
        (b"received:received", [b"received: 3\r\n", b"Received: 2\r\n"]),
        (b"received:subject:received:received:received:subject",
         [b"received: 3\r\n", b"Subject: one\r\n", b"Received: 2\r\n", b"Received: 1\r\n"]),
        (b"absent:x", [b"X: \r\n folded\r\n"]),
        (b"", []),
    ],
)  # fmt: skip
def test_fields_are_taken_from_the_bottom_up(names, fields):
    stack = FieldStack.of(split(HEADER))
    assert stack.canonical(names.split(b":"), relaxed=False) == fields
    assert stack.canonical(names.split(b":"), relaxed=True) == list(map(relaxed_field, fields))


def test_a_field_may_be_left_out():
    header = split(HEADER)
    stack = FieldStack.of(header, but=header.fields[3])
    assert stack.count(b"received") == 2
    assert stack.canonical([b"received"], relaxed=False) == [b"Received: 2\r\n"]


def test_the_signature_is_hashed_last_and_without_its_line_end():
    stack = FieldStack.of(split(HEADER))
    own = b"DKIM-Signature: h=subject;\r\n\tb=\r\n"
    assert (
        header_hash(stack, [b"subject"], own, relaxed=False)
        == sha256(b"Subject: one\r\nDKIM-Signature: h=subject;\r\n\tb=").digest()
    )
    assert (
        header_hash(stack, [b"subject"], own, relaxed=True)
        == sha256(b"subject:one\r\ndkim-signature:h=subject; b=").digest()
    )


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (HEADER, b"body\r\n"),
        (b"A: b\r\n\r\n", b""),
        (b"A: b\r\n", b""),
        (b"A: b", b""),
        (b"\r\nbody", b"body"),
        (b"no header\r\n", b"no header\r\n"),
        (b"", b""),
    ],
)
def test_where_the_body_begins(message, body):
    assert message[body_start(split(message)) :] == body


@pytest.mark.parametrize(
    ("spelling", "is_subject"),
    [
        (b"Subject", True), (b"SUBJECT", True), (b"Subject \t", True),
        (b"Subject\xa0", False), (b"Subject\x1c", False), (b"Sub\x01ject", False), (b"Subject\r\n ", False),
    ],
)  # fmt: skip
def test_a_field_counts_by_the_name_that_other_verifiers_see(spelling, is_subject):
    stack = FieldStack.of(split(b"A: b\r\n%b: x\r\nC: d\r\n\r\n" % spelling))
    assert stack.count(b"subject") == is_subject
