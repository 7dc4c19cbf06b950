"""The check `rate`: what is charged when, for whom, and what it says of a limit that is used up."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.checks.rate import RateCheck
from relay.errors import Unavailable
from relay.live_policy import offload
from relay.model import Address, Endpoint, Identity, Recipient, Sender, Tier
from relay.policy.case import Case
from relay.policy.check import Tools
from relay.policy.facts import Facts, Missing, Stage
from relay.state.memory import MemoryStore
from tests.kit.policy import engine_of, verdict_on
from tests.kit.services import FakeClock, World
from tests.kit.zones import FakeResolver

HOUR = timedelta(hours=1)


class Counter:
    """A check with a store and a clock of its own, asked for one stage after the other."""

    def __init__(self, limits, store=None):
        self.engine = engine_of(limits)
        self.clock = FakeClock()
        self.store = store or MemoryStore()
        self.check = RateCheck(self.store, self.clock)

    def ask(self, stage, facts, *, tier=None, message=b""):
        case = Case(peer=Endpoint("192.0.2.1", 1), listener="public", message=message)
        if tier is not None:
            case.identity = Identity("acme", tier=tier)
        case.facts, case.limits = Facts(facts), self.engine.limits
        report = asyncio.run(self.check.gather(case, stage, frozenset()))
        return tuple(report.values())


def limit(rate="2/1h", *, count="messages", key="sender.domain", name="own", more=""):
    return (
        f'[[limit]]\nname = "{name}"\ncount = "{count}"\nkey = ["{key}"]\nrate = ["{rate}"]\n{more}'
    )


ROOM = (False, "", 0)
ACME = {"sender.domain": "acme.example"}


def test_as_many_are_admitted_as_the_limit_says_and_then_when_there_is_room_again():
    counter = Counter(limit())
    answers = [counter.ask(Stage.SENDER, ACME) for _ in range(3)]
    assert answers == [ROOM, ROOM, (True, "own", 1800)]
    counter.clock.advance(timedelta(seconds=600))
    assert counter.ask(Stage.SENDER, ACME) == (True, "own", 1200)
    counter.clock.advance(timedelta(seconds=1200))
    assert counter.ask(Stage.SENDER, ACME) == ROOM


def test_each_value_of_the_key_has_a_counter_of_its_own():
    counter = Counter(limit("1/1h"))
    assert counter.ask(Stage.SENDER, ACME) == ROOM
    assert counter.ask(Stage.SENDER, {"sender.domain": "globex.example"}) == ROOM
    assert counter.ask(Stage.SENDER, ACME)[0]


def test_nobody_is_not_counted():
    counter = Counter(limit("1/1h"))
    assert [counter.ask(Stage.SENDER, {"sender.domain": ""}) for _ in range(3)] == [ROOM] * 3


def test_all_windows_are_charged_or_none():
    counter = Counter(limit("2/1m") + limit("3/1h", name="slow"))
    assert [counter.ask(Stage.SENDER, ACME)[0] for _ in range(4)] == [False, False, True, True]
    counter.clock.advance(timedelta(minutes=1))
    # what was refused was not charged to the slow one: there is room for a third
    assert counter.ask(Stage.SENDER, ACME) == ROOM
    exceeded, name, seconds = counter.ask(Stage.SENDER, ACME)
    assert (exceeded, name) == (True, "slow"), "the longest wait is told"
    assert 1100 < seconds <= 1200


@pytest.mark.parametrize(
    ("tier", "admitted"), [(None, 1), (Tier.NEW, 2), (Tier.VERIFIED, 3), (Tier.TRUSTED, 9)]
)
def test_the_tier_says_how_much(tier, admitted):
    tiers = 'tier = { unknown = ["1/1h"], new = ["2/1h"], trusted = [] }'
    counter = Counter(limit("3/1h", more=tiers))
    answers = [counter.ask(Stage.SENDER, ACME, tier=tier)[0] for _ in range(9)]
    assert answers.count(False) == admitted


def test_bytes_count_as_many_as_there_are():
    counter = Counter(limit("1kB/1h", count="bytes"))
    assert counter.ask(Stage.MESSAGE, ACME, message=b"x" * 600) == ROOM
    assert counter.ask(Stage.MESSAGE, ACME, message=b"x" * 600) == (True, "own", 720)
    assert counter.ask(Stage.MESSAGE, ACME, message=b"x" * 1001) == (True, "own", -1)
    assert counter.ask(Stage.MESSAGE, ACME) == ROOM, "an empty one"


def test_what_the_key_depends_on_must_be_known():
    counter = Counter(limit())
    report = counter.ask(Stage.SENDER, {"sender.domain": Missing("no answer")})
    assert report == (Missing("no answer"),) * 3


def test_a_store_that_is_away_is_not_a_yes():
    class Away(MemoryStore):
        async def spend(self, charges, now):
            raise Unavailable("store")

    with pytest.raises(Unavailable):
        Counter(limit(), Away()).ask(Stage.SENDER, ACME)


def test_values_cannot_be_mixed_up_and_long_ones_stay_short():
    keys = []

    class Listening(MemoryStore):
        async def spend(self, charges, now):
            keys.extend(charge.key for charge in charges)
            return await super().spend(charges, now)

    text = '[[limit]]\nname = "own"\ncount = "messages"\nkey = ["sender.local", "sender.domain"]\nrate = ["1/1h"]'
    counter = Counter(text, Listening())
    for local, domain in [("a|b", "c"), ("a", "b|c"), ("x" * 300, "y" * 300), ("\udc80", "z")]:
        assert counter.ask(Stage.SENDER, {"sender.local": local, "sender.domain": domain}) == ROOM
    assert len(set(keys)) == 4
    assert max(map(len, keys)) < 150


def test_a_new_recipient_is_one_that_was_not_written_to_in_30_days():
    counter = Counter(limit("2/1d", count="new_recipients"))

    def write_to(name):
        case = Case(peer=Endpoint("192.0.2.1", 1), listener="public")
        case.recipient = Recipient(Address(name, "dest.example"))
        case.facts, case.limits = Facts(ACME), counter.engine.limits
        report = asyncio.run(counter.check.gather(case, Stage.RECIPIENT, frozenset()))
        return report["rate.recipient_exceeded"]

    assert [write_to(name) for name in ("a", "b", "a", "b", "c", "a")] == [
        False, False, False, False, True, False,
    ]  # fmt: skip
    assert write_to("c"), "who was refused is not known by it"
    counter.clock.advance(timedelta(days=31))
    assert [write_to(name) for name in ("a", "b", "c")] == [False, False, True]


def asked_at(stage, count, key, **facts):
    counter = Counter(limit("2/1h", count=count, key=key))
    case = Case(peer=Endpoint("192.0.2.1", 1), listener="public")
    case.facts, case.limits = Facts(facts), counter.engine.limits
    reports = []
    for _ in range(4):
        case.charged.clear()
        reports.append(tuple(asyncio.run(counter.check.gather(case, stage, frozenset())).values()))
    return case, reports


@pytest.mark.parametrize("count", ["handshakes", "rejected_commands"])
def test_what_is_counted_when_it_happens_is_only_asked_for(count):
    case, reports = asked_at(
        Stage.CONNECT, count, "peer.network", **{"peer.network": "192.0.2.0/24"}
    )
    assert reports == [ROOM] * 4
    ((counted, charge),) = case.noted.values()
    assert (counted.value, charge.cost, charge.limit) == (count, 1, 2)


def test_a_handshake_of_a_client_that_is_known_by_it_is_charged_at_once():
    counter = Counter(limit("2/1h", count="handshakes", key="tls.ja4"))
    reports = [counter.ask(Stage.HELLO, {"tls.ja4": "t13d"}) for _ in range(4)]
    assert [exceeded for exceeded, _, _ in reports] == [False, False, True, True]


def test_a_handshake_is_charged_once_however_often_its_client_greets():
    case, reports = asked_at(Stage.HELLO, "handshakes", "tls.ja4", **{"tls.ja4": "t13d"})
    assert reports == [ROOM] * 4
    assert not case.noted


def test_a_handshake_that_was_refused_is_charged_once_there_is_room():
    counter = Counter(limit("1/1h", count="handshakes", key="tls.ja4"))
    case = Case(peer=Endpoint("192.0.2.1", 1), listener="public")
    case.facts, case.limits = Facts({"tls.ja4": "t13d"}), counter.engine.limits

    def greet():
        case.charged.clear()
        report = asyncio.run(counter.check.gather(case, Stage.HELLO, frozenset()))
        return tuple(report.values())

    assert counter.ask(Stage.HELLO, {"tls.ja4": "t13d"}) == ROOM
    assert [greet()[0], greet()[0]] == [True, True]
    counter.clock.advance(HOUR)
    assert [greet(), greet()] == [ROOM, ROOM]
    assert counter.ask(Stage.HELLO, {"tls.ja4": "t13d"})[0]


def test_without_a_limit_for_this_client_the_answer_is_there_at_once():
    counter = Counter(limit("1/1h", more="tier = { trusted = [] }"))

    def at_once(stage, **known):
        case = Case(peer=Endpoint("192.0.2.1", 1), listener="public", **known)
        case.facts, case.limits = Facts(ACME), counter.engine.limits
        return counter.check.at_once(case, stage, frozenset())

    trusted = Identity("acme", tier=Tier.TRUSTED)
    assert tuple(at_once(Stage.SENDER, identity=trusted).values()) == ROOM
    assert tuple(at_once(Stage.MESSAGE).values()) == ROOM
    assert at_once(Stage.SENDER) is None
    found = {"rate.exceeded": True}
    assert at_once(Stage.SENDER, charged={Stage.SENDER: found}) == found


# --- bought in advance ------------------------------------------------------------------------------


class Counting(MemoryStore):
    calls = 0

    async def spend(self, charges, now):
        self.calls += 1
        return await super().spend(charges, now)


def send(counter, times, *, every=0.001, **facts):
    """Ask as the session does: at once first. How many were admitted."""
    case = Case(peer=Endpoint("192.0.2.1", 1), listener="public")
    case.facts, case.limits = Facts(ACME | facts), counter.engine.limits

    async def ask():
        for _ in range(times):
            case.charged.clear()
            report = counter.check.at_once(case, Stage.SENDER, frozenset())
            if report is None:
                report = await counter.check.gather(case, Stage.SENDER, frozenset())
            again = counter.check.at_once(case, Stage.SENDER, frozenset())
            assert again == report, "charged once"
            counter.clock.advance(timedelta(seconds=every))
            yield not report["rate.exceeded"]

    async def count():
        return [admitted async for admitted in ask()].count(True)

    return asyncio.run(count())


def test_who_sends_much_asks_the_store_seldom():
    store = Counting()
    assert send(Counter(limit("1000000/1d"), store), 3000) == 3000
    assert store.calls < 130


@pytest.mark.parametrize("size", [3, 16, 64, 200, 1000])
def test_whoever_falls_silent_again_and_again_loses_a_sixteenth_of_what_it_sends(size):
    counter = Counter(limit("100000/365d"))
    for _ in range(5):
        assert send(counter, size) == size
        counter.clock.advance(timedelta(seconds=1.1))
    left = send(counter, 1) + send(Counter(limit("100000/365d"), counter.store), 100_000, every=0)
    assert 100_000 - left <= 5 * size * 17 / 16 + 64


def test_a_thousand_at_once_are_charged_for_a_thousand():
    class Slow(MemoryStore):
        units = 0

        async def spend(self, charges, now):
            self.units += charges[0].cost
            await asyncio.sleep(0)  # the others ask meanwhile
            return await super().spend(charges, now)

    store = Slow()
    counter = Counter(limit("100000/1h"), store)

    async def ask():
        case = Case(peer=Endpoint("192.0.2.1", 1), listener="public")
        case.facts, case.limits = Facts(ACME), counter.engine.limits
        if counter.check.at_once(case, Stage.SENDER, frozenset()) is None:
            await counter.check.gather(case, Stage.SENDER, frozenset())

    async def all_at_once():
        await asyncio.gather(*(ask() for _ in range(1000)))

    asyncio.run(all_at_once())
    assert 1000 <= store.units <= 1100


@pytest.mark.parametrize("rate", ["100/1h", "1999/1h"])
def test_small_limits_are_counted_one_by_one(rate):
    store = Counting()
    send(Counter(limit(rate), store), 50)
    assert store.calls == 50


def test_who_sends_seldom_is_charged_for_what_it_sends():
    store = Counting()
    send(Counter(limit("1000000/1d"), store), 50, every=2.0)
    assert store.calls == 50


@pytest.mark.parametrize("rate", ["2000/1d", "5000/1d", "20000/1d"])
def test_a_large_limit_admits_just_as_many_as_it_says(rate):
    counter = Counter(limit(rate))
    allowed = int(rate.partition("/")[0])
    assert allowed <= send(counter, allowed + 500, every=0.0001) <= allowed + 2


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 900)), max_size=40))
@settings(deadline=None, max_examples=40)
def test_workers_together_admit_no_more_and_lose_a_thousandth_each(workers, bursts):
    store = MemoryStore()
    counters = [Counter(limit("4000/365d"), store) for _ in range(workers)]
    admitted = sum(send(counters[which], size) for which, size in bursts)
    asked = sum(size for _, size in bursts)
    # Whenever somebody falls silent, what it has in hand is lost: 4 units at most.
    assert min(asked, 4000 - 4 * len(bursts)) <= admitted <= 4001


def test_what_was_bought_in_advance_lapses():
    store = Counting()
    counter = Counter(limit("1000000/1d"), store)
    send(counter, 100)
    counter.clock.advance(timedelta(seconds=2))
    before = store.calls
    send(counter, 1)
    assert store.calls == before + 1


def test_each_client_has_an_account_of_its_own():
    store = Counting()
    counter = Counter(limit("2000/365d"), store)
    assert send(counter, 2500) <= 2001
    assert send(counter, 10, **{"sender.domain": "globex.example"}) == 10


# --- through the rules ------------------------------------------------------------------------------

RULE = """
[[rule]]
name = "over"
at = "{stage}"
when = "{when}"
then = "defer"
reply = "451 4.7.1 {{rate.{prefix}limit}}, in {{rate.{prefix}retry_after}} s"
"""


def judged(world, limits, rule, stage, *, times=3, **known):
    tools = Tools("edge.example.org", world.clock, FakeResolver(), world.store, offload)
    case = Case(peer=Endpoint("192.0.2.1", 1), listener="public", **known)
    engine = engine_of(limits + rule)
    return [verdict_on(engine, stage, case, tools) for _ in range(times)]


STAGES = [
    (Stage.CONNECT, "connections", "peer.network", "connect_"),
    (Stage.SENDER, "messages", "sender.domain", ""),
    (Stage.RECIPIENT, "recipients", "peer.network", "recipient_"),
    (Stage.MESSAGE, "bytes", "sender.domain", "message_"),
]
KNOWN = {
    "sender": Sender(Address("a", "acme.example")),
    "recipient": Recipient(Address("b", "dest.example")),
    "message": b"x",
}


@pytest.mark.parametrize(("stage", "count", "key", "prefix"), STAGES)
def test_a_rule_charges_by_asking_and_its_words_do_not_charge_again(stage, count, key, prefix):
    rule = RULE.format(stage=stage, when=f"rate.{prefix}exceeded", prefix=prefix)
    first, second, third = judged(World(), limit(count=count, key=key), rule, stage, **KNOWN)
    assert first.reply is None
    assert second.reply is None
    assert str(third.reply) == "451 4.7.1 own, in 1800 s"


def test_who_is_refused_anyway_is_not_charged():
    world = World()
    condition = RULE.format(stage="sender", when="sender.local == 'b' && rate.exceeded", prefix="")
    assert all(v.reply is None for v in judged(world, limit(), condition, Stage.SENDER, **KNOWN))
    plain = RULE.format(stage="sender", when="rate.exceeded", prefix="")
    assert [v.reply is None for v in judged(world, limit(), plain, Stage.SENDER, **KNOWN)] == [
        True,
        True,
        False,
    ]


@given(
    st.lists(st.tuples(st.integers(0, 900), st.sampled_from("ab")), max_size=60),
    st.integers(1, 8),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_no_window_of_any_client_ever_holds_more_than_the_limit_and_its_refill(
    arrivals, fast, slow
):
    """Over any span, no more than the limit and what that span lets flow after."""
    counter = Counter(limit(f"{fast}/10m") + limit(f"{slow}/1h", name="slow"))
    now, admitted = 0.0, []
    for pause, who in arrivals:
        counter.clock.advance(timedelta(seconds=pause))
        now += pause
        exceeded, name, seconds = counter.ask(Stage.SENDER, {"sender.domain": who})
        if exceeded:
            assert seconds > 0
            assert name in {"own", "slow"}
        else:
            admitted.append((now, who))
    for who in "ab":
        times = [moment for moment, each in admitted if each == who]
        for allowed, period in ((fast, 600), (slow, 3600)):
            for first in range(len(times)):
                for last in range(first, len(times)):
                    span = times[last] - times[first]
                    assert last - first + 1 <= allowed + span * allowed / period + 0.51


@given(st.integers(1, 6), st.integers(2, 600))
@settings(deadline=None)
def test_who_waits_as_told_is_admitted(allowed, period):
    counter = Counter(limit(f"{allowed}/{period}s"))
    for _ in range(allowed):
        assert counter.ask(Stage.SENDER, ACME) == ROOM
    _, _, seconds = counter.ask(Stage.SENDER, ACME)
    counter.clock.advance(timedelta(seconds=seconds))
    assert counter.ask(Stage.SENDER, ACME) == ROOM
