"""EST over HTTPS: tokens, certificates of clients, and what a hostile one gets; all of it on record."""

import base64
import ssl
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.admin import server
from relay.admin.est import MAX_BODY_BYTES, MAX_REFUSALS
from relay.allowlist_file import add_identity, read_allowlist
from relay.ca_folder import create_ca, encode_chain, issue_to_files, valid_from_now
from relay.ca_lists import CaLists
from relay.pki.certificate import Certificate
from relay.pki.est import parse_certificates
from relay.pki.issuing import Subject
from relay.pki.pins import format_pin, pin_of
from tests.kit.est import EstSite, make_request
from tests.kit.http_client import ask, connect, read_reply
from tests.kit.http_server import Served
from tests.kit.pki import make_key

ENROLL = "/.well-known/est/simpleenroll"
REENROLL = "/.well-known/est/simplereenroll"


@pytest.fixture
def site(tmp_path):
    made = EstSite(tmp_path)
    with Served(made.server) as served:
        made.port = served.port
        yield made


def basic(name, token):
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def enroll(site, token, body=None, name="acme", **fields):
    return ask(
        site.port, "POST", ENROLL, make_request(name) if body is None else body,
        site.context(), Authorization=basic(name, token), Content_Type="application/pkcs10", **fields,
    )  # fmt: skip


def known(site, name="acme", *, days=30):
    """Issue a certificate and let it in; return its files."""
    files = site.issue(name, days=days)
    pin = format_pin(pin_of(files.certificate))
    add_identity(site.allowlist, {"name": name, "pins": [pin]})
    return files


def reenroll(site, files, body=None):
    context = site.context(files.chain_path, files.key_path)
    return ask(site.port, "POST", REENROLL, make_request() if body is None else body, context)


def pins(site, name="acme"):
    return read_allowlist(site.allowlist).find(name).pins


def test_who_never_ends_the_handshake_is_counted_too(site, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 2.0)
    silent = [connect(site.port) for _ in range(2)]
    with connect(site.port) as third:
        third.settimeout(1)
        assert read_reply(third).status == 0  # at once, not with the others
    for each in silent:
        assert read_reply(each).status == 0
        each.close()
    assert ask(site.port, "GET", "/nothing", tls=site.context()).status == 404


# --- what is for everybody -----------------------------------------------------------------------


def test_the_cas_are_told_to_whoever_asks(site):
    reply = ask(site.port, "GET", "/.well-known/est/cacerts", tls=site.context())
    assert reply.fields["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert set(parse_certificates(reply.body)) == {
        site.ca.certificate(),
        site.ca.issuing_certificate(),
    }


def test_attributes_are_told(site):
    reply = ask(site.port, "GET", "/.well-known/est/csrattrs", tls=site.context())
    assert (reply.status, reply.fields["content-type"]) == (200, "application/csrattrs")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "simpleenroll", 405), ("PUT", "simplereenroll", 405), ("POST", "cacerts", 405),
        ("POST", "serverkeygen", 404), ("POST", "fullcmc", 404), ("POST", "label/simpleenroll", 404),
    ],
)  # fmt: skip
def test_what_is_not_there(site, method, path, status):
    assert ask(site.port, method, f"/.well-known/est/{path}", tls=site.context()).status == status


def test_nobody_speaks_without_tls_or_with_an_old_one(site):
    assert ask(site.port, "GET", "/.well-known/est/cacerts").status == 0
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(site.ca.certificate_path)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # Python says that nobody should
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(site.port, old)


# --- the first certificate -----------------------------------------------------------------------


def test_a_token_brings_a_certificate_and_its_pin_and_both_are_on_record(site):
    reply = enroll(site, site.invite())
    assert reply.status == 200, reply.body
    (leaf,) = parse_certificates(reply.body)
    assert leaf.common_name == "acme"
    assert pins(site) == (format_pin(pin_of(leaf)),)
    (record,) = site.audit()
    assert (record["kind"], record["action"]) == ("admin", "cert.enroll")
    assert (record["user"], record["peer_address"]) == ("acme", "127.0.0.1")
    assert (record["serial"], record["pins"]) == (leaf.serial, list(pins(site)))


def test_without_a_token_one_is_asked_for(site):
    reply = ask(site.port, "POST", ENROLL, make_request(), site.context())
    assert reply.status == 401
    assert reply.fields["www-authenticate"].startswith("Basic ")


def test_a_token_cannot_be_replayed(site):
    token = site.invite()
    assert enroll(site, token).status == 200
    reply = enroll(site, token)
    assert reply.status == 401
    assert len(pins(site)) == 1
    record = site.audit()[-1]
    assert (record["kind"], record["target"]) == ("refusal", "acme")
    assert record["reply"].startswith("401 no such invitation")


def test_wrong_tokens_are_listened_to_a_few_times(site):
    token = site.invite()
    for _ in range(MAX_REFUSALS):
        assert enroll(site, "wrong").status == 401
    blocked = enroll(site, token)
    assert blocked.status == 429
    assert 0 < int(blocked.fields["retry-after"]) <= 61
    assert len(site.audit()) == MAX_REFUSALS


def test_renewals_are_refused_and_put_on_record_a_few_times(site):
    stranger, partner = site.issue("stranger"), known(site)
    for _ in range(MAX_REFUSALS):
        assert reenroll(site, stranger, make_request("stranger")).status == 403
    assert reenroll(site, stranger, make_request("stranger")).status == 429
    assert reenroll(site, partner).status == 429  # an address is one client
    assert len(site.audit()) == MAX_REFUSALS


def test_requests_that_a_good_token_does_not_excuse_count_too(site):
    token = site.invite()
    for _ in range(MAX_REFUSALS):
        assert enroll(site, token, b"garbage").status == 400
    assert enroll(site, token).status == 429
    assert len(site.audit()) == MAX_REFUSALS


@pytest.mark.parametrize("name", ["ac\nme", "x" * 5000, "Ä", "", '"; drop'])
def test_any_name_may_be_given_and_is_put_on_record_harmlessly(site, name):
    site.invite()
    assert enroll(site, "wrong", b"x", name).status == 401
    (record,) = site.audit()
    assert len(record["target"]) <= 300
    assert record["target"].isascii()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"garbage", 400),
        (b"\x00" * 1000, 400),
        (make_request("root"), 400),
        (make_request(dns=["mx.example.org"]), 400),
        (b"x" * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=["nothing", "garbage", "zeros", "another name", "more names", "too large"],
)
def test_what_is_refused_says_nothing_of_our_inside(site, body, status):
    reply = enroll(site, site.invite(), body)
    assert reply.status == status
    assert b"Traceback" not in reply.body
    assert b"Error" not in reply.body
    assert not site.allowlist.exists()


def test_a_ca_that_cannot_sign_is_503(site):
    site.ca.issuing_key_path.unlink()
    reply = enroll(site, site.invite())
    assert (reply.status, reply.fields["retry-after"]) == (503, "300")
    assert str(site.folder).encode() not in reply.body


def test_an_audit_trail_that_cannot_be_written_does_not_lose_the_certificate(site):
    site.settings.audit.path.mkdir()
    reply = enroll(site, site.invite())
    assert reply.status == 200


# --- the next one --------------------------------------------------------------------------------


def test_a_current_certificate_brings_the_next_and_both_pins_stand(site):
    files = known(site)
    reply = reenroll(site, files)
    assert reply.status == 200, reply.body
    (new,) = parse_certificates(reply.body)
    assert pins(site) == tuple(format_pin(pin_of(each)) for each in (files.certificate, new))
    record = site.audit()[-1]
    assert (record["action"], record["user"]) == ("cert.reenroll", "acme")


def test_without_a_certificate_there_is_no_next_one(site):
    known(site)
    reply = ask(site.port, "POST", REENROLL, make_request(), site.context())
    assert reply.status == 403


def test_a_revoked_certificate_brings_none(site):
    files = known(site)
    CaLists(site.ca).revoke("acme", x509.ReasonFlags.key_compromise, "ann")
    reply = reenroll(site, files)
    assert (reply.status, reply.body) == (403, b"the certificate is revoked\n")
    assert len(pins(site)) == 1


def test_one_identity_cannot_ask_for_another(site):
    known(site, "victim")
    reply = reenroll(site, known(site), make_request("victim"))
    assert reply.status == 400
    assert len(pins(site, "victim")) == 1


def test_a_certificate_of_our_ca_that_nobody_is_known_by_brings_none(site):
    known(site)
    reply = reenroll(site, site.issue("stranger"), make_request("stranger"))
    assert reply.status == 403


def is_cut_off(site, files):
    """Whether the handshake comes to nothing; in TLS 1.3 a client notices when it reads."""
    try:
        return reenroll(site, files).status == 0
    except (ssl.SSLError, ConnectionResetError):
        return True


def test_a_certificate_of_another_ca_ends_the_handshake(site, tmp_path):
    foreign = create_ca(tmp_path / "foreign", "Our CA")
    assert is_cut_off(site, issue_to_files(foreign, Subject("acme"), tmp_path / "foreign"))


def test_an_expired_certificate_ends_the_handshake(site):
    assert is_cut_off(site, known(site, days=-0.003))
    assert not is_cut_off(site, known(site, "other"))


# --- requests bound to their connection (RFC 7030 3.5) -------------------------------------------


def bound_exchange(site, token, challenge_of):
    context = site.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(site.port, context) as connection:
        unique = base64.b64encode(connection.get_channel_binding("tls-unique"))
        body = make_request(challenge=challenge_of(unique))
        head = f"POST {ENROLL} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('acme', token)}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return read_reply(connection)


@pytest.mark.parametrize(
    ("challenge_of", "status"),
    [(lambda unique: unique, 200), (lambda _: b"stolen", 400), (lambda unique: unique[:-1], 400)],
    ids=["this connection", "another", "nearly"],
)
def test_a_request_is_for_its_connection(site, challenge_of, status):
    assert bound_exchange(site, site.invite(), challenge_of).status == status


def test_a_chain_without_its_intermediate_is_enough(site, tmp_path):
    """Some clients send their certificate alone."""
    key = make_key()
    issued = site.ca.issue(Subject("acme"), key.public_key(), valid_from_now(30))
    add_identity(site.allowlist, {"name": "acme", "pins": [format_pin(pin_of(issued))]})
    chain, key_path = tmp_path / "alone.pem", tmp_path / "alone.key"
    chain.write_bytes(encode_chain([Certificate(issued.x509)]))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    reply = ask(site.port, "POST", REENROLL, make_request(), site.context(chain, key_path))
    assert reply.status == 200


def test_without_a_ca_its_certificates_are_503(site):
    site.ca.certificate_path.unlink()
    reply = ask(site.port, "GET", "/.well-known/est/cacerts", tls=ssl._create_unverified_context())
    assert reply.status == 503
    assert str(site.folder).encode() not in reply.body
