"""The ledger: which event is charged to whom, what a handshake says, and who is weaker than before."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from relay.errors import Unavailable
from relay.model import (
    Address,
    Charge,
    Endpoint,
    Identity,
    Sender,
    TlsFacts,
    TrustDecision,
    TrustStatus,
)
from relay.policy.case import Case
from relay.policy.ledger import BestTls, Event, Ledger, SubjectKind, network_of
from relay.policy.limits import Count
from relay.state.memory import MemoryStore
from relay.tls.clienthello import ClientHello
from tests.kit.services import FakeClock

HELLO = ClientHello(versions=("TLSv1.3", "TLSv1.2"), ciphers=(0x1301,))
TLS = TlsFacts(
    "TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519MLKEM768", resumed=False, hello=HELLO
)
ACME = Identity("acme")
WEIGHTS = dict.fromkeys(Event, -1.0) | {Event.DELIVERED: 0.5, Event.EARLY_TALK: 0.0}


class ListedOutbox:
    """Keeps what it is given."""

    def __init__(self):
        self.scores, self.charges, self.values = [], [], {}

    def add_score(self, score):
        self.scores.append(score)

    def charge(self, charge):
        self.charges.append(charge)

    def put(self, key, value, until):
        self.values[key] = value


class Book:
    """A ledger and what came of it."""

    def __init__(self, store=None):
        self.outbox, self.clock, self.store = ListedOutbox(), FakeClock(), store or MemoryStore()
        best = BestTls(self.store, self.outbox, self.clock)
        half_lives = dict.fromkeys(SubjectKind, 3600.0)
        exempt = Endpoint("198.51.100.1", 1).address
        self.ledger = Ledger(
            WEIGHTS, half_lives, lambda peer: peer.address == exempt, self.outbox, best
        )

    def note(self, event, case):
        self.ledger.note(event, case)
        return {score.subject for score in self.outbox.scores}

    def handshake(self, case):
        return asyncio.run(self.ledger.handshake(case))


def case_of(address="192.0.2.7", **known):
    return Case(peer=Endpoint(address, 40_000), listener="public", **known)


MAIL = Sender(Address("a", "Acme.example"))


@pytest.mark.parametrize(
    ("case", "charged"),
    [
        (case_of(), {"debit/network/192.0.2.0/24"}),
        (case_of("2001:db8:1:2::3"), {"debit/network/2001:db8:1:2::/64"}),
        (case_of(tls=TLS), {"debit/network/192.0.2.0/24", f"debit/ja4/{HELLO.ja4}"}),
        (case_of(identity=ACME, tls=TLS), {"debit/identity/acme"}),
        (case_of("127.0.0.1", identity=ACME), {"debit/identity/acme"}),
        (case_of(identity=ACME, sender=MAIL), {"debit/identity/acme", "debit/sender/acme.example"}),
        (case_of(sender=MAIL), {"debit/network/192.0.2.0/24"}),
        (case_of(sender=MAIL, facts={"spf.result": "fail"}), {"debit/network/192.0.2.0/24"}),
        (case_of(sender=MAIL, facts={"spf.result": "pass"}), {"debit/network/192.0.2.0/24", "debit/sender/acme.example"}),
        (case_of(identity=ACME, sender=Sender(None)), {"debit/identity/acme"}),
        (case_of("198.51.100.1"), set()),
        (case_of("10.1.2.3", sender=MAIL, facts={"spf.result": "pass"}), set()),
        (case_of("/run/gatepost.sock"), set()),
    ],
)  # fmt: skip
def test_who_is_charged(case, charged):
    assert Book().note(Event.BREACH, case) == charged


def test_what_speaks_for_somebody_is_kept_apart_from_what_speaks_against_it():
    book = Book()
    assert book.note(Event.DELIVERED, case_of(identity=ACME)) == {"credit/identity/acme"}
    assert book.outbox.scores[0].weight == 0.5


def test_an_event_without_weight_is_not_noted():
    assert Book().note(Event.EARLY_TALK, case_of()) == set()


def offer(*versions, fallback=False):
    return ClientHello(versions=versions, ciphers=(0x5600, 1) if fallback else (1,))


@pytest.mark.parametrize(
    ("hello", "found"),
    [
        (offer("TLSv1.3"), ()),
        (offer("TLSv1.2"), ()),
        (offer("TLSv1.1"), (Event.OLD_VERSION,)),
        (offer("SSLv3", fallback=True), (Event.OLD_VERSION, Event.FALLBACK)),
        (offer("TLSv1.2", fallback=True), (Event.FALLBACK,)),
        (None, ()),
    ],
)
def test_what_an_offer_says(hello, found):
    book = Book()
    assert book.ledger.failed_handshake(hello, case_of()) == found
    assert len(book.outbox.scores) == len(found)
    assert book.handshake(case_of(tls=replace(TLS, hello=hello))) == found


@pytest.mark.parametrize(
    ("status", "is_noted"),
    [
        (TrustStatus.PINNED, False),
        (TrustStatus.ABSENT, False),
        (TrustStatus.SUSPENDED, False),
        (TrustStatus.REVOCATION_UNKNOWN, False),
        (TrustStatus.EXPIRED, True),
        (TrustStatus.REVOKED, True),
        (TrustStatus.UNPINNED, True),
    ],
)
def test_a_bad_certificate_is_noted_and_is_no_downgrade(status, is_noted):
    book = Book()
    case = case_of(tls=replace(TLS, hello=None), decision=TrustDecision(status, None, ""))
    assert book.handshake(case) == ()
    assert bool(book.outbox.scores) is is_noted


MODERN = replace(TLS, hello=None)
CLASSICAL = replace(MODERN, group="x25519")
OLDER = replace(MODERN, version="TLSv1.2", group="x25519")
RESUMED = replace(MODERN, group="", resumed=True)


@pytest.mark.parametrize(
    ("handshakes", "weaker"),
    [
        ([MODERN, MODERN], [False, False]),
        ([MODERN, CLASSICAL, MODERN], [False, True, False]),
        ([CLASSICAL, OLDER], [False, True]),
        ([OLDER, CLASSICAL, MODERN, CLASSICAL], [False, False, False, True]),
        ([MODERN, RESUMED], [False, False]),
        ([MODERN, replace(OLDER, group="")], [False, True]),
    ],
)
def test_weaker_than_the_best_so_far(handshakes, weaker):
    book = Book()
    found = [book.handshake(case_of(identity=ACME, tls=tls)) for tls in handshakes]
    assert [each == (Event.WEAKER,) for each in found] == weaker


def test_the_best_is_known_to_other_workers_by_the_store():
    book = Book()
    book.handshake(case_of(tls=MODERN))
    ((key, value),) = book.outbox.values.items()
    asyncio.run(book.store.put(key, value, book.clock.now().timestamp() + 60))
    other = Book(book.store)
    assert other.handshake(case_of("192.0.2.9", tls=CLASSICAL)) == (Event.WEAKER,)
    assert other.handshake(case_of("203.0.113.9", tls=CLASSICAL)) == ()


def test_a_store_that_is_away_holds_nobody_up_and_is_left_alone_for_a_while():
    class Away(MemoryStore):
        asked = 0

        async def get(self, key, now):
            self.asked += 1
            raise Unavailable("away")

    store = Away()
    book = Book(store)
    for _ in range(3):
        assert book.handshake(case_of(tls=CLASSICAL)) == ()
    assert store.asked == 1
    book.clock.advance(timedelta(seconds=31))
    book.handshake(case_of("203.0.113.9", tls=CLASSICAL))
    assert store.asked == 2


def test_what_is_counted_when_it_happens_is_charged_as_far_as_it_was_asked_for():
    book, case = Book(), case_of()
    charge = Charge("rejected/3600:192.0.2.0/24", 1, 10, 3600.0)
    book.ledger.count(Count.REJECTED_COMMANDS, case)
    case.noted[charge.key] = (Count.REJECTED_COMMANDS, charge)
    book.ledger.count(Count.HANDSHAKES, case)
    assert not book.outbox.charges
    book.ledger.count(Count.REJECTED_COMMANDS, case)
    assert book.outbox.charges == [charge]


def test_a_network_is_spelled_as_the_fact():
    assert network_of(Endpoint("::ffff:192.0.2.1", 1)) == "192.0.2.0/24"
    assert network_of(Endpoint("/run/x", 0)) == ""
