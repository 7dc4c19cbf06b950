from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.pki.der import (
    GENERALIZED_TIME,
    INTEGER,
    SEQUENCE,
    UTC_TIME,
    Element,
    read_element,
    read_end,
    read_time,
    wrap,
)


@given(st.binary(max_size=400), st.binary(max_size=5))
def test_what_was_wrapped_is_read(content, behind):
    data = wrap(SEQUENCE, content) + behind
    found = read_element(data, 0, len(data), SEQUENCE)
    assert data[found.content : found.end] == content
    assert data[found.end :] == behind


def test_a_long_element_is_wrapped_with_a_long_length():
    assert wrap(SEQUENCE, bytes(300))[:4] == b"\x30\x82\x01\x2c"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "cut short"),
        (b"\x30", "cut short"),
        (b"\x30\x01", "cut short"),
        (b"\x30\x82\x01", "not DER"),
        (b"\x30\x82\x01\x00" + bytes(255), "cut short"),
        (b"\x30\x80\0\0", "not DER"),
        (b"\x30\x81\x05" + bytes(5), "not DER"),
        (b"\x30\x82\x00\x80" + bytes(128), "not DER"),
        (b"\x30\x89" + bytes(8) + b"\x01\0", "not DER"),
        (b"\x30\xff", "not DER"),
        (b"\x3f\x01\0", "several bytes"),
        (b"\x02\x01\0", "0x02 where 0x30"),
    ],
)
def test_what_is_not_der_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        read_element(data, 0, len(data), SEQUENCE)


def test_an_element_ends_within_what_holds_it():
    data = b"\x30\x03\x02\x05\x00\x00\x00\x00\x00"
    outer = read_element(data, 0, len(data))
    with pytest.raises(ValueError, match="cut short"):
        read_element(data, outer.content, outer.end)


def test_the_last_element_must_be_the_last():
    read_end(Element(INTEGER, 0, 2, 3), 3)
    with pytest.raises(ValueError, match="more than"):
        read_end(Element(INTEGER, 0, 2, 3), 4)


@pytest.mark.parametrize(
    ("tag", "text", "moment"),
    [
        (UTC_TIME, b"491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (UTC_TIME, b"500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (GENERALIZED_TIME, b"20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
        (GENERALIZED_TIME, b"99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(tag, text, moment):
    assert read_time(tag, text) == moment


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (UTC_TIME, b""),
        (UTC_TIME, b"Z"),
        (UTC_TIME, b"4912312359Z"),
        (UTC_TIME, b"491231235959+0100"),
        (UTC_TIME, b"491231235959 "),
        (UTC_TIME, b"49 231235959Z"),
        (UTC_TIME, b"490230000000Z"),
        (UTC_TIME, b"490101240000Z"),
        (UTC_TIME, b"20490101000000Z"),
        (GENERALIZED_TIME, b"20500101000000.5Z"),
        (GENERALIZED_TIME, b"00000101000000Z"),
        (GENERALIZED_TIME, b"500101000000Z"),
        (INTEGER, b"500101000000Z"),
    ],
)
def test_what_is_no_time_of_rfc_5280_is_refused(tag, text):
    with pytest.raises(ValueError):
        read_time(tag, text)
