"""OCSP: whatever comes in, an outcome or an answer comes out, and nothing forged is believed."""

from datetime import timedelta

from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from relay.pki.ocsp import build_request, judge_response
from relay.pki.ocsp_responder import IssuedStatus, Responder, answer_request
from relay.pki.revocation import Outcome
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_answer

CA = Authority("Fuzz CA")
LEAF, OTHER = CA.issue("leaf.example"), CA.issue("other.example")
NONCE = bytes(range(32))
ANSWERS = [
    make_answer(LEAF, CA, nonce=NONCE),
    make_answer(LEAF, CA, status="revoked"),
    make_answer(OTHER, CA),
    make_answer(LEAF, CA, signer=CA.issue("no responder")),
]
SIGNED = {ocsp.load_der_ocsp_response(each).tbs_response_bytes for each in ANSWERS[:2]}
REQUESTS = [
    build_request(LEAF.certificates[0], CA.certificate, nonce=NONCE),
    build_request(OTHER.certificates[0], CA.certificate, digest="sha256"),
]


@fuzz_settings()
@given(st.one_of(mutated(ANSWERS), st.binary()))
def test_an_answer_is_judged(data):
    found = judge_response(data, LEAF.certificates[0], CA.certificate, NOW, nonce=NONCE)
    if found.outcome is not Outcome.UNREACHABLE:
        assert ocsp.load_der_ocsp_response(data).tbs_response_bytes in SIGNED


@fuzz_settings()
@given(st.one_of(mutated(REQUESTS), st.binary()))
def test_a_request_is_answered(data):
    known = {LEAF.cert.serial_number: IssuedStatus(NOW), OTHER.cert.serial_number: IssuedStatus()}
    responder = Responder(CA.cert, CA.cert, CA.key)
    answer = answer_request(data, known.get, responder, NOW, timedelta(days=1))
    response = ocsp.load_der_ocsp_response(answer)
    if response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
        is_known = response.serial_number in known
        assert is_known or response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
