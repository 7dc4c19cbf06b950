"""The decision: a table of certificates and who they are found to be, in the documented order."""

import time
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.model import Identity, Suspension, TrustStatus
from relay.pki.allowlist import Allowlist
from relay.pki.certificate import Certificate
from relay.pki.revocation import Answer, Mode, Modes, Outcome, Revocation
from relay.pki.trust import Anchors, decide
from tests.kit.pki import Authority, Issued, self_signed

NOW = datetime.now(UTC) + timedelta(minutes=1)  # what is made during the tests is valid
LONG_AGO, TOMORROW = NOW - timedelta(days=400), NOW + timedelta(days=1)
YESTERDAY = NOW - timedelta(days=1)

ROOT = Authority("Root")
BETWEEN = Authority("Between", parent=ROOT)
FOREIGN = Authority("Foreign")
ANCHORS = Anchors([ROOT.certificate])
NAME = "mail.acme.example"


def pin_only(issued, **values):
    return Identity(name="acme", pins=(issued.pin,), **values)


def pin_and_chain(issued, **values):
    return pin_only(issued, chain="required", **values)


def named(_issued, **values):
    return Identity(name="acme", names=(f"dns:{NAME}",), chain="required", **values)


def nobody(_issued):
    return Identity(name="other", pins=("spki:sha256:" + "0" * 64,))


def by_certificate(issued):
    return Identity(name="acme", pins=(issued.cert_pin,))


GARBLED = x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff")

GOOD = ROOT.issue(dns=[NAME])
VIA = BETWEEN.issue(dns=[NAME])
OWN = self_signed(dns=[NAME])
STRANGE = FOREIGN.issue(dns=[NAME])
SERVER = ROOT.issue(dns=[NAME], usages=("server",))
BOTH = ROOT.issue(dns=[NAME], usages=("client", "server"))
ANY = ROOT.issue(dns=[NAME], usages=("any",))
NO_USAGE = ROOT.issue(dns=[NAME], usages=(), key_usage=False)
CODE = ROOT.issue(dns=[NAME], usages=("code", "email"))
NO_SIGNING = ROOT.issue(dns=[NAME], digital_signature=False)
EXPIRED = ROOT.issue(dns=[NAME], not_before=LONG_AGO)
YOUNG = ROOT.issue(dns=[NAME], not_before=TOMORROW)
RSA_1024 = ROOT.issue(dns=[NAME], key="rsa1024")
P_192 = ROOT.issue(dns=[NAME], key="p192")
SHA1 = ROOT.issue(dns=[NAME], sha1=True)
ED25519 = ROOT.issue(dns=[NAME], key="ed25519")
MALFORMED = ROOT.issue(dns=[NAME], key_usage=False, extensions=[(GARBLED, True)])

S = TrustStatus
TABLE = [
    # who presents what                        pin only       pin + chain    name
    ("a good certificate",         GOOD,       S.PINNED,      S.PINNED,      S.NAMED),
    ("through an intermediate",    VIA,        S.PINNED,      S.PINNED,      S.NAMED),
    ("an Ed25519 key",             ED25519,    S.PINNED,      S.PINNED,      S.NAMED),
    ("self-signed",                OWN,        S.PINNED,      S.UNTRUSTED,   S.UNTRUSTED),
    ("from a foreign CA",          STRANGE,    S.PINNED,      S.UNTRUSTED,   S.UNTRUSTED),
    ("for servers only",           SERVER,     S.PINNED,      S.PINNED,      S.WRONG_USAGE),
    ("for servers and clients",    BOTH,       S.PINNED,      S.PINNED,      S.NAMED),
    ("for any purpose",            ANY,        S.PINNED,      S.PINNED,      S.NAMED),
    ("without any stated usage",   NO_USAGE,   S.PINNED,      S.PINNED,      S.NAMED),
    ("for signing code",           CODE,       S.WRONG_USAGE, S.WRONG_USAGE, S.WRONG_USAGE),
    ("without digitalSignature",   NO_SIGNING, S.WRONG_USAGE, S.WRONG_USAGE, S.WRONG_USAGE),
    ("expired",                    EXPIRED,    S.PINNED,      S.EXPIRED,     S.EXPIRED),
    ("not yet valid",              YOUNG,      S.PINNED,      S.NOT_YET_VALID, S.NOT_YET_VALID),
    ("RSA with 1024 bits",         RSA_1024,   S.WEAK_KEY,    S.WEAK_KEY,    S.WEAK_KEY),
    ("EC with 192 bits",           P_192,      S.WEAK_KEY,    S.WEAK_KEY,    S.WEAK_KEY),
    ("signed with SHA-1",          SHA1,       S.PINNED,      S.WEAK_KEY,    S.WEAK_KEY),
    ("with a garbled extension",   MALFORMED,  S.MALFORMED,   S.MALFORMED,   S.MALFORMED),
]  # fmt: skip
CASES = [
    pytest.param(issued, identity, status, id=f"{what}, {identity.__name__}")
    for what, issued, *statuses in TABLE
    for identity, status in zip((pin_only, pin_and_chain, named), statuses, strict=True)
]


def judge(issued, *identities, anchors=ANCHORS, **more):
    return decide(issued.certificates, Allowlist(identities), anchors, NOW, **more)


@pytest.mark.parametrize(("issued", "identity", "status"), CASES)
def test_what_is_presented_has_its_status(issued, identity, status):
    decision = judge(issued, identity(issued))
    assert decision.status is status
    assert decision.is_trusted == (status in {S.PINNED, S.NAMED})
    assert decision.reason
    assert (decision.identity is None) == (status is S.MALFORMED)
    assert decision.evidence["spki"] == issued.pin


@pytest.mark.parametrize("presented", [None, (), []])
def test_nothing_presented_is_absent(presented):
    decision = decide(presented, Allowlist(), Anchors(), NOW)
    assert (decision.status, decision.identity, decision.evidence) == (S.ABSENT, None, {})


@pytest.mark.parametrize("issued", [row[1] for row in TABLE if row[1] is not MALFORMED])
def test_whoever_has_no_identity_is_unpinned_whatever_else_is_wrong(issued):
    decision = judge(issued, nobody(issued))
    assert (decision.status, decision.identity) == (S.UNPINNED, None)
    assert decision.evidence["spki"] == issued.pin


@pytest.mark.parametrize("der", [b"", b"junk", GOOD.cert.public_bytes(Encoding.DER)[:-200]])
def test_junk_is_malformed_and_has_evidence_as_far_as_it_goes(der):
    decision = decide((Certificate(der),), Allowlist([pin_only(GOOD)]), ANCHORS, NOW)
    assert (decision.status, decision.identity) == (S.MALFORMED, None)
    assert decision.evidence["cert"].startswith("cert:sha256:")


# --- the order of the checks -----------------------------------------------------------------

PAST, FUTURE = {"not_after": YESTERDAY}, {"not_before": TOMORROW}
WEAK_AND_WRONG = ROOT.issue(dns=[NAME], key="rsa1024", usages=("code",), not_before=LONG_AGO)
WRONG_AND_EXPIRED = FOREIGN.issue(dns=[NAME], usages=("code",), not_before=LONG_AGO)
EXPIRED_AND_FOREIGN = FOREIGN.issue(dns=[NAME], not_before=LONG_AGO)


@pytest.mark.parametrize(
    ("issued", "identity", "limits", "status"),
    [
        (MALFORMED, pin_only, PAST, S.MALFORMED),
        (WEAK_AND_WRONG, pin_only, PAST, S.EXPIRED),
        (WEAK_AND_WRONG, named, FUTURE, S.NOT_YET_VALID),
        (WEAK_AND_WRONG, pin_and_chain, {}, S.WEAK_KEY),
        (WRONG_AND_EXPIRED, pin_and_chain, {}, S.WRONG_USAGE),
        (EXPIRED_AND_FOREIGN, pin_and_chain, {}, S.EXPIRED),
        (EXPIRED_AND_FOREIGN, pin_only, {}, S.PINNED),
    ],
)
def test_the_first_check_that_fails_gives_the_status(issued, identity, limits, status):
    assert judge(issued, identity(issued, **limits)).status is status


@pytest.mark.parametrize("identity", [pin_only, pin_and_chain, named])
def test_an_identitys_own_time_counts_to_the_last_moment(identity):
    assert judge(GOOD, identity(GOOD, not_before=NOW, not_after=NOW)).is_trusted
    just_over = identity(GOOD, not_after=NOW - timedelta(microseconds=1))
    just_not_yet = identity(GOOD, not_before=NOW + timedelta(microseconds=1))
    assert judge(GOOD, just_over).status is S.EXPIRED
    assert judge(GOOD, just_not_yet).status is S.NOT_YET_VALID
    assert judge(GOOD, just_over).identity is just_over


# --- who it is -------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [pin_only, pin_and_chain, named])
def test_a_suspension_holds_to_its_last_moment_and_goes_before_all_else(identity):
    until = NOW + timedelta(hours=2)
    suspended = Suspension("key stolen", "eve", NOW, until)

    def status(at, **values):
        known = Allowlist([identity(GOOD, suspended=suspended, **values)])
        return decide(GOOD.certificates, known, ANCHORS, at)

    found = status(until)
    assert found.status is S.SUSPENDED
    assert found.identity.name == "acme"
    assert found.reason == (
        f"suspended by eve at {NOW:%Y-%m-%d %H:%M} UTC until {until:%Y-%m-%d %H:%M} UTC: key stolen"
    )
    assert status(NOW, not_after=YESTERDAY).status is S.SUSPENDED
    assert status(until + timedelta(microseconds=1)).is_trusted


def test_a_suspension_without_an_end_holds():
    known = Allowlist([pin_only(GOOD, suspended=Suspension("on leave"))])
    found = decide(GOOD.certificates, known, ANCHORS, NOW)
    assert (found.status, found.reason) == (S.SUSPENDED, "suspended: on leave")


def test_a_certificate_pin_matches_this_certificate_only():
    renewed = ROOT.issue(dns=[NAME], key=GOOD.key)
    identity = by_certificate(GOOD)
    assert judge(GOOD, identity).evidence["matched"] == GOOD.cert_pin
    assert judge(renewed, identity).status is S.UNPINNED
    assert judge(renewed, pin_only(GOOD)).status is S.PINNED


def test_a_certificate_pin_goes_before_a_key_pin_and_any_pin_before_a_name():
    by_cert = Identity(name="by-cert", pins=(GOOD.cert_pin,))
    by_key = Identity(name="by-key", pins=(GOOD.pin,))
    by_name = Identity(name="by-name", names=(f"dns:{NAME}",), chain="required")
    assert judge(GOOD, by_name, by_key, by_cert).identity is by_cert
    assert judge(GOOD, by_name, by_key).identity is by_key
    assert judge(GOOD, by_name).identity is by_name


def test_a_refused_pin_is_not_rescued_by_a_name():
    pinned = Identity(name="pinned", pins=(GOOD.pin,), not_after=YESTERDAY)
    by_name = Identity(name="by-name", names=(f"dns:{NAME}",), chain="required")
    decision = judge(GOOD, pinned, by_name)
    assert (decision.status, decision.identity) == (S.EXPIRED, pinned)


@pytest.mark.parametrize("kind", ["dns", "uri", "email", "ip"])
def test_every_kind_of_name_can_identify(kind):
    value = {"dns": NAME, "uri": "spiffe://acme/a", "email": "a@acme.example", "ip": "192.0.2.1"}[
        kind
    ]
    issued = ROOT.issue(**{kind: [value]})
    identity = Identity(name="acme", names=(f"{kind}:{value}",), chain="required")
    decision = judge(issued, identity)
    assert decision.status is S.NAMED
    assert decision.evidence["matched"] == f"{kind}:{value}"
    assert "CN=Root vouches for" in decision.reason


def test_a_name_in_the_subject_is_no_name():
    assert judge(ROOT.issue(NAME), named(GOOD)).status is S.UNPINNED


def test_a_wildcard_in_a_certificate_identifies_nobody():
    assert judge(ROOT.issue(dns=["*.acme.example"]), named(GOOD)).status is S.UNPINNED


def test_names_of_two_identities_are_refused_of_one_are_fine():
    issued = ROOT.issue(dns=["a.example", "b.example"])
    first = Identity(name="a", names=("dns:a.example",), chain="required")
    second = Identity(name="b", names=("dns:b.example",), chain="required")
    both = Identity(name="c", names=("dns:a.example", "dns:b.example"), chain="required")
    decision = judge(issued, first, second)
    assert (decision.status, decision.identity) == (S.UNTRUSTED, None)
    assert decision.evidence["matched"] == "dns:a.example dns:b.example"
    assert judge(issued, both).status is S.NAMED


def test_without_anchors_only_pins_count():
    assert judge(GOOD, named(GOOD), anchors=Anchors()).status is S.UNTRUSTED
    assert judge(GOOD, pin_and_chain(GOOD), anchors=Anchors()).status is S.UNTRUSTED
    assert judge(GOOD, pin_only(GOOD), anchors=Anchors()).status is S.PINNED


def test_a_leaf_without_its_intermediate_has_no_path():
    decision = decide(VIA.certificates[:1], Allowlist([named(VIA)]), ANCHORS, NOW)
    assert decision.status is S.UNTRUSTED
    assert "CN=Between" in decision.reason


def test_the_evidence_is_flat_text_about_the_leaf():
    evidence = judge(VIA, pin_only(VIA)).evidence
    leaf = VIA.certificates[0]
    assert evidence == {
        "spki": VIA.pin,
        "cert": VIA.cert_pin,
        "subject": "CN=client.example",
        "issuer": "CN=Between",
        "serial": f"{VIA.cert.serial_number:x}",
        "not_before": f"{leaf.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{leaf.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "names": f"dns:{NAME}",
        "chain_length": "2",
        "matched": VIA.pin,
    }


def test_a_ca_for_servers_vouches_for_no_client_by_name():
    """A public CA's intermediate is for servers; whoever is pinned may have a certificate of it."""
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    issued = Authority("Servers", parent=ROOT, extensions=[(usage, False)]).issue(dns=[NAME])
    decision = judge(issued, named(issued))
    assert (decision.status, decision.reason) == (
        S.UNTRUSTED,
        "CN=Servers is no CA for this use, says its extended key usage",
    )
    assert judge(issued, pin_and_chain(issued)).status is S.PINNED


# --- revocation ------------------------------------------------------------------------------


class Source:
    """Knows one certificate as something, all others as good; remembers what it was asked."""

    name = "crl"

    def __init__(self, known, outcome="revoked"):
        self.known, self.outcome, self.asked = known.cert.serial_number, Outcome(outcome), []

    def status(self, certificate, issuer, now):
        self.asked.append((certificate.common_name, issuer.common_name))
        if certificate.x509.serial_number == self.known:
            return Answer(self.outcome, "so its CA says")
        return Answer(Outcome.GOOD, "so its CA says")


def revocation(known, outcome="revoked", mode="soft"):
    return Revocation([Source(known, outcome)], Modes(Mode(mode)))


@pytest.mark.parametrize("identity", [pin_only, pin_and_chain, named])
@pytest.mark.parametrize(("mode", "outcome"), list(product(Mode, Outcome)))
def test_what_is_known_of_revocation_decides_even_if_pinned(mode, outcome, identity):
    decision = judge(GOOD, identity(GOOD), revocation=revocation(GOOD, outcome, mode))
    trusted = S.NAMED if identity is named else S.PINNED
    expected = trusted
    if outcome is Outcome.REVOKED and mode is not Mode.OFF:
        expected = S.REVOKED
    elif outcome is not Outcome.GOOD and mode is Mode.HARD:
        expected = S.REVOCATION_UNKNOWN
    assert decision.status is expected
    assert decision.identity == identity(GOOD)
    assert decision.evidence["revocation_mode"] == mode
    assert decision.evidence.get("revocation") == (None if mode is Mode.OFF else outcome)
    assert (decision.reason == "so its CA says") is (expected is not trusted)


@pytest.mark.parametrize("outcome", ["revoked", "unknown"])
def test_a_ca_on_the_way_that_is_revoked(outcome):
    known = Issued(BETWEEN.cert, BETWEEN.key, ())
    decision = judge(VIA, named(VIA), revocation=revocation(known, outcome, "hard"))
    assert decision.status is (S.REVOKED if outcome == "revoked" else S.REVOCATION_UNKNOWN)
    assert decision.reason == "CN=Between: so its CA says"
    assert decision.evidence["revocation_asked"] == f"leaf crl=good, ca1 crl={outcome}"


def test_an_identity_may_have_its_own_mode():
    strict, lax = named(GOOD, revocation="hard"), named(GOOD, revocation="off")
    asked = revocation(GOOD, "stale", "soft")
    assert judge(GOOD, strict, revocation=asked).status is S.REVOCATION_UNKNOWN
    assert judge(GOOD, lax, revocation=revocation(GOOD, "revoked", "hard")).status is S.NAMED


def test_revocation_is_asked_last_and_sees_the_verified_path():
    asked = revocation(GOOD)
    for issued, identity in ((VIA, named), (EXPIRED, named), (STRANGE, pin_and_chain)):
        judge(issued, identity(issued), revocation=asked)
    assert asked.sources[0].asked == [("client.example", "Between"), ("Between", "Root")]


@pytest.mark.parametrize("issued", [OWN, STRANGE, EXPIRED])
def test_where_no_ca_vouches_nobody_is_asked_unless_the_identity_wants_it(issued):
    asked = revocation(issued, mode="hard")
    decision = judge(issued, pin_only(issued), revocation=asked)
    assert decision.status is S.PINNED
    assert decision.evidence["revocation_mode"] == "off"
    decision = judge(issued, pin_only(issued, revocation="hard"), revocation=asked)
    assert decision.status is S.REVOCATION_UNKNOWN
    assert decision.evidence["revocation"] == "no_source"
    assert asked.sources[0].asked == []


# --- cost ------------------------------------------------------------------------------------


def test_the_pinned_path_costs_next_to_nothing():
    chain, allowlist = OWN.certificates, Allowlist([pin_only(OWN)])
    decide(chain, allowlist, ANCHORS, NOW)
    best = min(_timed(lambda: decide(chain, allowlist, ANCHORS, NOW)) for _ in range(5))
    assert best < 250e-6  # measured: 12 us; the rest is for busy machines and coverage


def _timed(call, rounds=200):
    start = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - start) / rounds


def test_a_certificate_too_large_to_be_read_at_leisure_is_malformed():
    names = [f"host{number}.with-a-long-name.client.acme.example" for number in range(500)]
    big = Authority("Any CA").issue("client", dns=names)
    decision = decide(big.certificates, Allowlist(()), Anchors(()), NOW)
    assert decision.status is TrustStatus.MALFORMED
    assert "larger than" in decision.reason
    assert decision.evidence["cert"] == big.cert_pin
