"""Who may have a certificate, for which key and with which names; the pin is on the list with it."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from relay.allowlist_file import (
    add_identity,
    add_pins,
    read_allowlist,
    remove_identity,
    remove_pin,
    suspend_identity,
)
from relay.ca_folder import create_ca, valid_from_now
from relay.ca_lists import CaLists
from relay.enrolment import MAX_LIVE_CERTIFICATES, Denial, Denied, Enrolled, Enrolment
from relay.errors import ConfigurationError, Unavailable
from relay.invitations import Invitations
from relay.model import Restriction, RestrictionKind, Suspension
from relay.pki.certificate import Certificate
from relay.pki.est import encode_request
from relay.pki.issuing import Subject, issue_leaf
from relay.pki.pins import format_pin, pin_of
from relay.policy.restrictions import Restrictions

NAMES = ("dns:a.acme.example",)
LIFETIME = timedelta(days=90)


def make_key():
    return ec.generate_private_key(ec.SECP256R1())


def body(key, name="acme", dns=()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(each) for each in dns])
        builder = builder.add_extension(names, critical=False)
    return encode_request(builder.sign(key, hashes.SHA256()))


class Place:
    """A CA, an allowlist and what enrols with them."""

    def __init__(self, folder):
        self.ca = create_ca(folder / "ca", "Our CA")
        self.allowlist = folder / "allowlist.toml"
        self.restrictions = Restrictions()
        self.restrictions.is_known = True
        self.enrolment = Enrolment(self.ca, self.allowlist, LIFETIME, None, self.restrictions)
        self.invitations = Invitations(self.ca.folder)

    def invite(self, name="acme", *, identity=None, names=NAMES, days=30):
        values = {"senders": ["@acme.example"]} if identity is None else identity
        return self.invitations.invite(
            Subject(name, names),
            lifetime=timedelta(days=days),
            valid_for=timedelta(hours=1),
            identity=values,
            by="ann",
        )

    def invite_known(self, name="acme"):
        return self.invitations.invite(
            Subject(name),
            lifetime=LIFETIME,
            valid_for=timedelta(hours=1),
            identity=None,
            by="ann",
        )

    def enrol(self, key=None, name="acme"):
        done = self.enrolment.enrol(name, self.invite(name), body(key or make_key(), name))
        assert isinstance(done, Enrolled), done
        return done.chain[0]

    def restrict(self, kind, subject):
        self.restrictions.put(Restriction(kind, subject, "a rule says so", "policy", 0.0, None))

    def identity(self, name="acme"):
        return read_allowlist(self.allowlist).find(name)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def pin(certificate):
    return format_pin(pin_of(certificate))


def denied(outcome, denial, words):
    assert isinstance(outcome, Denied), outcome
    assert outcome.denial is denial
    assert words in outcome.reason


# --- the first certificate -----------------------------------------------------------------------


def test_an_invitation_brings_a_certificate_and_an_identity_with_its_pin(place):
    key = make_key()
    done = place.enrolment.enrol("acme", place.invite(days=30), body(key, dns=["a.acme.example"]))
    leaf = done.chain[0]
    assert leaf.x509.public_key() == key.public_key()
    assert (leaf.common_name, leaf.names) == ("acme", NAMES)
    assert leaf.not_after - datetime.now(UTC) < timedelta(days=30, minutes=1)
    assert place.identity().pins == (pin(leaf),) == (done.pin,)
    assert place.identity().senders is not None


def test_names_are_those_of_the_invitation_whatever_the_request_leaves_out(place):
    leaf = place.enrol()
    assert leaf.names == NAMES


def test_who_is_known_gets_a_second_pin(place):
    other = f"spki:sha256:{'ab' * 32}"
    add_identity(place.allowlist, {"name": "acme", "pins": [other]})
    done = place.enrolment.enrol("acme", place.invite_known(), body(make_key()))
    assert place.identity().pins == (other, done.pin)


def test_who_was_known_and_is_no_more_does_not_come_back_without_limits(place):
    add_identity(place.allowlist, {"name": "acme", "pins": [f"spki:sha256:{'ab' * 32}"]})
    token = place.invite_known()
    remove_identity(place.allowlist, "acme")
    outcome = place.enrolment.enrol("acme", token, body(make_key()))
    denied(outcome, Denial.FORBIDDEN, "not known any more")
    assert place.identity() is None


def test_a_token_is_good_once(place):
    token = place.invite()
    place.enrolment.enrol("acme", token, body(make_key()))
    outcome = place.enrolment.enrol("acme", token, body(make_key()))
    denied(outcome, Denial.CREDENTIALS, "has been used")
    assert len(place.ca.issued()) == 1


def test_an_answer_that_was_lost_can_be_had_again_for_the_same_key(place):
    token, key = place.invite(), make_key()
    first = place.enrolment.enrol("acme", token, body(key))
    again = place.enrolment.enrol("acme", token, body(key))
    assert again == first
    assert len(place.ca.issued()) == 1


def _removes_the_identity(place, leaf):
    remove_identity(place.allowlist, "acme")


def _removes_the_pin(place, leaf):
    add_pins(place.allowlist, "acme", [f"spki:sha256:{'ab' * 32}"])
    remove_pin(place.allowlist, "acme", pin(leaf))


@pytest.mark.parametrize("act", [_removes_the_identity, _removes_the_pin])
def test_whom_the_operator_has_removed_no_old_token_brings_back(place, act):
    key, token = make_key(), place.invite()
    leaf = place.enrolment.enrol("acme", token, body(key)).chain[0]
    act(place, leaf)
    before = place.allowlist.read_text()
    outcome = place.enrolment.enrol("acme", token, body(key))
    denied(outcome, Denial.FORBIDDEN, "any more")
    assert place.allowlist.read_text() == before


def test_a_pin_that_could_not_be_added_comes_with_the_next_request(place):
    key, token = make_key(), place.invite()
    place.allowlist.mkdir()
    with pytest.raises(OSError):
        place.enrolment.enrol("acme", token, body(key))
    place.allowlist.rmdir()
    done = place.enrolment.enrol("acme", token, body(key))
    assert place.identity().pins == (done.pin,)


@pytest.mark.parametrize(
    ("name", "token"), [("acme", "wrong"), ("other", None), ("", None), ("acme", "")]
)
def test_a_wrong_name_or_token_is_told_no_more_than_that(place, name, token):
    good = place.invite()
    outcome = place.enrolment.enrol(name, good if token is None else token, body(make_key()))
    denied(outcome, Denial.CREDENTIALS, "no such invitation")
    assert isinstance(place.enrolment.enrol("acme", good, body(make_key())), Enrolled)


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (b"garbage", "no signing request"),
        (body(make_key(), "root"), "the common name is acme"),
        (body(make_key(), dns=["b.acme.example"]), "the alternative names are dns:a.acme.example"),
        (body(make_key(), dns=["a.acme.example", "mx.example.org"]), "the alternative names are"),
    ],
)
def test_a_request_for_more_is_refused_and_the_token_is_still_good(place, request_body, words):
    token = place.invite()
    denied(place.enrolment.enrol("acme", token, request_body), Denial.REQUEST, words)
    assert place.ca.issued() == []
    assert isinstance(place.enrolment.enrol("acme", token, body(make_key())), Enrolled)


def test_a_suspended_identity_gets_none(place):
    place.enrol()
    suspend_identity(place.allowlist, "acme", Suspension("key stolen?", "ann"))
    outcome = place.enrolment.enrol("acme", place.invite(), body(make_key()))
    denied(outcome, Denial.FORBIDDEN, "suspended")
    assert "stolen" not in outcome.reason


def test_a_key_that_is_anothers_is_not_certified(place):
    key = make_key()
    place.enrol(key)
    token = place.invite("other")
    outcome = place.enrolment.enrol("other", token, body(key, "other"))
    denied(outcome, Denial.FORBIDDEN, "another identity's")
    assert place.identity("other") is None


def test_a_key_of_a_revoked_certificate_is_not_certified_again(place):
    key = make_key()
    leaf = place.enrol(key)
    CaLists(place.ca).revoke(leaf.serial, x509.ReasonFlags.key_compromise, "ann")
    outcome = place.enrolment.enrol("acme", place.invite(), body(key))
    denied(outcome, Denial.FORBIDDEN, "revoked")


def test_a_ca_that_cannot_sign_uses_no_token_up(place):
    token = place.invite()
    sealed = place.ca.issuing_key_path.read_bytes()
    place.ca.issuing_key_path.write_bytes(b"")
    with pytest.raises(ConfigurationError):
        place.enrolment.enrol("acme", token, body(make_key()))
    place.ca.issuing_key_path.write_bytes(sealed)
    assert isinstance(place.enrolment.enrol("acme", token, body(make_key())), Enrolled)


# --- the next one -------------------------------------------------------------------------------


def test_a_successor_has_the_same_names_and_its_pin_stands_beside_the_old_one(place):
    old = place.enrol()
    done = place.enrolment.reenrol(old, body(make_key(), dns=["a.acme.example"]))
    new = done.chain[0]
    assert (new.common_name, new.names) == (old.common_name, old.names)
    assert new.spki_sha256 != old.spki_sha256
    assert abs((new.not_after - new.not_before) - (old.not_after - old.not_before)) < timedelta(
        seconds=2
    )
    assert place.identity().pins == (pin(old), pin(new))


def test_a_successor_holds_no_longer_than_the_lifetime_of_est(place):
    issued = place.ca.issue(Subject("acme"), make_key().public_key(), valid_from_now(3000))
    add_identity(place.allowlist, {"name": "acme", "pins": [pin(issued)]})
    new = place.enrolment.reenrol(issued, body(make_key())).chain[0]
    assert new.not_after - datetime.now(UTC) <= LIFETIME


def test_who_is_known_by_name_needs_no_pin(place):
    issued = place.ca.issue(Subject("acme", NAMES), make_key().public_key(), valid_from_now(30))
    add_identity(place.allowlist, {"name": "billing", "names": list(NAMES)})
    done = place.enrolment.reenrol(issued, body(make_key()))
    assert done.identity == "billing"
    assert place.identity("billing").pins == ()


def revoke(place, leaf):
    CaLists(place.ca).revoke(leaf.serial, x509.ReasonFlags.unspecified, "ann")


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (revoke, "the certificate is revoked"),
        (
            lambda place, _: suspend_identity(place.allowlist, "acme", Suspension("x")),
            "the identity is suspended",
        ),
        (
            lambda place, _: place.restrict(RestrictionKind.SUSPENSION, "acme"),
            "the identity is suspended",
        ),
        (
            lambda place, leaf: place.restrict(RestrictionKind.REVOCATION, pin(leaf)),
            "the certificate is revoked",
        ),
        (lambda place, _: remove_identity(place.allowlist, "acme"), "nobody is known"),
        (
            lambda place, _: (place.ca.folder / "issued.jsonl").unlink(),
            "not a certificate of this CA",
        ),
    ],
    ids=[
        "revoked",
        "suspended",
        "suspended by a rule",
        "revoked elsewhere",
        "removed",
        "no record",
    ],
)
def test_who_is_not_in_good_standing_gets_no_successor(place, happens, words):
    leaf = place.enrol()
    happens(place, leaf)
    denied(place.enrolment.reenrol(leaf, body(make_key())), Denial.FORBIDDEN, words)


def test_whom_a_rule_has_suspended_no_invitation_helps(place):
    place.enrol()
    place.restrict(RestrictionKind.SUSPENSION, "acme")
    outcome = place.enrolment.enrol("acme", place.invite_known(), body(make_key()))
    denied(outcome, Denial.FORBIDDEN, "the identity is suspended")


def test_a_key_that_is_revoked_in_the_fleet_is_not_certified(place):
    key = make_key()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    place.restrict(RestrictionKind.REVOCATION, f"spki:sha256:{hashlib.sha256(spki).hexdigest()}")
    outcome = place.enrolment.enrol("acme", place.invite(), body(key))
    denied(outcome, Denial.FORBIDDEN, "make another key")


def test_while_nobody_knows_who_is_suspended_nobody_gets_a_certificate(place):
    leaf = place.enrol()
    place.restrictions.is_known = False
    with pytest.raises(Unavailable):
        place.enrolment.reenrol(leaf, body(make_key()))
    with pytest.raises(Unavailable):
        place.enrolment.enrol("other", place.invite("other"), body(make_key(), "other"))
    assert len(place.ca.issued()) == 1


def test_a_certificate_that_only_looks_like_ours_gets_no_successor(place, tmp_path):
    leaf = place.enrol()
    impostor = create_ca(tmp_path / "impostor", "Our CA").issuer()
    forged = issue_leaf(
        Subject("acme", NAMES), leaf.public_key, impostor, int(leaf.serial, 16), valid_from_now(30)
    )
    outcome = place.enrolment.reenrol(Certificate(forged), body(make_key()))
    denied(outcome, Denial.FORBIDDEN, "not a certificate of this CA")


def test_a_successor_may_not_take_anothers_key(place):
    key = make_key()
    place.enrol(key, "other")
    outcome = place.enrolment.reenrol(place.enrol(), body(key))
    denied(outcome, Denial.FORBIDDEN, "another identity's")


def test_whoever_renews_in_a_loop_is_stopped(place):
    leaf = place.enrol()
    for _ in range(MAX_LIVE_CERTIFICATES - 1):
        leaf = place.enrolment.reenrol(leaf, body(make_key())).chain[0]
    outcome = place.enrolment.reenrol(leaf, body(make_key()))
    denied(outcome, Denial.FORBIDDEN, f"{MAX_LIVE_CERTIFICATES} valid certificates")


def test_the_cas_are_told_the_root_last(place):
    issuing, root = place.enrolment.ca_certificates()
    assert issuing.issuer == root.subject == root.issuer
