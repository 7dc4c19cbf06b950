from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import timedelta
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.pki.certificate import Certificate, MalformedCertificate
from relay.pki.ocsp import (
    MAX_RESPONSE_BYTES,
    OcspAnswer,
    build_request,
    judge_response,
    request_url,
)
from relay.pki.revocation import Outcome
from tests.kit.pki import Authority, self_signed
from tests.kit.revocation import NOW, make_answer, to_der

CA = Authority("OCSP Test CA")
NAMESAKE = Authority("OCSP Test CA")
OTHER = Authority("Another CA")
LEAF, NEIGHBOUR = CA.issue("leaf.example"), CA.issue("neighbour.example")
NONCE = bytes(range(32))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

SIGNING = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


def responder(ca: Authority = CA, *extensions, **options):
    return ca.issue("ocsp.example", usages=(), extensions=extensions or (SIGNING,), **options)


def judge(response: bytes, *, leaf=LEAF, ca: Authority = CA, at=NOW, **options) -> OcspAnswer:
    return judge_response(response, leaf.certificates[0], ca.certificate, at, **options)


def refused_because(response: bytes, words: str, **options) -> None:
    found = judge(response, **options)
    assert found.outcome is Outcome.UNREACHABLE
    assert words in found.answer.reason
    assert (found.responder, found.delegate) == ("", None)


# --- the question


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("nonce", [None, NONCE])
def test_a_request_names_certificate_and_ca(digest, nonce):
    der = build_request(LEAF.certificates[0], CA.certificate, nonce=nonce, digest=digest)
    request = ocsp.load_der_ocsp_request(der)
    assert request.serial_number == LEAF.cert.serial_number
    assert request.hash_algorithm.name == digest
    assert [each.value.nonce for each in request.extensions] == ([nonce] if nonce else [])


def test_a_certificate_that_cannot_be_read_cannot_be_asked_about():
    with pytest.raises(MalformedCertificate):
        build_request(Certificate(b"\x30\0"), CA.certificate)


# --- what is in an answer


def test_good():
    found = judge(make_answer(LEAF, CA))
    assert found.outcome is Outcome.GOOD
    assert (found.answer.this_update, found.answer.next_update) == (NOW, NOW + DAY)
    assert found.responder == "issuer"


def test_revoked():
    found = judge(make_answer(LEAF, CA, status="revoked"))
    assert found.outcome is Outcome.REVOKED
    assert found.answer.revoked_at == NOW - DAY
    assert "keyCompromise" in found.answer.reason


def test_unknown():
    assert judge(make_answer(LEAF, CA, status="unknown")).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA512()])
def test_the_responder_may_name_the_ca_by_another_digest(digest):
    assert judge(make_answer(LEAF, CA, named_by=digest)).outcome is Outcome.GOOD


@pytest.mark.parametrize("kind", ["p384", "rsa2048", "ed25519"])
def test_signatures_of_every_kind(kind):
    ca = Authority(key_type=kind)
    leaf = ca.issue()
    assert judge(make_answer(leaf, ca), leaf=leaf, ca=ca).outcome is Outcome.GOOD


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ocsp.OCSPResponseStatus.MALFORMED_REQUEST, "did not understand"),
        (ocsp.OCSPResponseStatus.INTERNAL_ERROR, "internal error"),
        (ocsp.OCSPResponseStatus.TRY_LATER, "try later"),
        (ocsp.OCSPResponseStatus.SIG_REQUIRED, "signed requests"),
        (ocsp.OCSPResponseStatus.UNAUTHORIZED, "does not answer for this certificate"),
    ],
)
def test_errors_of_the_responder(status, words):
    failure = ocsp.OCSPResponseBuilder.build_unsuccessful(status)
    refused_because(failure.public_bytes(Encoding.DER), words)


@pytest.mark.parametrize("bad", [b"", b"hello", b"\x30\x00", make_answer(LEAF, CA)[:-1]])
def test_garbage(bad):
    refused_because(bad, "cannot be read")


def test_too_large_an_answer():
    refused_because(bytes(MAX_RESPONSE_BYTES + 1), "too large")


@pytest.mark.parametrize("single", [False, True])
def test_a_critical_extension_that_is_not_known(single):
    refused_because(with_extension(critical=True, single=single), "critical extension")
    assert judge(with_extension(critical=False, single=single)).outcome is Outcome.GOOD


def with_extension(*, critical: bool, single: bool) -> bytes:
    """An answer with an extension that nobody knows, of the whole or of the single answer."""
    sha1 = bytes.fromhex("300906052b0e03021a0500")
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    plain = ocsp.load_der_ocsp_response(make_answer(LEAF, CA))
    extension = to_der(
        0x30, bytes.fromhex("06032a0304"), b"\x01\x01\xff" * critical, b"\x04\x02\x05\0"
    )
    named = to_der(0x30, extension)
    moment = to_der(0x18, f"{NOW:%Y%m%d%H%M%SZ}".encode())
    certificate = to_der(
        0x30,
        sha1,
        to_der(0x04, plain.issuer_name_hash),
        to_der(0x04, plain.issuer_key_hash),
        to_der(0x02, LEAF.cert.serial_number.to_bytes(20, "big")),
    )
    answer = to_der(0x30, certificate, b"\x80\0", moment, to_der(0xA1, named) if single else b"")
    key_hash = to_der(0xA2, to_der(0x04, plain.responder_key_hash))
    signed = to_der(
        0x30, key_hash, moment, to_der(0x30, answer), b"" if single else to_der(0xA1, named)
    )
    signature = CA.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    basic = to_der(0x30, signed, algorithm, to_der(0x03, b"\0", signature))
    kind = bytes.fromhex("06092b0601050507300101")
    return to_der(0x30, b"\x0a\x01\0", to_der(0xA0, to_der(0x30, kind, to_der(0x04, basic))))


# --- who has signed it


@pytest.mark.parametrize(
    "extensions", [(SIGNING,), (SIGNING, NO_CHECK)], ids=["checkable", "nocheck"]
)
@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
def test_a_delegated_responder(extensions, status):
    signer = responder(CA, *extensions)
    found = judge(make_answer(LEAF, CA, status=status, signer=signer))
    assert found.outcome == status
    assert found.responder == "delegated"
    is_exempt = NO_CHECK in extensions
    assert (found.delegate and found.delegate.der) == (
        None if is_exempt else signer.certificates[0].der
    )


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        (responder(OTHER), "the CA has not issued its certificate"),
        (responder(NAMESAKE), "the CA has not issued its certificate"),
        (responder(Authority("Below", parent=CA)), "the CA has not issued its certificate"),
        (self_signed("ocsp.example"), "the CA has not issued its certificate"),
        (CA.issue(), "not for OCSP signing"),
        (CA.issue(usages=("any",)), "not for OCSP signing"),
        (CA.issue(usages=()), "not for OCSP signing"),
        (responder(days=0.01), "not valid now"),
        (responder(not_before=NOW + DAY), "not valid now"),
        (responder(digital_signature=False), "not for signing"),
        (responder(CA, SIGNING, UNKNOWN), "critical extension"),
        (responder(sha1=True), "broken digest"),
    ],
)
def test_a_responder_that_may_not_speak_for_the_ca(signer, words):
    for status in ("good", "revoked"):
        refused_because(make_answer(LEAF, CA, status=status, signer=signer), words)


def test_a_responder_whose_key_nobody_knows():
    answer = make_answer(LEAF, CA, signer=responder())
    curve, none = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    assert answer.count(curve) == 1
    refused_because(answer.replace(curve, none), "its certificate cannot be read")


def test_a_responder_without_key_usage_may_sign():
    assert judge(make_answer(LEAF, CA, signer=responder(key_usage=False))).outcome is Outcome.GOOD


@pytest.mark.parametrize("kind", ["ec", "rsa2048", "ed25519"])
def test_another_ca_has_signed(kind):
    other = Authority("OCSP Test CA", kind)
    refused_because(make_answer(LEAF, other), "not signed by the CA")


@pytest.mark.parametrize("signer", [None, responder()], ids=["issuer", "delegated"])
def test_a_damaged_answer(signer):
    answer = make_answer(LEAF, CA, nonce=NONCE, signer=signer)
    place = answer.index(NONCE)
    refused_because(answer[:place] + b"!" + answer[place + 1 :], "not signed by the CA")


def test_the_answer_of_a_namesake():
    leaf = NAMESAKE.issue()
    refused_because(make_answer(leaf, NAMESAKE), "not signed by the CA", leaf=leaf, ca=CA)


# --- whether it is our answer


def test_an_answer_about_another_certificate():
    refused_because(make_answer(LEAF, CA, about=NEIGHBOUR), "another certificate")


def test_the_same_serial_of_another_ca():
    """The CA answers, rightly signed, about a namesake's certificate with our serial number."""
    twin = (
        x509.CertificateBuilder(LEAF.cert.issuer, LEAF.cert.subject, NAMESAKE.key.public_key())
        .serial_number(LEAF.cert.serial_number)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
        .sign(NAMESAKE.key, hashes.SHA256())
    )
    answer = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            twin, NAMESAKE.cert, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, NOW, NOW + DAY, None, None
        )
        .responder_id(ocsp.OCSPResponderEncoding.NAME, CA.cert)
        .sign(CA.key, hashes.SHA256())
    )
    refused_because(answer.public_bytes(Encoding.DER), "another certificate")


@pytest.mark.parametrize(
    ("asked", "answered", "required", "problem"),
    [
        (None, None, False, None),
        (NONCE, NONCE, False, None),
        (NONCE, NONCE, True, None),
        (NONCE, None, False, None),
        (NONCE, None, True, "no nonce"),
        (NONCE, NONCE[::-1], False, "not ours"),
        (NONCE, NONCE[::-1], True, "not ours"),
        (None, NONCE, False, None),
        (None, None, True, None),
    ],
)
def test_nonces(asked, answered, required, problem):
    answer = make_answer(LEAF, CA, nonce=answered)
    found = judge(answer, nonce=asked, is_nonce_required=required)
    assert found.outcome is (Outcome.GOOD if problem is None else Outcome.UNREACHABLE)
    assert problem is None or problem in found.answer.reason


# --- whether it still counts


@pytest.mark.parametrize(
    ("after", "until", "options", "outcome"),
    [
        (0 * DAY, DAY, {}, "good"),
        (DAY + timedelta(minutes=5), DAY, {}, "good"),
        (DAY + timedelta(minutes=6), DAY, {}, "stale"),
        (DAY + timedelta(minutes=6), DAY, {"skew": HOUR}, "good"),
        (timedelta(minutes=-5), DAY, {}, "good"),
        (timedelta(minutes=-6), DAY, {}, "unreachable"),
        (timedelta(minutes=-6), DAY, {"skew": HOUR}, "good"),
        # one that does not say how long it counts is good for an hour, or as long as we say
        (HOUR, None, {}, "good"),
        (2 * HOUR, None, {}, "stale"),
        (9 * DAY, None, {"lifetime": 9 * DAY}, "good"),
        (11 * DAY, None, {"lifetime": 12 * DAY}, "stale"),
        (2 * HOUR, None, {"max_age": HOUR, "lifetime": DAY}, "stale"),
        # an answer made for years does not outlive our patience
        (11 * DAY, 3650 * DAY, {}, "stale"),
        (11 * DAY, 3650 * DAY, {"max_age": 20 * DAY}, "good"),
    ],
)
def test_the_time_in_which_an_answer_counts(after, until, options, outcome):
    answer = make_answer(LEAF, CA, until=until and NOW + until)
    assert judge(answer, at=NOW + after, **options).outcome == outcome
    unknown = make_answer(LEAF, CA, status="unknown", until=until and NOW + until)
    assert judge(unknown, at=NOW + after, **options).outcome == outcome.replace("good", "unknown")


@pytest.mark.parametrize(
    ("until", "end"), [(None, HOUR), (DAY, DAY), (3650 * DAY, 10 * DAY), (0 * DAY, 0 * DAY)]
)
@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
def test_it_is_said_when_an_answer_ceases_to_count(status, until, end):
    answer = make_answer(LEAF, CA, status=status, until=None if until is None else NOW + until)
    assert judge(answer).answer.next_update == NOW + end


# --- how it is asked for


@pytest.mark.parametrize("url", ["http://ocsp.example", "http://ocsp.example/"])
def test_a_short_request_becomes_an_address(url):
    request = build_request(LEAF.certificates[0], CA.certificate)
    whole = request_url(url, request)
    assert whole.startswith("http://ocsp.example/M")
    encoded = whole.removeprefix("http://ocsp.example/")
    assert "/" not in encoded
    assert "+" not in encoded
    assert base64.b64decode(unquote(encoded)) == request


@pytest.mark.parametrize(
    "url",
    ["http://ocsp.example/?ca=1", "http://ocsp.example/#x", "http://ocsp.example/" + "x" * 200],
)
def test_what_does_not_fit_into_an_address_is_posted(url):
    assert request_url(url, build_request(LEAF.certificates[0], CA.certificate)) is None


def test_an_answer_that_ends_before_it_begins():
    """No builder makes one: two dates of the same length are exchanged, and it is signed again."""
    first, second = (f"{each:%Y%m%d%H%M%SZ}".encode() for each in (NOW, NOW + DAY))
    whole = make_answer(LEAF, CA)
    answer = ocsp.load_der_ocsp_response(whole)
    signed = answer.tbs_response_bytes
    place = signed.rindex(first)
    swapped = signed[:place] + (
        signed[place:].replace(second, b"?").replace(first, second).replace(b"?", first)
    )
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    signature = CA.key.sign(swapped, ec.ECDSA(hashes.SHA256()))
    basic = to_der(0x30, swapped, algorithm, to_der(0x03, b"\0", signature))
    kind = bytes.fromhex("06092b0601050507300101")
    made = to_der(0x30, b"\x0a\x01\0", to_der(0xA0, to_der(0x30, kind, to_der(0x04, basic))))
    refused_because(made, "ends before it begins", at=NOW + DAY)


def test_a_stale_answer_still_revokes():
    answer = make_answer(LEAF, CA, status="revoked")
    assert judge(answer, at=NOW + 99 * DAY).outcome is Outcome.REVOKED


def test_a_certificate_that_cannot_be_read_is_an_error():
    with pytest.raises(MalformedCertificate):
        judge_response(make_answer(LEAF, CA), Certificate(b"\x30\0"), CA.certificate, NOW)


# --- `openssl ocsp` answers

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl command"
)


class OpensslResponder:
    """`openssl ocsp` with an index file; no socket."""

    def __init__(self, folder, *, signer=None) -> None:
        self.folder = folder
        signer = signer or responder()
        signer.write(folder, "signer")
        (folder / "ca.pem").write_bytes(CA.pem)
        lines = (
            f"V\t{NOW + 30 * DAY:%y%m%d%H%M%SZ}\t\t{LEAF.cert.serial_number:X}\tunknown\t/CN=leaf.example\n",
            (
                f"R\t{NOW + 30 * DAY:%y%m%d%H%M%SZ}\t{NOW - DAY:%y%m%d%H%M%SZ},superseded\t"
                f"{NEIGHBOUR.cert.serial_number:X}\tunknown\t/CN=neighbour.example\n"
            ),
        )
        (folder / "index.txt").write_text("".join(lines))

    def answer(self, request: bytes, *options: str) -> bytes:
        (self.folder / "request").write_bytes(request)
        command = (
            "openssl ocsp -index index.txt -CA ca.pem -rsigner signer.pem -rkey signer.key "
            "-reqin request -respout response -ndays 1"
        ).split()
        subprocess.run(
            [*command, *options], check=True, cwd=self.folder, capture_output=True, timeout=20
        )
        return (self.folder / "response").read_bytes()


@needs_openssl
@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("nonce", [None, NONCE])
@pytest.mark.parametrize(
    "leaf",
    [(LEAF, "good"), (NEIGHBOUR, "revoked"), (CA.issue(), "unknown")],
    ids=lambda pair: pair[1],
)
def test_openssl_as_responder(tmp_path, leaf, nonce, digest):
    certificate, outcome = leaf
    request = build_request(certificate.certificates[0], CA.certificate, nonce=nonce, digest=digest)
    answer = OpensslResponder(tmp_path).answer(request)
    found = judge(
        answer, leaf=certificate, at=NOW + HOUR, nonce=nonce, is_nonce_required=bool(nonce)
    )
    assert found.outcome == outcome
    assert found.responder == "delegated"


@needs_openssl
def test_openssl_as_responder_with_all_that_can_be_wrong(tmp_path):
    request = build_request(LEAF.certificates[0], CA.certificate, nonce=NONCE)
    answer = OpensslResponder(tmp_path).answer(request)
    assert judge(answer, at=NOW + 2 * DAY, nonce=NONCE).outcome is Outcome.STALE
    refused_because(answer, "nonce is not ours", at=NOW + HOUR, nonce=NONCE[::-1])
    wrong = OpensslResponder(tmp_path, signer=responder(OTHER)).answer(request)
    refused_because(wrong, "the CA has not issued its certificate", at=NOW + HOUR)
    weak = OpensslResponder(tmp_path).answer(request, "-rmd", "sha1")
    refused_because(weak, "broken digest", at=NOW + HOUR)
