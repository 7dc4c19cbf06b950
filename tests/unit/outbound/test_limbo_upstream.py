"""C2SP's x509-limbo and Netflix's bettertls as published: what a next hop may present, and its name.

The cases are not ours and not part of the project: `../shared/vectors`, or the folder that
`GATEPOST_VECTORS` names. docs/x509-limbo.md has the figures, and why we differ where we do.
"""

import time
from datetime import UTC, datetime

import pytest

from relay.outbound.security import objection_to_server
from relay.pki.certificate import MalformedCertificate, parse_pem_chain
from relay.pki.chain import MAX_DEPTH, Anchors
from relay.pki.server_names import vouches_for_server
from tests.kit.vectors import needs_vectors, read_vectors

VECTORS = "limbo-upstream.json.gz"
SCORED = {"core", "crl", "dos"}
"""`lint` is the adapter's word for what may be judged either way."""
DIFFERENT = {
    # S/MIME certificates, which are no servers'
    "rfc5280::nc::nc-permits-email-exact",
    "rfc5280::nc::nc-permits-email-domain",
    "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match",
    "rfc5280::nc::nc-permits-email-literal-double-asterisk",
    "rfc5280::nc::nc-permits-email-literal-mid-asterisk",
    # next hops are not asked about in revocation lists
    "crl::revoked-certificate-with-crl",
    "crl::crlnumber-missing",
    "crl::crlnumber-critical",
    "crl::issuer-missing-crlsign",
    # a curve given by its parameters, which are those of P-256
    "webpki::explicit-curve",
    # a name in CN is not looked at, so it need not be among the alternative names
    "webpki::cn::ipv4-hex-mismatch",
    "webpki::cn::ipv4-leading-zeros-mismatch",
    "webpki::cn::ipv6-uppercase-mismatch",
    "webpki::cn::ipv6-uncompressed-mismatch",
    "webpki::cn::ipv6-non-rfc5952-mismatch",
    "webpki::cn::punycode-not-in-san",
    "webpki::cn::utf8-vs-punycode-mismatch",
    "webpki::cn::not-in-san",
    "webpki::cn::case-mismatch",
    # rules for those who make certificates
    "rfc5280::aki::critical-aki",
    "rfc5280::aki::leaf-missing-aki",
    "rfc5280::aki::intermediate-missing-aki",
    "rfc5280::nc::not-allowed-in-ee-noncritical",
    "rfc5280::nc::not-allowed-in-ee-critical",
    "rfc5280::pc::ica-noncritical-pc",
    "rfc5280::san::noncritical-with-empty-subject",
    "rfc5280::san::underscore-dns",
    "rfc5280::ski::critical-ski",
    "rfc5280::ski::root-missing-ski",
    "rfc5280::ski::intermediate-missing-ski",
    "rfc5280::ca-empty-subject",
    "rfc5280::root-non-critical-basic-constraints",
    "rfc5280::leaf-ku-keycertsign",
    "rfc5280::ee-critical-aia-invalid",
    "webpki::aki::root-with-aki-missing-keyidentifier",
    "webpki::aki::root-with-aki-all-fields",
    "webpki::aki::root-with-aki-ski-mismatch",
    "webpki::san::unicode-emoji-san",
    "webpki::san::san-critical-with-nonempty-subject",
    "webpki::forbidden-rsa-not-divisible-by-8-in-root",
    "webpki::ee-basicconstraints-ca",
}
"""Where we judge otherwise, each with its reason: 41 of 188."""


CASES = [
    pytest.param(case, id=case["id"])
    for case in read_vectors(VECTORS, "testcases")
    if case["class"] in SCORED
]


def read_certificates(texts):
    found = []
    for text in texts:
        try:
            found += parse_pem_chain(text.encode())
        except MalformedCertificate:
            continue  # junk beside a path, or a broken anchor: neither is there for us
    return found


def is_accepted(case):
    when = case["validation_time"]
    now = datetime.fromisoformat(when) if when else datetime.now(UTC)
    depth = case["max_chain_depth"]
    anchors = Anchors(
        read_certificates(case["trusted_certs"]), MAX_DEPTH if depth is None else depth
    )
    name = (case["expected_peer_name"] or {}).get("value", "")
    try:
        leaf = parse_pem_chain(case["peer_certificate"].encode())
        chain = (*leaf, *read_certificates(case["untrusted_intermediates"]))
        is_good = objection_to_server(chain, anchors, now) is None
        return is_good and (not name or vouches_for_server(chain[0], name))
    except MalformedCertificate:
        return False


@needs_vectors(VECTORS)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_x509_limbo(case):
    start = time.process_time()
    is_expected = case["expected_result"] == "SUCCESS"
    assert (is_accepted(case) == is_expected) is (case["id"] not in DIFFERENT), case["description"]
    assert time.process_time() - start < 0.5
