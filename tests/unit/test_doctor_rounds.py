"""Who hears of a domain, and when: once when problems come or go."""

from __future__ import annotations

import asyncio
import json
from email import message_from_bytes

import pytest

from relay.doctor import Examination, Symptom
from relay.doctor_rounds import Change, Memory, Rounds, alert_by_mail, alert_by_webhook
from relay.errors import Unavailable
from relay.mailauth.keyring import NO_KEYS, Keyring
from relay.mailauth.signing import SigningKey
from relay.model import Delivery
from relay.settings import Settings
from relay.smtp.replies import Reply
from tests.kit.clock import FakeClock
from tests.kit.dkim import NOW, ed25519_key, record, rsa_key, verified
from tests.kit.services import FakeNextHop, RecordingAudit


def ill(*problems, domain="example.org"):
    return Examination(domain, tuple(Symptom("error", "spf", each) for each in problems))


class World:
    """The rounds, with what they are told of domains and what becomes of it."""

    def __init__(self, folder):
        self.path = folder / "doctor.json"
        self.audit = RecordingAudit()
        self.figures = {}
        self.alerts = []
        self.failure = None

    def visit(self, *examinations):
        """As a new process each time."""
        by_domain = {each.domain: each for each in examinations}

        async def examine(domain):
            return by_domain[domain]

        async def alert(changes):
            if self.failure:
                raise self.failure
            self.alerts.append(list(changes))

        self.audit.records.clear()
        rounds = Rounds(examine, Memory(self.path), self.audit, self.figures.__setitem__, [alert])
        return asyncio.run(rounds.visit(list(by_domain)))

    @property
    def recorded(self):
        return [fields for _, fields in self.audit.records]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_what_is_wrong_is_told_once(world):
    assert world.visit(ill("too many")) == []
    assert world.recorded == [{"domain": "example.org", "problems": ["spf: too many"]}]
    assert world.audit.records[0][0] == "domain"
    assert world.figures == {"example.org": 1}
    assert world.alerts == [[Change("example.org", ("spf: too many",), ())]]
    world.visit(ill("too many"))
    assert world.recorded == []
    assert len(world.alerts) == 1


def test_what_is_new_and_what_is_gone_are_told(world):
    world.visit(ill("a", "b"))
    world.visit(ill("b", "c"))
    assert world.recorded == [
        {"domain": "example.org", "problems": ["spf: c"], "cleared": ["spf: a"]}
    ]
    world.visit(ill())
    assert world.recorded == [{"domain": "example.org", "cleared": ["spf: b", "spf: c"]}]
    assert world.figures == {"example.org": 0}


def test_all_changes_of_a_round_are_one_alert(world):
    world.visit(ill("a"), ill("b", domain="example.net"), ill(domain="example.com"))
    (changes,) = world.alerts
    assert [each.domain for each in changes] == ["example.org", "example.net"]


def test_a_domain_that_can_not_be_examined_keeps_its_problems(world):
    world.visit(ill("a"))
    world.visit(Examination("example.org", (), "no answer"))
    assert world.recorded == [{"domain": "example.org", "problems": ["no answer"]}]
    assert world.figures == {"example.org": 1}
    world.visit(ill("a"))
    assert world.recorded == []
    assert len(world.alerts) == 1


def test_an_alert_that_fails_is_said(world):
    world.failure = Unavailable("nobody there")
    assert world.visit(ill("a")) == ["nobody there"]
    assert len(world.recorded) == 1


def test_an_alert_that_fails_goes_out_with_the_next_round_and_others_are_not_told_twice(tmp_path):
    found, told, heard = [ill("a")], [], []
    failures = [Unavailable("nobody there"), Unavailable("nobody there")]

    async def examine(_domain):
        return found[0]

    async def deaf(changes):
        if failures:
            raise failures.pop()
        heard.append([each.problems for each in changes])

    async def well(changes):
        told.append([each.problems for each in changes])

    rounds = Rounds(
        examine, Memory(tmp_path / "m"), RecordingAudit(), lambda *_: None, [deaf, well]
    )  # fmt: skip
    visits = [asyncio.run(rounds.visit(["example.org"]))]
    found[0] = ill("a", "b")
    visits += [asyncio.run(rounds.visit(["example.org"])) for _ in range(3)]
    assert visits == [["nobody there"], ["nobody there"], [], []]
    assert heard == [[("spf: a",), ("spf: b",)]]
    assert told == [[("spf: a",)], [("spf: b",)]]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_memory_that_can_not_be_read_is_as_good_as_none(world, content):
    world.path.write_bytes(content)
    world.visit(ill("a"))
    assert json.loads(world.path.read_bytes()) == {"example.org": ["spf: a"]}


CHANGES = [Change("example.org", ("spf: a",), ("mx: b",))]


def test_a_webhook_gets_json():
    posted = []

    async def post(*arguments):
        posted.append(arguments)

    asyncio.run(alert_by_webhook(post, "https://alerts.example/", "edge")(CHANGES))
    ((url, body, kind),) = posted
    assert (url, kind) == ("https://alerts.example/", "application/json")
    assert json.loads(body) == {
        "node": "edge",
        "changes": [{"domain": "example.org", "problems": ["spf: a"], "cleared": ["mx: b"]}],
    }


def settings(**doctor):
    listener = {"name": "a", "address": "127.0.0.1:1", "certificate": [{"chain": "c", "key": "k"}]}
    return Settings.model_validate(
        {
            "hostname": "edge.example", "listener": [listener], "route": {"*": {"hosts": ["mx"]}},
            "doctor": {"mail_to": "ops@example.org", **doctor},
        }
    )  # fmt: skip


def mail(hop, keyring=NO_KEYS, **doctor):
    alert = alert_by_mail(hop, settings(**doctor), FakeClock(NOW), keyring)
    asyncio.run(alert(CHANGES))


def test_a_mail_goes_the_way_of_all_mail():
    hop = FakeNextHop()
    mail(hop)
    ((envelope, content),) = hop.delivered
    message = message_from_bytes(content)
    assert [str(each) for each in (envelope.sender, *envelope.recipients)] == [
        "postmaster@edge.example",
        "ops@example.org",
    ]
    assert message["Subject"] == "Mail domains: example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert (
        message.get_payload().replace("\r\n", "\n")
        == "example.org:\n+ spf: a\n- mx: b\n\n+ has come, - has gone\n"
    )
    assert b"\n" not in content.replace(b"\r\n", b"")


def test_the_sender_can_be_chosen():
    hop = FakeNextHop()
    mail(hop, sender="doctor@example.org")
    assert str(hop.delivered[0][0].sender) == "doctor@example.org"


def test_a_mail_is_signed_for_whoever_sends_it():
    uses = [
        (SigningKey("example.org", "s1", rsa_key()), ("author",)),
        (SigningKey("edge.example", "g1", ed25519_key()), ("identity",)),  # not for authors
    ]
    zones = {"s1._domainkey.example.org": {"TXT": record(rsa_key())}}
    hop = FakeNextHop()
    mail(hop, Keyring.of(uses), sender="doctor@example.org")
    mail(hop, Keyring.of(uses))
    signed, unsigned = (verified(content, zones) for _, content in hop.delivered)
    assert [(each.result.value, each.domain) for each in signed] == [("pass", "example.org")]
    assert unsigned == ()


def test_a_mail_that_nobody_takes():
    hop = FakeNextHop()
    hop.outcome = Delivery(accepted=False, reply=Reply(450, "4.2.0", ("Full",)))
    with pytest.raises(Unavailable, match=r"ops@example\.org: 450 4\.2\.0 Full"):
        mail(hop)
    hop.routes, hop.default = {}, None
    with pytest.raises(Unavailable, match="no route leads to"):
        mail(hop)
