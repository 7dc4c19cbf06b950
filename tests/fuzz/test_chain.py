"""Chains: whatever is sent, a verdict comes back, and a path only of certificates rightly signed."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from relay.pki.certificate import Certificate
from relay.pki.chain import Anchors, verify_chain
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.pki import Authority

NOW = datetime.now(UTC) + timedelta(minutes=1)
NAMES = [x509.DNSName("acme.example"), x509.RFC822Name("acme.example")]
ROOT = Authority("Root", extensions=[(x509.NameConstraints(NAMES, None), True)])
BETWEEN = Authority("Between", parent=ROOT)
LEAF = BETWEEN.issue(dns=["mail.acme.example"], email=["a@acme.example"])
OUTSIDE = BETWEEN.issue(dns=["mail.other.example"])
STRANGE = Authority("Between").issue(dns=["mail.acme.example"])
GOOD = [Certificate(each).der for each in LEAF.chain]
SEEDS = [*GOOD, Certificate(OUTSIDE.cert).der, Certificate(STRANGE.cert).der, ROOT.certificate.der]
SIGNED = {
    x509.load_der_x509_certificate(each).tbs_certificate_bytes
    for each in (*GOOD, ROOT.certificate.der)
}
ANCHORS = Anchors([ROOT.certificate])
BYTES = st.one_of(st.sampled_from(SEEDS), mutated(SEEDS), st.binary(max_size=40))


@fuzz_settings()
@given(st.lists(BYTES, min_size=1, max_size=6))
def test_a_path_is_made_of_what_a_ca_has_signed(ders):
    verdict = verify_chain([Certificate(each) for each in ders], ANCHORS, NOW)
    assert bool(verdict.path) is (verdict.status is None)
    assert {each.x509.tbs_certificate_bytes for each in verdict.path} <= SIGNED
    if ders[0] == GOOD[0]:
        assert bool(verdict.path) is (GOOD[1] in ders)
