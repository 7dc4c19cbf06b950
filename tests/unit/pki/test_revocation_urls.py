from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from relay.pki.revocation_urls import MAX_URLS, crl_urls, delta_urls, ocsp_urls, point_names
from tests.kit.pki import Authority, common_name

if TYPE_CHECKING:
    from relay.pki.certificate import Certificate

CA = Authority()
HTTP = "http://ca.example/ca.crl"


def uris(*urls: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(each) for each in urls]


def points(*names, reasons=None, crl_issuer=None) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint(each, None, reasons, crl_issuer) for each in names]
    )


def leaf(*extensions: x509.ExtensionType) -> Certificate:
    return CA.issue(extensions=[(each, False) for each in extensions]).certificates[0]


def test_a_certificate_that_names_nothing():
    for read in (crl_urls, delta_urls, ocsp_urls):
        assert read(leaf()) == ((), ())


def test_http_is_kept_in_order_and_once():
    found = crl_urls(
        leaf(points(uris(HTTP, "https://ca.example/x"), uris(HTTP, "http://b.example")))
    )
    assert found.usable == (HTTP, "https://ca.example/x", "http://b.example")
    assert found.refused == ()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ldap://ca.example/cn=ca?certificateRevocationList", "LDAP"),
        ("ldaps://ca.example/cn=ca", "LDAP"),
        ("ldap:///cn=ca", "LDAP"),
        ("ftp://ca.example/ca.crl", "not ftp"),
        ("file:///etc/passwd", "not file"),
        ("ca.crl", "not this"),
        ("http:///ca.crl", "no URL"),
        ("http://", "no URL"),
        ("http://[::1/ca.crl", "no URL"),
        ("http://ca.example/a b", "no URL"),
        ("http://ca.example/a\rHost: x", "no URL"),
        ("http://me:secret@ca.example/ca.crl", "user's name"),
    ],
)
def test_what_is_not_fetched_is_named_with_its_reason(url, problem):
    certificate = leaf(points(uris(url, HTTP)))
    found = crl_urls(certificate)
    assert found.usable == (HTTP,)
    assert found.refused[0][0] == url
    assert problem in found.refused[0][1]


def test_lists_of_other_issuers_and_of_some_reasons_are_refused():
    indirect = points(uris(HTTP), crl_issuer=[x509.DirectoryName(common_name("Elsewhere"))])
    assert "indirect" in crl_urls(leaf(indirect)).refused[0][1]
    partial = points(uris(HTTP), reasons=frozenset({x509.ReasonFlags.key_compromise}))
    found = crl_urls(leaf(partial))
    assert found.usable == ()
    assert found.refused == ((HTTP, "a CRL of some reasons only is not accepted"),)


def test_names_that_are_no_urls_are_refused():
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    certificate = leaf(
        x509.CRLDistributionPoints(
            [
                x509.DistributionPoint([x509.DirectoryName(common_name("Here"))], None, None, None),
                x509.DistributionPoint(None, relative, None, None),
            ]
        )
    )
    found = crl_urls(certificate)
    assert found.usable == ()
    assert found.refused == (
        ("dir:CN=Here", "a name, no URL"),
        ("CN=a", "a name in a directory, no URL"),
    )


def test_deltas():
    freshest = x509.FreshestCRL([x509.DistributionPoint(uris(HTTP), None, None, None)])
    assert delta_urls(leaf(freshest)).usable == (HTTP,)


def test_responders():
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS, uris("http://ca.example/ca.crt")[0]
            ),
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, uris("http://ocsp.example")[0]
            ),
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, uris("ldap://ocsp.example")[0]
            ),
        ]
    )
    found = ocsp_urls(leaf(access))
    assert found.usable == ("http://ocsp.example",)
    assert found.refused[0][0] == "ldap://ocsp.example"


def test_no_certificate_makes_us_ask_everywhere():
    many = [uris(f"http://ca.example/{number}") for number in range(200)]
    assert len(crl_urls(leaf(points(*many))).usable) == MAX_URLS


def test_names_of_every_kind_can_be_compared():
    names = [*uris(HTTP), x509.DirectoryName(common_name("x")), x509.DNSName("ca.example")]
    found = point_names(names)
    assert found[:2] == (f"uri:{HTTP}", "dir:CN=x")
    assert len(set(found)) == 3
