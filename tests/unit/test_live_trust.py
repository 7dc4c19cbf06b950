"""The trust decision in force: lists that change under way, pins that end, chains that are remembered."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from relay.live_trust import LiveTrust
from relay.model import TlsFacts, TrustStatus
from relay.pki.allowlist import parse_allowlist
from relay.pki.certificate import Certificate
from tests.kit.pki import Authority
from tests.kit.services import FakeClock

ROOT = Authority("Root")
ISSUING = Authority("Issuing", parent=ROOT)
LEAF = ISSUING.issue("client", dns=("client.acme.example",))
PIN = f'[[identity]]\nname = "acme"\npins = ["{LEAF.pin}"]\n'
NAME = '[[identity]]\nname = "acme"\nnames = ["dns:client.acme.example"]\n'


def facts(*certificates, resumed=False):
    return TlsFacts("TLSv1.3", "c", 256, "g", resumed=resumed, certificates=certificates)


def live(text, clock, **options):
    material = SimpleNamespace(
        allowlist=parse_allowlist(text, "allowlist.toml"),
        settings=SimpleNamespace(
            listener=[SimpleNamespace(name="partners", revocation="soft")],
            revocation=SimpleNamespace(sources=("crl", "ocsp")),
        ),
        listeners={"partners": SimpleNamespace(anchors=(Certificate(ROOT.cert),))},
        authorities=(),
    )
    return LiveTrust(material, clock, **options)


@pytest.fixture
def clock():
    made = FakeClock()
    made.time = LEAF.certificates[0].not_before + timedelta(hours=1)
    return made


def test_another_list_is_another_decision_and_another_version(clock):
    trust = live(PIN, clock)
    before = trust.version
    assert trust.decide("partners", facts(LEAF.certificates[0])).status is TrustStatus.PINNED
    trust.replace(parse_allowlist("", "allowlist.toml"))
    assert trust.version != before
    assert trust.decide("partners", facts(LEAF.certificates[0])).status is TrustStatus.UNPINNED


def test_the_end_of_a_pin_is_another_version(clock):
    end = (clock.time + timedelta(hours=1)).isoformat()
    trust = live(f"{PIN}not_after = {end}\n", clock)
    before = trust.version
    assert trust.version == before
    clock.advance(timedelta(hours=2))
    assert trust.version != before
    assert trust.decide("partners", facts(LEAF.certificates[0])).status is TrustStatus.EXPIRED


def test_the_end_of_a_suspension_is_another_version(clock):
    end = (clock.time + timedelta(hours=1)).isoformat()
    trust = live(f'{PIN}suspended = {{ reason = "x", until = {end} }}\n', clock)
    before = trust.version
    assert trust.decide("partners", facts(LEAF.certificates[0])).status is TrustStatus.SUSPENDED
    clock.advance(timedelta(hours=2))
    assert trust.version != before
    assert trust.decide("partners", facts(LEAF.certificates[0])).is_trusted


def test_no_certificate_is_absent(clock):
    assert live(PIN, clock).decide("partners", None).status is TrustStatus.ABSENT


def test_a_resumed_session_is_decided_by_the_chain_seen_before(clock):
    told = []
    trust = live(NAME, clock, on_intermediate=told.append)
    leaf, *above = LEAF.certificates
    assert trust.decide("partners", facts(leaf, resumed=True)).status is TrustStatus.UNTRUSTED
    assert trust.decide("partners", facts(leaf, *above)).status is TrustStatus.NAMED
    assert told == [Certificate(ISSUING.cert)]
    assert trust.decide("partners", facts(leaf, resumed=True)).status is TrustStatus.NAMED
    trust.decide("partners", facts(leaf, *above))
    assert len(told) == 1


def test_what_an_untrusted_chain_shows_is_not_remembered(clock):
    told = []
    elsewhere = Authority("Elsewhere CA", parent=Authority("Elsewhere"))
    stranger = elsewhere.issue("client", dns=("client.acme.example",))
    live(NAME, clock, on_intermediate=told.append).decide("partners", facts(*stranger.certificates))
    assert told == []
