"""What a session counts: the labels are the fields of its audit records, one for one."""

import asyncio
from datetime import timedelta
from itertools import count

import pytest

from relay.errors import HandshakeFailed
from relay.inbound.session import Session
from relay.model import Delivery, Identity, TrustDecision, TrustStatus
from relay.smtp.replies import Reply
from tests.kit.services import FakeTrust, World, listener
from tests.kit.stream import TLS13, stream_pair

ACME = Identity(name="acme", senders=("@acme.example",))
PINNED = TrustDecision(TrustStatus.PINNED, ACME, "its key is pinned")
REVOKED = TrustDecision(
    TrustStatus.REVOKED,
    ACME,
    "revoked",
    {"revocation": "revoked", "revocation_source": "ocsp"},
)
TO_THE_DOT = [
    b"EHLO client.example\r\n",
    b"MAIL FROM:<a@acme.example>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"DATA\r\n",
    b"From: a@acme.example\r\n\r\nhi\r\n.\r\n",
]


def speak(folder, decision, *lines, world=None, handshake=None, **values):
    """Say lines in a session with implicit TLS, each after the reply to the one before."""
    world = world or World()
    world.trust.decision = decision

    async def both():
        near, far = stream_pair()
        if handshake is not None:
            far.handshake = handshake
        made = listener(folder, tls="implicit", **values)
        running = asyncio.create_task(Session(far, made, None, world.services()).run())
        try:
            await asyncio.wait_for(near.receive(), 5)
            for line in lines:
                near.send(line)
                await asyncio.wait_for(near.receive(), 5)
        finally:
            near.drop()
            await near.close()
            await asyncio.wait_for(running, 5)

    asyncio.run(both())
    return world


@pytest.mark.parametrize("status", [each for each in TrustStatus if each is not TrustStatus.NAMED])
def test_each_handshake_is_counted_by_its_status(tmp_path, status):
    identity = ACME if status is TrustStatus.PINNED else None
    world = speak(tmp_path, TrustDecision(status, identity, "why"), TO_THE_DOT[0])
    (record,) = world.audit.of("handshake")
    name = record["listener"]
    assert world.budget.labelled == [
        ("handshakes", name, record["tls_version"], record["status"]),
    ]
    assert record["status"] == status


def test_a_refusal_at_mail_is_counted_by_its_rule_once(tmp_path):
    world = speak(tmp_path, REVOKED, *TO_THE_DOT[:2])
    assert world.budget.labelled[1:] == [("revocations", "revoked", "ocsp"), ("refusals", "trust")]


def test_a_listener_that_asks_for_no_certificate_counts_unasked(tmp_path):
    world = speak(tmp_path, PINNED, TO_THE_DOT[0], client_certificate="off")
    assert world.budget.labelled == [("handshakes", "partners", TLS13.version, "unasked")]


def test_a_handshake_that_fails_is_counted_as_such(tmp_path):
    world = speak(tmp_path, PINNED, handshake=HandshakeFailed("no shared cipher"))
    assert world.budget.labelled == [("handshakes", "partners", "", "failed")]
    assert world.budget.counts["handshakes_failed"] == 1


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [("250 2.0.0 ok", "delivered"), ("451 4.3.0 later", "deferred"), ("554 5.6.0 no", "rejected")],
)
def test_a_message_is_counted_by_route_and_outcome_with_its_time(tmp_path, reply, outcome):
    world = World()
    code, enhanced, text = reply.split()
    world.next_hop.outcome = Delivery(
        accepted=code == "250",
        reply=Reply(int(code), enhanced, (text,)),
        route="example.org",
        elapsed=timedelta(milliseconds=7),
    )
    speak(tmp_path, PINNED, *TO_THE_DOT, world=world)
    (record,) = world.audit.of("transaction")
    assert (record["route"], record["outcome"]) == ("example.org", outcome)
    assert world.budget.labelled[-1] == ("deliveries", record["route"], record["outcome"])
    assert world.budget.delivery_seconds == [0.007]


def test_every_refusal_on_record_is_counted_by_its_rule(tmp_path):
    foreign = b"MAIL FROM:<a@elsewhere.example>\r\n"
    world = speak(tmp_path, PINNED, TO_THE_DOT[0], foreign, foreign)
    rules = [each["rule"] for each in world.audit.of("refusal")]
    assert len(rules) == 2
    assert [each for each in world.budget.labelled if each[0] == "refusals"] == [
        ("refusals", rule) for rule in rules
    ]


def test_a_decision_made_again_is_no_handshake(tmp_path):
    lines = (*TO_THE_DOT[:2], b"RSET\r\n")

    class Restless(FakeTrust):
        """Changes with every look."""

        @property
        def version(self):
            return next(turns)

        @version.setter
        def version(self, value):
            pass

    turns = count()
    world = World(trust=Restless())
    speak(tmp_path, PINNED, *lines, TO_THE_DOT[1], world=world)
    assert [each[0] for each in world.budget.labelled] == ["handshakes"]
