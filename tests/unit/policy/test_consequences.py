"""What follows beyond the reply: whom, how long, and whom never."""

from datetime import timedelta
from ipaddress import ip_network

import pytest

from relay.model import Endpoint, Identity, Restriction, RestrictionKind
from relay.policy.case import Case
from relay.policy.consequences import Consequences
from relay.policy.restrictions import Restrictions
from relay.policy.verdict import Sanction

NOW = 1_000_000.0
BAN = Sanction(RestrictionKind.BAN, timedelta(hours=1), (32, 64), "a trap", "trap")
SUSPENSION = BAN._replace(kind=RestrictionKind.SUSPENSION)
ACME = Identity(name="acme")


@pytest.fixture
def view():
    made = Restrictions()
    made.now = NOW
    return made


def consequences(view, *exempt, longest=timedelta(days=30)):
    return Consequences(view, map(ip_network, exempt), longest)


def case(address="192.0.2.7", identity=None):
    return Case(Endpoint(address, 25), "public", identity=identity)


@pytest.mark.parametrize(
    ("sanction", "who", "kind", "subject"),
    [
        (BAN, case(), "ban", "192.0.2.7/32"),
        (BAN, case("::ffff:192.0.2.7"), "ban", "192.0.2.7/32"),
        (BAN, case("2001:db8::1:2:3:4"), "ban", "2001:db8::/64"),
        (BAN._replace(prefixes=(24, 48)), case(), "ban", "192.0.2.0/24"),
        (BAN, case(identity=ACME), "suspension", "acme"),
        (SUSPENSION, case(identity=ACME), "suspension", "acme"),
    ],
)
def test_who_is_restricted(sanction, who, kind, subject, view):
    due = consequences(view).due(sanction, who, NOW)
    assert (due.kind, due.subject, due.reason, due.by) == (kind, subject, "a trap", "trap")
    assert (due.since, due.until, due.times) == (NOW, NOW + 3600, 1)


@pytest.mark.parametrize(
    ("sanction", "who"),
    [
        (SUSPENSION, case()),
        (BAN, case("/run/gatepost.sock")),
        (BAN, case("127.0.0.1")),
        (BAN, case("::ffff:127.0.0.1")),
        (BAN, case("2001:db8:5::1")),
    ],
)
def test_who_is_not(sanction, who, view):
    assert consequences(view, "127.0.0.0/8", "2001:db8:5::/48").due(sanction, who, NOW) is None


def test_what_is_in_force_is_not_put_in_force_again(view):
    told = consequences(view)
    view.put(told.due(BAN, case(), NOW))
    assert told.due(BAN, case(), NOW + 10) is None


def test_each_time_lasts_twice_as_long_up_to_the_longest(view):
    told = consequences(view, longest=timedelta(hours=5))
    hours, now = [], NOW
    for _ in range(5):
        due = told.due(BAN, case(), now)
        hours.append((due.until - due.since) / 3600)
        view.put(due)
        now = due.until
    assert hours == [1, 2, 4, 5, 5]
    assert view.last(RestrictionKind.BAN, "192.0.2.7/32").times == 5


def test_very_many_times_are_no_overflow(view):
    view.put(Restriction(RestrictionKind.BAN, "192.0.2.7/32", "", "", 0, 1, times=10**6))
    due = consequences(view).due(BAN, case(), NOW)
    assert due.until == NOW + 30 * 86400


def test_an_exempt_address_in_a_banned_network_is_spoken_to(view):
    told = consequences(view, "192.0.2.7/32")
    view.put(Restriction(RestrictionKind.BAN, "192.0.2.0/24", "", "", NOW, None))
    assert told.is_banned(Endpoint("192.0.2.8", 25))
    assert told.is_banned(Endpoint("::ffff:192.0.2.8", 25))
    assert not told.is_banned(Endpoint("192.0.2.7", 25))
    assert not told.is_banned(Endpoint("192.0.3.7", 25))
    assert not told.is_banned(Endpoint("/run/gatepost.sock", 0))
