"""What the CA publishes: lists that are kept new, OCSP by POST and GET, what caches may keep."""

import base64
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from relay.admin.published import MAX_BODY_BYTES, Published
from relay.admin.server import HttpServer
from relay.ca_folder import create_ca, valid_from_now
from relay.ca_lists import CaLists
from relay.pki.issuing import Subject
from tests.kit.http_client import ask
from tests.kit.http_server import Served
from tests.kit.pki import make_key

GOOD, REVOKED, UNKNOWN = (
    ocsp.OCSPCertStatus.GOOD,
    ocsp.OCSPCertStatus.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN,
)


class Place:
    """A CA and what is served of it."""

    def __init__(self, folder):
        self.ca = create_ca(folder / "ca", "Our CA")
        self.published = Published(self.ca, None)
        self.port = 0

    def issue(self, name="acme"):
        return self.ca.issue(Subject(name), make_key().public_key(), valid_from_now(30))

    def revoke(self, leaf):
        CaLists(self.ca).revoke(leaf.serial, x509.ReasonFlags.superseded, "ann")

    def question(self, leaf, *, nonce=None):
        issuer = self.ca.issuing_certificate().x509
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf.x509, issuer, hashes.SHA1())
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.build().public_bytes(Encoding.DER)

    def post(self, question):
        return ask(self.port, "POST", "/ocsp", question, Content_Type="application/ocsp-request")

    def get(self, question, **fields):
        path = quote(base64.b64encode(question).decode(), safe="")
        return ask(self.port, "GET", f"/ocsp/{path}", **fields)

    def list(self, path="/crl.der", **fields):
        return ask(self.port, "GET", path, **fields)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    with Served(HttpServer(made.published.routes, max_body_bytes=MAX_BODY_BYTES)) as served:
        made.port = served.port
        yield made


def status(reply):
    assert reply.fields["content-type"] == "application/ocsp-response"
    return ocsp.load_der_ocsp_response(reply.body).certificate_status


# --- lists ---------------------------------------------------------------------------------------


def test_a_list_that_is_not_there_is_404_until_it_is_made(place):
    assert place.list().status == 404
    place.published.renew_lists()
    reply = place.list()
    assert (reply.status, reply.fields["content-type"]) == (200, "application/pkix-crl")
    made = x509.load_der_x509_crl(reply.body)
    assert made.is_signature_valid(place.ca.issuing_certificate().x509.public_key())


def test_the_roots_list_is_there_too(place):
    place.published.renew_lists()
    made = x509.load_der_x509_crl(place.list("/root-crl.der").body)
    assert made.is_signature_valid(place.ca.certificate().x509.public_key())


def test_a_revocation_is_in_the_very_next_list_that_is_fetched(place):
    place.published.renew_lists()
    assert len(x509.load_der_x509_crl(place.list().body)) == 0
    leaf = place.issue()
    place.revoke(leaf)
    found = x509.load_der_x509_crl(place.list().body)
    assert [each.serial_number for each in found] == [leaf.x509.serial_number]


def test_a_list_is_made_anew_at_half_of_its_life_and_not_before(place):
    lists = CaLists(place.ca)
    lists.publish(place.ca.issuer(), valid_for=timedelta(days=7))
    first = place.list().body
    place.published.renew_lists()
    assert place.list().body == first
    lists.publish(place.ca.issuer(), valid_for=timedelta(seconds=0))
    old = place.list().body
    place.published.renew_lists()
    assert place.list().body != old


def test_without_the_key_the_list_that_is_there_is_served(place):
    CaLists(place.ca).publish(place.ca.issuer(), valid_for=timedelta(seconds=0))
    before = place.list().body
    place.ca.issuing_key_path.unlink()
    place.published.renew_lists()
    assert place.list().body == before


def test_a_list_that_is_broken_is_not_served(place):
    CaLists(place.ca).path.write_bytes(b"half a li")
    assert place.list().status == 404


def test_caches_are_told_how_long_and_what_it_is(place):
    place.published.renew_lists()
    fields = place.list().fields
    assert fields["cache-control"] == "max-age=300, public, no-transform, must-revalidate"
    made = x509.load_der_x509_crl(place.list().body)
    assert parsedate_to_datetime(fields["last-modified"]) == made.last_update_utc
    assert parsedate_to_datetime(fields["expires"]) == made.next_update_utc


def test_nobody_keeps_a_list_longer_than_it_holds(place):
    CaLists(place.ca).publish(place.ca.issuer(), valid_for=timedelta(seconds=30))
    age = int(place.list().fields["cache-control"].partition(",")[0].removeprefix("max-age="))
    assert 0 < age <= 30


def test_what_a_client_has_already_is_not_sent_again(place):
    place.published.renew_lists()
    first = place.list()
    etag, modified = first.fields["etag"], first.fields["last-modified"]
    for fields in (
        {"If_None_Match": etag},
        {"If_None_Match": f'"other", W/{etag}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": modified},
    ):
        reply = place.list(**fields)
        assert (reply.status, reply.body, reply.fields["etag"]) == (304, b"", etag)
    long_ago = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    for fields in (
        {"If_None_Match": '"other"'},
        {"If_None_Match": '"other"', "If_Modified_Since": modified},
        {"If_Modified_Since": long_ago},
        {"If_Modified_Since": "garbage"},
    ):
        assert place.list(**fields).status == 200


# --- OCSP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["post", "get"])
def test_good_revoked_unknown(place, way):
    answer = getattr(place, way)
    leaf = place.issue()
    assert status(answer(place.question(leaf))) is GOOD
    place.revoke(leaf)
    assert status(answer(place.question(leaf))) is REVOKED
    (place.ca.folder / "issued.jsonl").unlink()


def test_a_serial_number_that_was_never_issued_is_unknown(place):
    leaf = place.issue()
    (place.ca.folder / "issued.jsonl").write_text("")
    assert status(place.post(place.question(leaf))) is UNKNOWN


def test_a_nonce_comes_back(place):
    reply = place.post(place.question(place.issue(), nonce=b"0123456789abcdef"))
    answer = ocsp.load_der_ocsp_response(reply.body)
    assert (
        answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"0123456789abcdef"
    )


def test_base64_need_not_be_percent_encoded(place):
    question = base64.b64encode(place.question(place.issue())).decode()
    assert status(ask(place.port, "GET", f"/ocsp/{question}")) is GOOD


def test_caches_may_keep_what_was_got_and_nothing_else(place):
    question = place.question(place.issue())
    got = place.get(question)
    assert got.fields["cache-control"].startswith("max-age=300, public")
    assert place.get(question, If_None_Match=got.fields["etag"]).status == 304
    assert place.post(question).fields["cache-control"] == "no-store"
    assert place.get(b"garbage").fields["cache-control"] == "no-store"


def test_an_answer_that_was_kept_goes_with_the_next_revocation(place):
    leaf, other = place.issue(), place.issue("other")
    first = place.get(place.question(leaf)).body
    assert place.get(place.question(leaf)).body == first
    place.revoke(other)
    assert place.get(place.question(leaf)).body != first


@pytest.mark.parametrize(
    "question", [b"", b"x", b"\x30\x00", b"\x30\x82\xff\xff" + b"\x00" * 2000], ids=repr
)
def test_garbage_is_a_malformed_request(place, question):
    for reply in (place.post(question), place.get(question or b"!")):
        if reply.status == 200:
            answer = ocsp.load_der_ocsp_response(reply.body)
            assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_another_media_type_is_refused(place):
    assert ask(place.port, "POST", "/ocsp", b"x", Content_Type="text/plain").status == 415


def test_without_the_key_it_says_try_later(place):
    question = place.question(place.issue())
    place.ca.issuing_key_path.unlink()
    answer = ocsp.load_der_ocsp_response(place.post(question).body)
    assert answer.response_status is ocsp.OCSPResponseStatus.TRY_LATER


def test_a_root_that_issues_itself_answers_itself(place):
    for path in (place.ca.issuing_path, place.ca.issuing_key_path):
        path.unlink()
    leaf = place.issue()
    assert status(place.post(place.question(leaf))) is GOOD


def test_records_that_cannot_be_read_are_try_later(place):
    leaf = place.issue()
    place.ca.records.issued_path.unlink()
    place.ca.records.issued_path.mkdir()
    for reply in (place.get(place.question(leaf)), place.post(place.question(leaf))):
        said = ocsp.load_der_ocsp_response(reply.body)
        assert said.response_status is ocsp.OCSPResponseStatus.TRY_LATER


def test_a_folder_that_cannot_be_read_makes_no_new_list_and_no_noise(place):
    place.ca.issuing_path = place.ca.folder / ("x" * 300)
    place.published.renew_lists()
    assert not place.ca.folder.joinpath("crl.der").exists()
