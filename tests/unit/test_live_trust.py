"""The trust decision in force: lists that change under way, pins that end, chains that are remembered."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest

from relay.live_trust import LiveTrust
from relay.model import Restriction, RestrictionKind, TlsFacts, TrustStatus
from relay.pki import trust as pki_trust
from relay.pki.allowlist import parse_allowlist
from relay.pki.certificate import Certificate
from relay.pki.revocation import Outcome
from relay.pki.trust import Anchors
from relay.policy.restrictions import Restrictions
from relay.revocation.ocsp_news import News, OcspUrls, key_of
from relay.revocation.ocsp_view import OcspView
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority
from tests.kit.services import FakeClock

ROOT = Authority("Root")
ISSUING = Authority("Issuing", parent=ROOT)
LEAF = ISSUING.issue("client", dns=("client.acme.example",))
PIN = f'[[identity]]\nname = "acme"\npins = ["{LEAF.pin}"]\n'
NAME = '[[identity]]\nname = "acme"\nnames = ["dns:client.acme.example"]\n'


def facts(*certificates, resumed=False):
    return TlsFacts("TLSv1.3", "c", 256, "g", resumed=resumed, certificates=certificates)


def live(text, clock, sources=("crl", "ocsp"), **options):
    material = SimpleNamespace(
        allowlist=parse_allowlist(text, "allowlist.toml"),
        settings=SimpleNamespace(
            listener=[SimpleNamespace(name="partners", revocation="soft")],
            revocation=SimpleNamespace(sources=sources),
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


CHAIN = f'{PIN}chain = "required"\n'


@pytest.mark.parametrize(
    ("text", "status"),
    [(NAME, TrustStatus.EXPIRED), (CHAIN, TrustStatus.EXPIRED), (PIN, TrustStatus.PINNED)],
)
def test_the_end_of_a_certificate_is_another_version_where_it_counts(clock, text, status):
    trust = live(text, clock)
    end = LEAF.certificates[0].not_after
    clock.time = end - timedelta(minutes=10)
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    before = trust.version
    clock.time = end + timedelta(seconds=0.9)
    assert trust.version == before  # it counts to the end of its last second
    clock.time = end + timedelta(seconds=1)
    assert (trust.version == before) is (status is TrustStatus.PINNED)
    assert trust.decide("partners", facts(*LEAF.certificates)).status is status


def test_the_end_of_an_intermediate_is_another_version(clock):
    short = Authority("Short", parent=ROOT, days=2, not_before=clock.time - timedelta(days=1))
    issued = short.issue("client", dns=("client.acme.example",))
    trust = live(NAME, clock)
    assert trust.decide("partners", facts(*issued.certificates)).is_trusted
    before = trust.version
    clock.advance(timedelta(days=1, seconds=2))
    assert trust.version != before
    assert trust.decide("partners", facts(*issued.certificates)).status is TrustStatus.EXPIRED


def test_the_end_of_an_anchor_is_another_version(clock):
    trust = live(NAME, clock)
    clock.time = Certificate(ROOT.cert).not_after
    before = trust.version
    clock.advance(timedelta(seconds=1))
    assert trust.version != before


def test_what_is_sent_along_and_cannot_be_read_does_no_harm(clock):
    trust = live(NAME, clock)
    sent = facts(*LEAF.certificates, Certificate(b"junk"))
    assert trust.decide("partners", sent).status is TrustStatus.NAMED
    assert trust.decide("partners", sent).status is TrustStatus.NAMED


def test_so_many_ends_are_remembered_and_no_more(clock, monkeypatch):
    monkeypatch.setattr("relay.live_trust._MAX_ENDS", 4)
    trust = live(NAME, clock)
    for days in range(3, 12):
        issued = ROOT.issue("client", dns=("client.acme.example",), days=days)
        assert trust.decide("partners", facts(*issued.certificates)).is_trusted
    assert len(trust._ends) <= 4
    before = trust.version
    clock.time = issued.certificates[0].not_before + timedelta(days=3, seconds=2)
    assert trust.version != before


def test_anchors_that_go_take_their_clients_along(clock):
    trust = live(NAME, clock)
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    before = trust.version
    trust.replace_anchors({"another": Anchors(), "partners": Anchors([Certificate(ROOT.cert)])})
    assert trust.version == before
    trust.replace_anchors({"another": Anchors()})
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    trust.replace_anchors({"partners": Anchors()})
    assert trust.version != before
    assert trust.decide("partners", facts(*LEAF.certificates)).status is TrustStatus.UNTRUSTED


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


# --- OCSP -----------------------------------------------------------------------------------------


OCSP_LEAF = ISSUING.issue(
    "client", dns=("client.acme.example",), extensions=[access_to("http://ocsp.example")]
)
OCSP_KEY = key_of(OCSP_LEAF.certificates[0], ISSUING.certificate)


class Asking:
    """A trust decision that asks OCSP responders, and what it has asked."""

    def __init__(self, clock, sources=("crl", "ocsp")):
        self.asked = []
        view = OcspView(OcspUrls(), timedelta(seconds=5), lambda *each: self.asked.append(each))
        self.trust = live(NAME, clock, ocsp=view, sources=sources)
        self.clock = clock

    def decide(self):
        return self.trust.decide("partners", facts(*OCSP_LEAF.certificates))

    def learn(self, outcome, after=timedelta(hours=1)):
        until = (self.clock.time + after).timestamp()
        self.trust.learn([News(OCSP_KEY, Outcome(outcome), "so it says", until)])


def in_a_loop(script):
    async def main():
        async with asyncio.timeout(10):
            await script()

    asyncio.run(main())


def test_what_is_not_known_is_asked_waited_for_and_decided_again(clock):
    async def script():
        asking = Asking(clock)
        decision = asking.decide()
        assert decision.questions == (OCSP_KEY,)
        assert decision.evidence["revocation_asked"] == (
            "leaf crl=no_source ocsp=unreachable, ca1 crl=no_source ocsp=no_source"
        )
        waiting = asyncio.create_task(asking.trust.answered(decision.questions))
        await asyncio.sleep(0)
        asking.learn("revoked")
        await waiting
        decision = asking.decide()
        assert decision.status is TrustStatus.REVOKED
        assert decision.questions == ()
        assert len(asking.asked) == 1

    in_a_loop(script)


@pytest.mark.parametrize(
    ("sources", "asked"),
    [
        (("crl", "ocsp"), "leaf crl=no_source ocsp=good"),
        (("ocsp", "crl"), "leaf ocsp=good"),
        (("crl",), "leaf crl=no_source"),
    ],
)
def test_sources_are_asked_in_the_order_of_the_settings(clock, sources, asked):
    async def script():
        asking = Asking(clock, sources)
        asking.learn("good")
        assert asking.decide().evidence["revocation_asked"].partition(",")[0] == asked

    in_a_loop(script)


def test_news_that_change_decisions_and_ends_of_answers_are_other_versions(clock):
    async def script():
        asking = Asking(clock)
        versions = [asking.trust.version]
        asking.learn("good")
        assert asking.trust.version == versions[0]  # nobody has been let in by anything else
        asking.learn("revoked")
        versions.append(asking.trust.version)
        asking.learn("good")
        versions.append(asking.trust.version)
        clock.advance(timedelta(hours=2))
        versions.append(asking.trust.version)
        assert len(set(versions)) == 4

    in_a_loop(script)


def test_an_answer_that_is_renewed_in_time_changes_nothing_and_moves_its_end(clock):
    async def script():
        asking = Asking(clock)
        asking.learn("good")
        before = asking.trust.version
        clock.advance(timedelta(minutes=50))
        asking.learn("good")
        clock.advance(timedelta(minutes=50))
        assert asking.trust.version == before
        clock.advance(timedelta(minutes=11))
        assert asking.trust.version != before

    in_a_loop(script)


def test_an_end_that_moves_does_not_hide_another(clock):
    async def script():
        asking = Asking(clock)

        def learn_of_another(after):
            until = (clock.time + after).timestamp()
            asking.trust.learn([News("another", Outcome.GOOD, "so it says", until)])

        learn_of_another(timedelta(seconds=10))
        asking.learn("good", timedelta(seconds=40))
        clock.advance(timedelta(seconds=20))
        before = asking.trust.version
        assert "leaf crl=no_source ocsp=good" in asking.decide().evidence["revocation_asked"]
        learn_of_another(timedelta(hours=1))
        clock.advance(timedelta(seconds=25))
        assert asking.trust.version != before
        assert "leaf crl=no_source ocsp=stale" in asking.decide().evidence["revocation_asked"]

    in_a_loop(script)


def test_the_end_of_a_certificate_ends_what_is_known_of_its_revocation_for_a_pin_too(clock):
    async def script():
        issued = ROOT.issue("client", extensions=[access_to("http://ocsp.example")])
        leaf = issued.certificates[0]
        pin = f'[[identity]]\nname = "acme"\npins = ["{issued.pin}"]\nrevocation = "hard"\n'
        view = OcspView(OcspUrls(), timedelta(seconds=5), lambda *_: None)
        trust = live(pin, clock, ocsp=view)
        clock.time = leaf.not_after - timedelta(seconds=10)
        until = (clock.time + timedelta(hours=1)).timestamp()
        trust.learn([News(key_of(leaf, ROOT.certificate), Outcome.GOOD, "so it says", until)])
        before = trust.version
        assert trust.decide("partners", facts(leaf)).status is TrustStatus.PINNED
        clock.advance(timedelta(seconds=12))
        assert trust.version != before
        assert trust.decide("partners", facts(leaf)).status is TrustStatus.REVOCATION_UNKNOWN

    in_a_loop(script)


def test_a_clock_that_is_set_back_changes_decisions_back(clock):
    end = (clock.time + timedelta(hours=1)).isoformat()
    trust = live(f"{PIN}not_after = {end}\n", clock)
    before = trust.version
    clock.advance(timedelta(hours=2))
    assert trust.version != before
    clock.advance(timedelta(hours=-2))
    assert trust.version == before


def test_a_day_is_another_version_so_that_who_stays_is_told_of(clock):
    trust = live(PIN, clock)
    before = trust.version
    clock.advance(timedelta(days=1))
    assert trust.version != before


def test_without_ocsp_nothing_is_learnt_or_waited_for(clock):
    async def script():
        trust = live(NAME, clock)
        before = trust.version
        trust.learn([News(OCSP_KEY, Outcome.REVOKED, "x", 0.0)])
        await trust.answered([OCSP_KEY])
        assert trust.version == before

    in_a_loop(script)


def test_what_an_untrusted_chain_shows_is_not_remembered(clock):
    told = []
    elsewhere = Authority("Elsewhere CA", parent=Authority("Elsewhere"))
    stranger = elsewhere.issue("client", dns=("client.acme.example",))
    live(NAME, clock, on_intermediate=told.append).decide("partners", facts(*stranger.certificates))
    assert told == []


# --- decisions that are given again ---------------------------------------------------------------


@pytest.fixture
def decided(monkeypatch):
    """The certificates of each decision that was really made."""
    made, decide = [], pki_trust.decide

    def counted(certificates, *arguments, **options):
        made.append(tuple(certificates))
        return decide(certificates, *arguments, **options)

    monkeypatch.setattr(pki_trust, "decide", counted)
    return made


def test_who_comes_again_within_a_minute_is_who_it_was(clock, decided):
    trust = live(NAME, clock)
    first = trust.decide("partners", facts(*LEAF.certificates))
    clock.advance(timedelta(seconds=59))
    assert trust.decide("partners", facts(*LEAF.certificates)) is first
    assert len(decided) == 1
    clock.advance(timedelta(seconds=1))
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    assert len(decided) == 2


def restrict(trust, clock):
    trust.restricted.put(
        Restriction(
            RestrictionKind.SUSPENSION, "acme", "abuse", "rule", clock.time.timestamp(), None
        )
    )
    trust.restrictions_changed()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda trust, _: trust.replace(parse_allowlist("", "x")), TrustStatus.UNPINNED),
        (lambda trust, _: trust.replace_anchors({"partners": Anchors()}), TrustStatus.UNTRUSTED),
        (restrict, TrustStatus.SUSPENDED),
        (lambda _, clock: clock.advance(timedelta(seconds=2)), TrustStatus.EXPIRED),
    ],
)
def test_no_decision_is_given_again_once_it_may_be_another(clock, change, status):
    end = (clock.time + timedelta(seconds=1)).isoformat()
    restrictions = Restrictions()
    trust = live(f"{NAME}not_after = {end}\n", clock, restrictions=restrictions)
    trust.restricted = restrictions
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    change(trust, clock)
    assert trust.decide("partners", facts(*LEAF.certificates)).status is status


def test_a_resumed_session_and_a_leaf_alone_are_decided_apart(clock):
    trust = live(NAME, clock)
    leaf = LEAF.certificates[0]
    assert trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    assert trust.decide("partners", facts(leaf, resumed=True)).is_trusted
    assert not trust.decide("partners", facts(leaf)).is_trusted


def test_who_is_refused_is_decided_anew_each_time(clock, decided):
    trust = live("", clock)
    for _ in range(3):
        assert not trust.decide("partners", facts(*LEAF.certificates)).is_trusted
    assert len(decided) == 3


def test_where_an_answer_is_missing_it_is_asked_for_each_time(clock, decided):
    async def script():
        asking = Asking(clock)
        assert asking.decide().questions
        asking.learn("good")
        for _ in range(2):
            assert "leaf crl=no_source ocsp=good" in asking.decide().evidence["revocation_asked"]
        assert len(decided) == 2

    in_a_loop(script)


def test_where_nobody_answers_it_is_looked_at_each_time(clock, decided):
    async def script():
        asking = Asking(clock)
        asking.learn("unreachable")
        for _ in range(2):
            assert asking.decide().evidence["revocation"] == "unreachable"
        assert len(decided) == 2

    in_a_loop(script)


def test_so_many_decisions_are_kept_and_no_more(clock, monkeypatch, decided):
    monkeypatch.setattr("relay.live_trust._MAX_STANDING", 2)
    trust = live(PIN + NAME.replace("acme", "named", 1), clock)
    leaf, issuing = LEAF.certificates
    shown = [(leaf,), (leaf, issuing), (leaf, issuing, issuing)]
    for chain in (*shown, *shown):
        assert trust.decide("partners", facts(*chain)).is_trusted
    assert 3 < len(decided) <= 6


def test_of_who_sends_too_much_along_nothing_is_kept(clock, decided):
    trust = live(NAME, clock)
    for junk in (b"junk", b"j" * 16_000):
        sent = facts(*LEAF.certificates, Certificate(junk))
        for _ in range(2):
            assert trust.decide("partners", sent).is_trusted
    assert len(decided) == 3
