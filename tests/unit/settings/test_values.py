"""Values as the operator writes them: durations, sizes, networks, endpoints, host names."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Endpoint
from relay.settings.values import (
    format_duration,
    format_size,
    is_host_name,
    parse_duration,
    parse_endpoint,
    parse_network,
    parse_size,
)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0s"), (1, "1ms"), (1500, "1500ms"), (90_000, "90s"), (300_000, "5m"), (7_200_000, "2h"),
     (604_800_000, "7d")],
)  # fmt: skip
def test_durations_are_spelled_as_they_are_read(milliseconds, text):
    value = timedelta(milliseconds=milliseconds)
    assert format_duration(value) == text
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1000, "1kB"), (1024, "1KiB"), (25 * 10**6, "25MB"), (2**30, "1GiB")],
)
def test_sizes_are_spelled_as_they_are_read(size, text):
    assert format_size(size) == text
    assert parse_size(text) == size


@given(st.integers(min_value=0, max_value=10**12))
def test_what_is_formatted_can_be_read(number):
    assert parse_size(format_size(number)) == number
    duration = timedelta(milliseconds=number)
    assert parse_duration(format_duration(duration)) == duration


def test_durations_add_up():
    assert parse_duration("1h30m15s500ms") == timedelta(hours=1, minutes=30, seconds=15.5)


@pytest.mark.parametrize("value", ["", "30", "s", "30 s", "-5s", "1.5h", "30S", 30, None, True])
def test_what_is_no_duration(value):
    with pytest.raises(ValueError, match='; write it as "30s"'):
        parse_duration(value)


def test_a_duration_beyond_all_measure():
    with pytest.raises(ValueError, match="too long; write"):
        parse_duration("9" * 30 + "w")


@pytest.mark.parametrize("value", ["", "x", "1 XB", "-1", "1.5MB", "25mb", None, True, 1.5])
def test_what_is_no_size(value):
    with pytest.raises(ValueError, match='; write it as "25MiB"'):
        parse_size(value)


@pytest.mark.parametrize("value", ["", "x", "10.0.0.1/8", "10.0.0.0/33", None, 5, [1]])
def test_what_is_no_network(value):
    with pytest.raises(ValueError, match='; write it as "192.0.2.0/24"'):
        parse_network(value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1:25", Endpoint("192.0.2.1", 25)),
        ("[2001:db8::1]:465", Endpoint("2001:db8::1", 465)),
        ("[::]:0", Endpoint("::", 0)),
        ("mx.example.org:2525", Endpoint("mx.example.org", 2525)),
        ("mx.example.org", Endpoint("mx.example.org", 25)),
        ("[::1]", Endpoint("::1", 25)),
        ("mx_1", Endpoint("mx_1", 25)),
    ],
)
def test_endpoints(text, endpoint):
    assert parse_endpoint(text, default_port=25) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", ":25", "mx:", "mx:x", "mx:65536", "mx:-1", "a:1:2", "::1", "[::1", "[mx]:25", "[192.0.2.1]:25",
     "1.2.3:25", "256.1.1.1:25", "mx example:25", "-mx:25", "mx-.example:25", "a..b:25", "m\n:25",
     "mx:\u0662\u0665", "user@mx:25", "mx/25"],
)  # fmt: skip
def test_what_is_no_endpoint(text):
    with pytest.raises(ValueError, match="; "):
        parse_endpoint(text, default_port=25)


def test_a_port_may_be_required():
    with pytest.raises(ValueError, match="names no port; write it as"):
        parse_endpoint("192.0.2.1")


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "a.b",
        "a-b.example.org.",
        "xn--bcher-kva.example",
        "b\u00fccher.example",
        "a" * 63,
        "1.example",
    ],
)
def test_host_names(text):
    assert is_host_name(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-a", "a-", "a..b", "192.0.2.1", "a" * 64, ".".join(["a" * 60] * 5), "a b", "a\n"],
)
def test_what_is_no_host_name(text):
    assert not is_host_name(text)
