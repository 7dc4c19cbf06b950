"""dkimpy beside us: what it signs passes here, what we sign passes there, and changes break both alike."""

from __future__ import annotations

import logging
import re

import dkim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relay.mail.headers import split
from relay.mailauth.canonicalization import FieldStack, body_start
from relay.mailauth.signing import SigningKey, SigningStyle, sign
from tests.kit.clock import FakeClock
from tests.kit.dkim import pem, record, rsa_key, verified

NOW = FakeClock().now()  # dkimpy has a clock of its own
KEY = rsa_key(1024)  # dkimpy does its arithmetic itself: 7 ms a signature with 2048
RECORD = record(KEY)
SIGNER = SigningKey("example.org", "s1", KEY)
QUIET = logging.getLogger("dkimpy")
QUIET.disabled = True

BLANKS = st.sampled_from([" ", "  ", "\t", "\r\n ", "\r\n\t ", ""])
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=6)
VALUES = st.lists(st.tuples(BLANKS, WORDS), min_size=1, max_size=5).map(
    lambda pieces: "".join(blank + word for blank, word in pieces)
)
NAMES = st.sampled_from(["Subject", "To", "tO", "Cc", "Date", "Message-ID", "X-Other", "List-Id"])
LINES = st.lists(st.sampled_from(["", " ", "\t", "a  b", " c \t", "d", "--", "ü"]), max_size=8)
FORMS = st.sampled_from(["simple", "relaxed"])


@st.composite
def messages(draw):
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    fields.insert(draw(st.integers(0, len(fields))), ("From", " alice@example.org"))
    header = "".join(f"{name}:{value}\r\n" for name, value in fields)
    # A folded line of nothing but blanks is one of the points on which readers differ.
    assume(not re.search(r"\r\n[ \t]*\r\n", header))
    end = draw(st.sampled_from([".", "\r\n", "\r\n\r\n\r\n"]))
    body = "\r\n".join(draw(LINES))
    return f"{header}\r\n{body}{end}".encode()


def passes_here(message):
    (found,) = verified(message, RECORD, now=NOW)
    return found.result == "pass"


def passes_there(message):
    return dkim.verify(message, logger=QUIET, dnsfunc=lambda name, timeout=5: RECORD.encode())


@settings(max_examples=60, deadline=None)
@given(messages(), FORMS, FORMS)
def test_what_dkimpy_signs_passes_here(message, header, body):
    field = dkim.sign(
        message, b"s1", b"example.org", pem(KEY), canonicalize=(header.encode(), body.encode()),
        logger=QUIET,
    )  # fmt: skip
    assert passes_here(field + message)


def ours(message, header, body):
    block = split(message)
    style = SigningStyle(relaxed_header=header == "relaxed", relaxed_body=body == "relaxed")
    return sign(FieldStack.of(block), message, body_start(block), [SIGNER], NOW, style=style)


@settings(max_examples=60, deadline=None)
@given(messages(), FORMS, FORMS)
def test_what_we_sign_passes_there(message, header, body):
    assert passes_there(ours(message, header, body) + message)


CHANGES = st.sampled_from(
    ["", " ", "\t", "\r\n", "x", "\r\n ", "\r\n\r\n", "From: m@example.net\r\n"]
)


@settings(max_examples=200, deadline=None)
@given(messages(), FORMS, FORMS, st.tuples(st.integers(0, 2**16), st.integers(0, 3), CHANGES))
def test_a_change_breaks_both_or_none(message, header, body, damage):
    place, length, change = damage
    at = place % (len(message) + 1)
    changed = message[:at] + change.encode() + message[at + length :]
    # Only what our framing lets through: CRLF line ends, and a header of well-formed fields.
    assume(not re.search(rb"\r(?!\n)|(?<!\r)\n", changed))
    # Blanks at the end of a last line without CRLF: dkimpy leaves them in, opendkim takes them out, as we do.
    assume(not changed.endswith((b" ", b"\t")))
    block = split(changed)
    fields = [changed[each.start : each.stop] for each in block.fields]
    assume(fields and all(re.match(rb"[!-9;-~]+:", raw) for raw in fields))
    assume(not re.search(rb"\r\n[ \t]*\r\n", changed[: block.end]))
    assume(
        not re.search(rb"(^|\n)[!-9;-~]+[ \t]+:", changed[: block.end])
    )  # obsolete, no field there
    field = ours(message, header, body)
    assert passes_here(field + changed) == passes_there(field + changed)
