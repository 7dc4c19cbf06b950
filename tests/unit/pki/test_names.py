"""Certificate names in the allowlist: one spelling each, no wildcards."""

import pytest

from relay.errors import ConfigurationError
from relay.pki.names import canonical_uri, parse_name


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("dns:mail.acme.example", "dns:mail.acme.example"),
        ("dns:Mail.ACME.example.", "dns:mail.acme.example"),
        ("dns:bücher.example", "dns:xn--bcher-kva.example"),
        ("uri:spiffe://Acme.example/Billing", "uri:spiffe://acme.example/Billing"),
        ("uri:SPIFFE://acme.example/Billing", "uri:spiffe://acme.example/Billing"),
        ("uri:https://User@Acme.example:8443/A?B#C", "uri:https://User@acme.example:8443/A?B#C"),
        ("uri:URN:uuid:6E8BC430", "uri:urn:uuid:6E8BC430"),
        ("email:Billing@ACME.example", "email:Billing@acme.example"),
        ("ip:192.0.2.1", "ip:192.0.2.1"),
        ("ip:2001:DB8:0:0::1", "ip:2001:db8::1"),
    ],
)
def test_a_name_is_made_canonical(text, canonical):
    assert parse_name(text) == canonical
    assert parse_name(canonical) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "", "mail.acme.example", "dns:", "dns:a b", "dns:-..", "dns:" + "a" * 64, "dns:a." * 100,
        "uri:", "uri:acme", "uri:spiffe://a b", "uri://x", "email:acme.example", "email:a@",
        "email:jürgen@acme.example", "ip:192.0.2.300", "ip:192.0.2.0/24", "cn:acme", "DNS:acme.example",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_a_remedy(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_name(text)
    assert "write it as" in caught.value.remedy


def test_a_wildcard_is_refused_as_such():
    with pytest.raises(ConfigurationError, match="wildcard"):
        parse_name("dns:*.acme.example")


@pytest.mark.parametrize("uri", ["", "no scheme", "1https://A"])
def test_what_is_no_uri_stays_as_it_is(uri):
    assert canonical_uri(uri) == uri


@pytest.mark.parametrize(
    "odd", ["spiffe://ac\nme/a", "spiffe://acme\t/a", "spiffe://acme/a\r", " spiffe://acme/a"]
)
def test_odd_characters_in_a_uri_make_another_name(odd):
    assert canonical_uri(odd) == odd
