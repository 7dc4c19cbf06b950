"""Which certificates of ours clients want an answer beside, and who could give it."""

from types import SimpleNamespace

import pytest
from cryptography import x509

from relay.revocation.ocsp_keeper import Own
from relay.revocation.stapling import (
    demands_staple,
    find_presented,
    own_certificates,
    unmet_demands,
)
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority

ROOT = Authority("Root")
CA = Authority("Issuing", parent=ROOT)
NAMESAKE = Authority("Root")
URL = access_to("http://ocsp.example")
MUST = (x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
V2_ONLY = (x509.TLSFeature([x509.TLSFeatureType.status_request_v2]), False)


def material(*issued, authorities=()):
    pairs = tuple(SimpleNamespace(chain=each.certificates) for each in issued)
    return SimpleNamespace(
        settings=SimpleNamespace(listener=[SimpleNamespace(name="edge")]),
        listeners={"edge": SimpleNamespace(key_pairs=pairs)},
        authorities=[
            SimpleNamespace(
                certificates=(each.certificate,), settings=SimpleNamespace(ocsp_urls=urls)
            )
            for each, urls in authorities
        ],
    )


@pytest.mark.parametrize(
    ("extensions", "expected"), [([], False), ([MUST], True), ([V2_ONLY], False)]
)
def test_which_certificates_demand_an_answer(extensions, expected):
    assert demands_staple(CA.issue("x", extensions=extensions).certificates[0]) is expected


def test_the_ca_is_found_in_the_chain():
    issued = CA.issue("edge", extensions=[URL])
    (found,) = find_presented(material(issued))
    assert found.key == ("listener", 0, "certificate", 0)
    assert found.issuer == CA.certificate
    assert found.urls == ("http://ocsp.example",)


def test_or_in_the_configuration_but_a_namesake_does_not_do():
    issued = ROOT.issue("edge", extensions=[URL])
    assert next(find_presented(material(issued))).issuer is None
    namesake = material(issued, authorities=[(NAMESAKE, ())])
    assert next(find_presented(namesake)).issuer is None
    both = material(issued, authorities=[(NAMESAKE, ()), (ROOT, ())])
    assert next(find_presented(both)).issuer == ROOT.certificate


def test_the_configuration_can_say_where_to_ask():
    issued = CA.issue("edge")
    assert next(find_presented(material(issued))).urls == ()
    found = next(find_presented(material(issued, authorities=[(CA, ("http://c.example",))])))
    assert found.urls == ("http://c.example",)


def test_answers_are_fetched_for_those_that_can_be_asked_about():
    first, second = CA.issue("a", extensions=[URL]), CA.issue("b", extensions=[URL, MUST])
    lonely, silent = ROOT.issue("c", extensions=[URL]), CA.issue("d", extensions=[MUST])
    found = own_certificates(material(first, second, lonely, silent))
    assert found == [
        Own(first.certificates[0], CA.certificate, is_needed=False),
        Own(second.certificates[0], CA.certificate, is_needed=True),
    ]


@pytest.mark.parametrize(("until", "is_unmet"), [(None, True), (99.0, True), (101.0, False)])
def test_a_demand_is_met_by_an_answer_that_counts(until, is_unmet):
    issued = CA.issue("edge", extensions=[URL, MUST])
    shown = {} if until is None else {issued.certificates[0].sha256: until}
    assert len(list(unmet_demands(material(issued), shown, 100.0))) == is_unmet


def test_what_demands_nothing_lacks_nothing():
    assert list(unmet_demands(material(CA.issue("edge", extensions=[URL])), {}, 100.0)) == []
