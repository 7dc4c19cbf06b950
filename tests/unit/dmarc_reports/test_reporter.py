"""Reports are sent for the days that are over, to who wants them, and tried again where that may help."""

import asyncio
import json
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from relay.dmarc_reports.ledger import Ledger
from relay.dmarc_reports.reporter import Reporter, day_of
from relay.mailauth.dmarc_report import Observation, Published
from relay.mailauth.keyring import NO_KEYS, Keyring
from relay.mailauth.signing import SigningKey
from relay.mailauth.verification import DkimResult
from relay.model import Delivery
from relay.settings.mailauth import DmarcReports
from relay.smtp.replies import Reply
from tests.kit.clock import FakeClock
from tests.kit.dkim import NOW, record, rsa_key, verified
from tests.kit.dmarc_report import read_report
from tests.kit.zones import FakeResolver

ROW = Observation("192.0.2.1", "none", "pass", "fail", "", "example.org", "", "", "none", ())
SENDER = "dmarc@edge.example"


class NextHop:
    """Takes everything, unless told otherwise."""

    def __init__(self):
        self.reply = Reply(250, "2.0.0", ("Ok",))
        self.routes = True
        self.taken = []

    def route_for(self, recipient, *, identified):
        assert identified
        return object() if self.routes else None

    async def deliver(self, _route, envelope, chunks, _client):
        accepted = self.reply.code == 250
        if accepted:
            self.taken.append((str(envelope.sender), str(envelope.recipients[0]), b"".join(chunks)))
        return Delivery(accepted, self.reply)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "reports.sqlite")
    yield made
    made.close()


@pytest.fixture
def next_hop():
    return NextHop()


def reporter(ledger, next_hop, *, clock=None, resolver=None, keyring=NO_KEYS, **settings):
    return Reporter(
        DmarcReports(enabled=True, sender=SENDER, **settings), "edge.example", ledger=ledger,
        next_hop=next_hop, resolver=resolver or FakeResolver(), clock=clock or FakeClock(NOW),
        keyring=keyring,
    )  # fmt: skip


def count(ledger, day=-1, *, domain="example.org", to=(("d@example.org", None),)):
    policy = Published(domain, "reject", "", "", "r", "r", "n", "0", to)
    ledger.add(day_of(NOW) + day, json.loads(json.dumps([(policy, ROW, 3)])))


def send(made):
    return asyncio.run(made.send_due())


def test_a_report_is_a_mail_with_a_file(ledger, next_hop):
    count(ledger)
    assert send(reporter(ledger, next_hop)) == []
    ((sender, recipient, content),) = next_hop.taken
    assert (sender, recipient) == (SENDER, "d@example.org")
    assert b"\n" not in content.replace(b"\r\n", b"")
    mail = message_from_bytes(content, policy=default)
    assert mail["Subject"].startswith("Report Domain: example.org Submitter: edge.example")
    assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == (SENDER, "d@example.org", "auto-generated")  # fmt: skip
    (file,) = mail.iter_attachments()
    assert file.get_content_type() == "application/gzip"
    assert file.get_filename().startswith("edge.example!example.org!1795132800!1795219200!")
    (count_told,) = read_report(file.get_content()).iterfind(".//{*}count")
    assert count_told.text == "3"


def test_once(ledger, next_hop):
    count(ledger)
    made = reporter(ledger, next_hop)
    send(made)
    send(made)
    assert len(next_hop.taken) == 1


def test_today_is_not_over(ledger, next_hop):
    clock = FakeClock(NOW)
    count(ledger, 0)
    made = reporter(ledger, next_hop, clock=clock)
    send(made)
    assert next_hop.taken == []
    clock.advance(timedelta(days=1))
    send(made)
    assert len(next_hop.taken) == 1


def test_nobody_is_flooded_who_does_not_want_it(ledger, next_hop):
    count(ledger, to=(("x@victim.example", None), ("d@example.org", None)))
    assert send(reporter(ledger, next_hop)) == []
    assert [recipient for _, recipient, _ in next_hop.taken] == ["d@example.org"]


@pytest.mark.parametrize(
    ("to", "settings"), [((("d@example.org", 100),), {}), ((("d@example.org", None),), {"max_bytes": 100})]
)  # fmt: skip
def test_none_is_larger_than_they_take(ledger, next_hop, to, settings):
    count(ledger, to=to)
    (problem,) = send(reporter(ledger, next_hop, **settings))
    assert "are more than d@example.org takes" in problem
    assert next_hop.taken == []
    assert ledger.due(day_of(NOW)) == []


def test_what_is_refused_for_good_is_dropped(ledger, next_hop):
    count(ledger)
    next_hop.reply = Reply(550, "5.1.1", ("No such mailbox",))
    assert send(reporter(ledger, next_hop)) == [
        "report for example.org: d@example.org: 550 5.1.1 No such mailbox"
    ]
    assert ledger.due(day_of(NOW)) == []


def test_what_is_deferred_is_tried_for_days_and_no_longer(ledger, next_hop):
    count(ledger)
    count(ledger, domain="later.example", to=(("d@later.example", None),))
    next_hop.reply = Reply(451, "4.4.1", ("Not now",))
    clock = FakeClock(NOW)
    made = reporter(ledger, next_hop, clock=clock)
    assert len(send(made)) == 2
    assert len(ledger.due(day_of(NOW))) == 2
    clock.advance(timedelta(days=3))
    assert len(send(made)) == 2
    assert ledger.due(day_of(NOW)) == []


def test_a_name_server_that_fails_is_asked_again(ledger, next_hop):
    count(ledger, to=(("d@agreed.example", None),))
    name = "example.org._report._dmarc.agreed.example"
    resolver = FakeResolver({name: {"TXT": "v=DMARC1"}}, failing=[name])
    made = reporter(ledger, next_hop, resolver=resolver)
    assert len(send(made)) == 1
    resolver.failing.clear()
    assert send(made) == []
    assert len(next_hop.taken) == 1


def test_without_a_route_it_is_dropped(ledger, next_hop):
    count(ledger)
    next_hop.routes = False
    assert send(reporter(ledger, next_hop)) == [
        "report for example.org: no route leads to d@example.org"
    ]
    assert ledger.due(day_of(NOW)) == []


def test_it_is_signed_for_whoever_sends_it(ledger, next_hop):
    count(ledger)
    key = SigningKey("edge.example", "s1", rsa_key())
    keyring = Keyring.of([(key, {"author"})])
    send(reporter(ledger, next_hop, keyring=keyring))
    message = next_hop.taken[0][2]
    zones = {"s1._domainkey.edge.example": {"TXT": record(rsa_key())}}
    assert [each.result for each in verified(message, zones)] == [DkimResult.PASS]
