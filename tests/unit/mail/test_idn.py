"""Domains beyond ASCII, as the DNS has them."""

import pytest

from relay.mail.idn import to_ascii


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("Example.ORG", "Example.ORG"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("_dmarc.例え.jp", "_dmarc.xn--r8jz45g.jp"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a..b", "a..b"),
    ],
)
def test_u_labels_become_a_labels(domain, expected):
    assert to_ascii(domain) == expected


@pytest.mark.parametrize(
    "domain", ["ü" * 64 + ".example", "\u202ea.example", "\ud800.example", "a\u0301\u200d.b"]
)
def test_what_has_no_a_label_is_an_error(domain):
    with pytest.raises(ValueError):
        to_ascii(domain)
