"""Host names as lists of domains know them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.domains import ascii_host, list_names, registered_domain


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", "example.com"),
        ("www.example.com", "example.com"),
        ("a.b.c.example.com", "example.com"),
        ("example.co.uk", "example.co.uk"),
        ("www.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("t.co", "t.co"),
        ("www.t.co", "t.co"),
        ("www.info.com", "info.com"),
        ("www.example.de", "example.de"),
        ("www.example.com.xn--p1ai", "example.com.xn--p1ai"),
        ("localhost", "localhost"),
    ],
)
def test_the_registered_domain(host, expected):
    assert registered_domain(host) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", ("example.com",)),
        ("www.example.com", ("example.com", "www.example.com")),
        ("x.evil.blogs.example", ("blogs.example", "evil.blogs.example")),
        ("a.b.example.co.uk", ("example.co.uk", "b.example.co.uk")),
    ],
)
def test_names_to_ask_a_list_for(host, expected):
    assert list_names(host) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("WWW.Example.ORG.", "www.example.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("example\u3002org", "example.org"),
        ("example\uff61org", "example.org"),
        ("\uff45xample.org", "example.org"),
        ("a..b", ""),
        ("", ""),
        ("x" * 64 + ".example", ""),
        ("a." * 127 + "example", ""),
        ("\udcff.example", ""),
    ],
)
def test_names_in_ascii(host, expected):
    assert ascii_host(host) == expected


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_none(text):
    host = ascii_host(text)
    assert host.isascii()
    assert all(host.endswith(name.rpartition(".")[2]) for name in list_names(host))
