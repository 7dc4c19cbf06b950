from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.pki.ocsp import build_request, judge_response
from relay.pki.ocsp_responder import MAX_REQUEST_BYTES, IssuedStatus, Responder, answer_request
from relay.pki.revocation import Outcome
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, to_der

CA = Authority("Responder Test CA")
OTHER = Authority("Another CA")
GOOD, REVOKED, UNKNOWN = (
    CA.issue("good.example"),
    CA.issue("revoked.example"),
    CA.issue("unknown.example"),
)
SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
DELEGATE = CA.issue(
    "ocsp.example", usages=(), extensions=[(SIGNING, False), (x509.OCSPNoCheck(), False)]
)
ITSELF = Responder(CA.cert, CA.cert, CA.key)
DELEGATED = Responder(CA.cert, DELEGATE.cert, DELEGATE.key)
NONCE = bytes(range(32))
DAY = timedelta(days=1)

RECORDS = {
    GOOD.cert.serial_number: IssuedStatus(),
    REVOKED.cert.serial_number: IssuedStatus(NOW - DAY, x509.ReasonFlags.key_compromise),
}


def answer(request: bytes, responder: Responder = ITSELF) -> bytes:
    return answer_request(request, RECORDS.get, responder, NOW, DAY)


def ask(leaf, responder: Responder = ITSELF, **options):
    request = build_request(leaf.certificates[0], CA.certificate, **options)
    return judge_response(
        answer(request, responder),
        leaf.certificates[0],
        CA.certificate,
        NOW,
        nonce=options.get("nonce"),
        is_nonce_required="nonce" in options,
    )


@pytest.mark.parametrize("responder", [ITSELF, DELEGATED], ids=["issuer", "delegated"])
@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize(
    ("leaf", "outcome"), [(GOOD, "good"), (REVOKED, "revoked"), (UNKNOWN, "unknown")]
)
def test_our_client_believes_our_responder(leaf, outcome, digest, responder):
    found = ask(leaf, responder, digest=digest, nonce=NONCE)
    assert found.outcome == outcome
    assert found.responder == ("issuer" if responder is ITSELF else "delegated")
    assert (found.answer.this_update, found.answer.next_update) == (NOW, NOW + DAY)


def test_a_revocation_with_date_and_reason():
    found = ask(REVOKED).answer
    assert found.revoked_at == NOW - DAY
    assert "keyCompromise" in found.reason


@pytest.mark.parametrize("kind", ["ec", "p384", "rsa2048", "ed25519"])
def test_keys_of_every_kind(kind):
    ca = Authority(key_type=kind)
    leaf = ca.issue()
    request = build_request(leaf.certificates[0], ca.certificate)
    response = answer_request(
        request, lambda _serial: IssuedStatus(), Responder(ca.cert, ca.cert, ca.key), NOW, DAY
    )
    assert (
        judge_response(response, leaf.certificates[0], ca.certificate, NOW).outcome is Outcome.GOOD
    )


def test_a_certificate_of_another_ca_is_unknown_whatever_its_number():
    request = (
        ocsp.OCSPRequestBuilder()
        .add_certificate_by_hash(bytes(20), bytes(20), GOOD.cert.serial_number, hashes.SHA1())
        .build()
    )
    response = ocsp.load_der_ocsp_response(answer(request.public_bytes(Encoding.DER)))
    assert response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN


def test_without_a_nonce_there_is_none_in_the_answer():
    request = build_request(GOOD.certificates[0], CA.certificate)
    assert len(ocsp.load_der_ocsp_response(answer(request)).extensions) == 0


def request_with(extension: x509.ExtensionType, *, critical: bool = False) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(GOOD.cert, CA.cert, hashes.SHA1())
    return builder.add_extension(extension, critical).build().public_bytes(Encoding.DER)


def request_about(*leaves) -> bytes:
    singles = []
    for leaf in leaves:
        whole = build_request(leaf.certificates[0], CA.certificate)
        singles.append(whole[6:])  # SEQUENCE { SEQUENCE { SEQUENCE { request
    return to_der(0x30, to_der(0x30, to_der(0x30, *singles)))


FOREIGN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"garbage",
        b"\x30\x00",
        bytes(MAX_REQUEST_BYTES + 1),
        build_request(GOOD.certificates[0], CA.certificate)[:-1],
        request_about(GOOD, REVOKED),
        request_with(FOREIGN, critical=True),
        request_with(x509.OCSPNonce(b"")),
        request_with(x509.OCSPNonce(bytes(129))),
    ],
    ids=["empty", "garbage", "no request", "too large", "cut short", "two certificates",
         "critical extension", "empty nonce", "long nonce"],
)  # fmt: skip
def test_what_is_no_request_for_us_is_malformed(request_):
    response = ocsp.load_der_ocsp_response(answer(request_))
    assert response.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_the_request_made_of_parts_is_a_good_one():
    """Else "two certificates" above would be refused for another reason."""
    assert request_about(GOOD) == build_request(GOOD.certificates[0], CA.certificate)


def test_what_is_not_critical_does_not_matter():
    response = ocsp.load_der_ocsp_response(answer(request_with(FOREIGN)))
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD


# --- `openssl ocsp` asks

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl command"
)


def openssl(folder, *words: str) -> str:
    """What the command says about our answer; both streams."""
    command = [
        "openssl",
        "ocsp",
        *words,
        "-respin",
        "response",
        "-CAfile",
        "ca.pem",
        "-issuer",
        "ca.pem",
    ]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, timeout=20, text=True
    )
    return done.stdout + done.stderr


@needs_openssl
@pytest.mark.parametrize("responder", [ITSELF, DELEGATED], ids=["issuer", "delegated"])
@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
@pytest.mark.parametrize(
    "case", [(GOOD, "good"), (REVOKED, "revoked"), (UNKNOWN, "unknown")], ids=lambda case: case[1]
)
def test_openssl_believes_our_responder(tmp_path, case, nonce, digest, responder):
    leaf, word = case
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    command = [
        "openssl",
        "ocsp",
        digest,
        "-issuer",
        "ca.pem",
        "-cert",
        "leaf.pem",
        "-reqout",
        "request",
        nonce,
    ]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=20)
    response = answer((tmp_path / "request").read_bytes(), responder)
    (tmp_path / "response").write_bytes(response)
    # with -reqin it compares the nonces and nothing else, with -cert the certificate
    said = openssl(tmp_path, "-no_nonce", "-reqin", "request")
    assert "Response verify OK" in said
    assert "Nonce Verify error" not in said
    said = openssl(tmp_path, "-no_nonce", digest, "-issuer", "ca.pem", "-cert", "leaf.pem")
    assert "Response verify OK" in said
    assert f"leaf.pem: {word}" in said
    assert ("keyCompromise" in said) is (word == "revoked")


@needs_openssl
def test_openssl_notices_the_answer_to_another_request(tmp_path):
    """Shows that the test above would see a nonce that is not echoed."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "leaf.pem").write_bytes(GOOD.pem)
    for name, nonce in (("request", NONCE), ("other", NONCE[::-1])):
        (tmp_path / name).write_bytes(
            build_request(GOOD.certificates[0], CA.certificate, nonce=nonce)
        )
    (tmp_path / "response").write_bytes(answer((tmp_path / "other").read_bytes()))
    assert "Nonce Verify error" in openssl(tmp_path, "-no_nonce", "-reqin", "request")
