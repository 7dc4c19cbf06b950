"""Lists in the DNS: what counts, what does not, and which lists are not believed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import IPv4Address, ip_address

import pytest
from pydantic import ValidationError

from relay.checks.dns_lists import DnsList, DnsLists, Finding, Limits, parse_answer_pattern
from tests.kit.clock import FakeClock
from tests.kit.zones import FakeResolver

PEER = ip_address("192.0.2.99")
SOUND = {"2.0.0.127.{}": {"A": "127.0.0.2"}, "test.{}": {"A": "127.0.0.2"}}
QUICK = Limits(list_timeout="50ms", pause="30s")


def zones(*names, **entries):
    """Sound lists of these names, and entries as {"99.2.0.192.a.example": "127.0.0.2"}."""
    found = {point.format(name): answer for name in names for point, answer in SOUND.items()}
    return found | {name: {"A": answer} for name, answer in entries.items()}


def listing(name, answer="127.0.0.2"):
    return {f"99.2.0.192.{name}": answer}


class World:
    def __init__(self, lists, resolver):
        self.clock = FakeClock()
        self.resolver = resolver if isinstance(resolver, FakeResolver) else FakeResolver(resolver)
        self.lists = DnsLists([DnsList(**each) for each in lists], self.resolver, self.clock, QUICK)

    def look_up(self, *subjects):
        self.resolver.asked.clear()
        return asyncio.run(self.lists.look_up(subjects or (PEER,)))

    def later(self, seconds):
        self.clock.advance(timedelta(seconds=seconds))


def one(resolver, **settings):
    return World([{"zone": "a.example", **settings}], resolver)


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("127.0.0.2", ["127.0.0.2"], ["127.0.0.3", "127.0.1.2"]),
        ("127.0.0.[2..4]", ["127.0.0.2", "127.0.0.4"], ["127.0.0.1", "127.0.0.5"]),
        ("127.0.0.[4;6..7]", ["127.0.0.4", "127.0.0.7"], ["127.0.0.5"]),
        ("127.0.[0..255].3", ["127.0.9.3"], ["127.0.9.4"]),
        ("127.0.0.[0..255]&0.0.0.8", ["127.0.0.8", "127.0.0.10"], ["127.0.0.4"]),
    ],
)  # fmt: skip
def test_patterns_of_answers(pattern, yes, no):
    parsed = parse_answer_pattern(pattern)
    assert all(parsed.matches(IPv4Address(answer)) for answer in yes)
    assert not any(parsed.matches(IPv4Address(answer)) for answer in no)


@pytest.mark.parametrize(
    "pattern",
    ["", "127.0.0", "127.0.0.256", "127.0.0.[3..2]", "127.0.0.[]", "127.0.0.2&9", 2, "127.0.0.2 "],
)
def test_what_is_no_pattern(pattern):
    with pytest.raises(ValidationError, match="is no answer of a list; write it as"):
        DnsList(zone="a.example", answers=[pattern])


@pytest.mark.parametrize("zone", ["", "example", "a b.example", "192.0.2.1", 5])
def test_what_is_no_zone(zone):
    with pytest.raises(ValidationError, match="is no zone of a list"):
        DnsList(zone=zone)


@pytest.mark.parametrize(
    ("answers", "answer", "score"),
    [
        ((), "127.0.0.2", 2.0),
        ((), "127.0.0.200", 2.0),
        ((), ["127.0.0.1"], 0.0),
        ((), ["127.0.0.1", "127.0.0.4"], 2.0),
        ((), "192.0.2.1", 0.0),
        ((), ["10.0.0.1", "127.0.0.9"], 2.0),
        ((), "no address", 0.0),
        ((), [], 0.0),
        (["127.0.0.[4..7]"], "127.0.0.2", 0.0),
        (["127.0.0.[4..7]"], "127.0.0.5", 2.0),
        (["127.0.0.3", "127.0.0.5"], "127.0.0.5", 2.0),
        (["127.0.0.1"], "127.0.0.1", 2.0),
    ],
)
def test_which_answers_count(answers, answer, score):
    world = one(zones("a.example", **listing("a.example", answer)), weight=2, answers=answers)
    found = world.look_up()
    assert found == Finding(score, ("a.example",) if score else ())


def test_weights_add_up_and_allow_lists_take_away():
    world = World(
        [
            {"zone": "a.example", "weight": 3},
            {"zone": "a.example", "weight": 2, "answers": ["127.0.0.[4..9]"]},
            {"zone": "b.example", "weight": 1.5},
            {"zone": "white.example", "weight": -4},
            {"zone": "silent-about-it.example", "weight": 50},
        ],
        zones(
            "a.example",
            "b.example",
            "white.example",
            "silent-about-it.example",
            **listing("a.example", ["127.0.0.2", "127.0.0.5"]),
            **listing("b.example"),
            **listing("white.example"),
        ),
    )
    assert world.look_up() == Finding(2.5, ("a.example", "b.example"), ("white.example",))


@pytest.mark.parametrize(
    ("subject", "questions"),
    [
        (PEER, ["99.2.0.192"]),
        (
            ip_address("2001:db8::1"),
            ["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"],
        ),
        ("Example.ORG", ["example.org"]),
        ("x.y.example.org", ["example.org", "y.example.org"]),
        ("münchen.example", ["xn--mnchen-3ya.example"]),
    ],
)
def test_the_names_that_are_asked(subject, questions):
    world = one(zones("a.example"))
    world.look_up(subject)
    points = {"1.0.0.127", "2.0.0.127", "invalid", "test"}
    asked = [name.removesuffix(".a.example") for name, kind in world.resolver.asked if kind == "A"]
    assert [name for name in asked if name not in points] == questions


@pytest.mark.parametrize("subject", ["", "a..b", "[192.0.2.1]", "x y.example", "*.example", "1.2"])
def test_what_is_no_name_is_not_asked(subject):
    world = one(zones("a.example"))
    assert world.look_up(subject) == Finding()
    assert world.resolver.asked == []


# --- lists that can't be believed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"1.0.0.127.a.example": "127.0.0.2"}, "lists 127.0.0.1"),
        ({"2.0.0.127.a.example": []}, "does not list 127.0.0.2"),
        ({"99.2.0.192.a.example": "127.255.255.254"}, "does not answer us"),
        ({"2.0.0.127.a.example": "192.0.2.80"}, "does not list 127.0.0.2"),
    ],
)
def test_a_list_that_lies_is_named_and_not_counted(entries, reason):
    world = one(zones("a.example", **(listing("a.example") | entries)))
    assert world.look_up() == Finding(unanswered=(f"a.example: {reason}",))
    assert world.look_up() == Finding(unanswered=(f"a.example: {reason}",))
    assert world.resolver.asked == [], "it is paused"


def test_a_list_of_names_has_test_points_of_its_own():
    world = one(zones("a.example", **{"invalid.a.example": "127.0.0.2"}))
    assert world.look_up("example.org").unanswered == ("a.example: lists INVALID",)


def test_a_list_without_test_points_may_say_so():
    world = one({"99.2.0.192.a.example": {"A": "127.0.0.2"}}, test_points=False)
    assert world.look_up() == Finding(1.0, ("a.example",))


def test_a_zone_that_answers_everything_is_noticed_without_test_points():
    world = one(
        {"99.2.0.192.a.example": {"A": "127.0.0.2"}, "1.0.0.127.a.example": {"A": "127.0.0.2"}},
        test_points=False,
    )
    assert world.look_up() == Finding(unanswered=("a.example: lists 127.0.0.1",))


def test_a_list_that_has_come_to_its_senses_counts_after_the_pause():
    world = one(zones("a.example", **listing("a.example"), **{"1.0.0.127.a.example": "127.0.0.2"}))
    world.look_up()
    del world.resolver.zones["1.0.0.127.a.example"]
    world.later(29)
    assert world.look_up().listed == ()
    world.later(2)
    assert world.look_up() == Finding(1.0, ("a.example",))


def test_a_list_that_begins_to_lie_is_noticed_before_an_entry_counts():
    world = one(zones("a.example"))
    assert world.look_up() == Finding()
    world.resolver.zones |= {
        "1.0.0.127.a.example": {"A": "127.0.0.2"},
        "99.2.0.192.a.example": {"A": "127.0.0.2"},
    }
    world.later(301)
    assert world.look_up() == Finding(unanswered=("a.example: lists 127.0.0.1",))


def test_test_points_are_asked_once_an_hour():
    world = one(zones("a.example"))
    world.look_up()
    assert len(world.resolver.asked) == 3
    world.later(3599)
    world.look_up()
    assert world.resolver.asked == [("99.2.0.192.a.example", "A")]
    world.later(2)
    world.look_up()
    assert len(world.resolver.asked) == 3


# --- lists that are down -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failing", "hanging"])
def test_a_dead_list_is_asked_three_times_and_then_left_alone(how):
    resolver = FakeResolver(
        zones("a.example", "b.example", **listing("b.example")),
        **{how: ["99.2.0.192.a.example", "1.0.0.127.a.example"]},
    )
    world = World([{"zone": "a.example"}, {"zone": "b.example"}], resolver)
    for _ in range(3):
        assert world.look_up() == Finding(1.0, ("b.example",), (), ("a.example: silent",))
        assert any(name.endswith("a.example") for name, _ in resolver.asked)
    assert world.look_up().unanswered == ("a.example: silent",)
    assert resolver.asked == [("99.2.0.192.b.example", "A")]


def test_pauses_grow_while_it_stays_dead_and_one_answer_ends_them():
    resolver = FakeResolver(zones("a.example"), failing=["99.2.0.192.a.example"])
    world = one(resolver)
    for _ in range(3):
        world.look_up()
    for pause in (30, 60, 120):
        world.later(pause - 1)
        world.look_up()
        assert resolver.asked == []
        world.later(2)
        world.look_up()
        assert resolver.asked
    resolver.failing.clear()
    world.later(241)
    assert world.look_up() == Finding()
    resolver.failing.add("99.2.0.192.a.example")
    for _ in range(3):
        world.look_up()
        assert resolver.asked
    world.look_up()
    assert resolver.asked == []


def test_after_a_pause_one_question_goes_first():
    resolver = FakeResolver(zones("a.example"), hanging=["99.2.0.192.a.example"])
    world = one(resolver)
    for _ in range(3):
        world.look_up()
    world.later(31)
    resolver.asked.clear()

    async def look_up_often():
        return await asyncio.gather(*(world.lists.look_up((PEER,)) for _ in range(20)))

    asyncio.run(look_up_often())
    assert resolver.asked.count(("99.2.0.192.a.example", "A")) == 1


def test_a_crowd_that_meets_a_dead_list_pauses_it_once():
    resolver = FakeResolver(zones("a.example"), hanging=["99.2.0.192.a.example"])
    world = one(resolver)

    async def look_up_often():
        await asyncio.gather(*(world.lists.look_up((PEER,)) for _ in range(50)))

    asyncio.run(look_up_often())
    resolver.hanging.clear()
    world.later(31)
    assert world.look_up() == Finding(), "the first pause is over, not the sixteenth"


def test_reasons_are_harmless_and_short():
    world = one(
        FakeResolver(
            {
                "99.2.0.192.a.example": {"A": "127.0.0.2", "TXT": ["open\r\n250 proxy\x1b" * 30]},
                "2.0.0.127.a.example": {"A": "127.0.0.2"},
            }
        )
    )
    (reason,) = asyncio.run(world.lists.reasons((PEER,), ("a.example",)))
    assert reason.startswith("a.example: open??250 proxy?open")
    assert len(reason) == len("a.example: ") + 200


def test_a_reason_that_does_not_come_is_left_out():
    world = one(FakeResolver({}, failing=["99.2.0.192.a.example TXT"]))
    assert asyncio.run(world.lists.reasons((PEER,), ("a.example",))) == ()
