"""One connection from the banner to the close: the real session and engine, a fake world."""

import asyncio
from dataclasses import replace

import pytest

from relay.errors import ConnectionLost, HandshakeFailed, Unavailable
from relay.inbound.session import Session
from relay.model import (
    Delivery,
    Identity,
    Restriction,
    RestrictionKind,
    TrustDecision,
    TrustStatus,
)
from relay.settings.limits import Limits, Timeouts
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.state.memory import MemoryStore
from tests.kit.policy import FakePolicies
from tests.kit.services import FakeNextHop, FakeRoute, World, listener
from tests.kit.stream import stream_pair
from tests.kit.turns import counting_turns

ACME = Identity(name="acme", pins=("spki:sha256:" + "0" * 64,), senders=("@acme.example",))
PINNED = TrustDecision(TrustStatus.PINNED, ACME, "the key is pinned", {"spki": "spki:sha256:00"})
MESSAGE = b"From: a@acme.example\r\nSubject: x\r\n\r\nHello\r\n"


class Client:
    """The other end: says lines, reads whole replies."""

    def __init__(self, stream):
        self.stream = stream
        self._seen = b""

    async def reply(self):
        lines = []
        while True:
            while b"\r\n" not in self._seen:
                data = await self.stream.receive()
                if not data:
                    return "closed"
                self._seen += data
            line, self._seen = self._seen.split(b"\r\n", 1)
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def say(self, *lines):
        self.stream.send("".join(f"{line}\r\n" for line in lines).encode())
        return [await self.reply() for _ in lines][-1]

    async def start_tls(self):
        await self.say("EHLO client.example")
        return await self.say("STARTTLS")

    async def enter(self):
        """Up to EHLO inside TLS."""
        assert (await self.reply()).startswith("220 ")
        await self.start_tls()
        return await self.say("EHLO client.example")

    async def send(self, body=MESSAGE, sender="a@acme.example", recipients=("b@example.org",)):
        await self.say(f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            reply = await self.say(f"RCPT TO:<{recipient}>")
            if not reply.startswith("250"):
                return reply
        assert (await self.say("DATA")).startswith("354 ")
        self.stream.send(body + b".\r\n")
        return await self.reply()


def converse(script, world=None, *, tmp_path="/tmp", trusted=PINNED, handshake=None, **values):
    """Run `script(client, session)` against a session; return the world and the script's result."""
    world = world or World()
    if trusted is not None:
        world.trust.decision = trusted

    async def both():
        near, far = stream_pair()
        if handshake is not None:
            far.handshake = handshake
        session = Session(far, listener(tmp_path, **values), None, world.services())
        running = asyncio.create_task(session.run())
        result = await asyncio.wait_for(script(Client(near), session), 10)
        near.drop()
        await near.close()
        await asyncio.wait_for(running, 10)
        return result

    return world, asyncio.run(both())


@pytest.fixture
def folder(tmp_path):
    return tmp_path


# --- mail goes through --------------------------------------------------------------------------


def test_a_pinned_client_delivers_and_hears_the_next_hops_reply(folder):
    async def script(client, _):
        await client.enter()
        return await client.send()

    world, reply = converse(script, tmp_path=folder)
    assert reply == "250 2.0.0 Ok: queued as 12345"
    envelope, body = world.next_hop.delivered[0]
    assert str(envelope.sender) == "a@acme.example"
    assert [str(r) for r in envelope.recipients] == ["b@example.org"]
    assert body.endswith(MESSAGE)
    assert body.startswith(b"Received: from client.example")
    assert b"Gatepost-Identity: acme;" in body
    record = world.audit.of("transaction")[0]
    assert record["outcome"] == "delivered"
    assert record["identity"] == "acme"
    assert world.budget.counts["delivered"] == 1
    assert world.budget.left == World().budget.left


def test_the_audit_record_is_written_before_the_reply(folder):
    world = World()
    seen = []

    async def script(client, _):
        await client.enter()
        await client.send()
        seen.append(len(world.audit.of("transaction")))

    converse(script, world, tmp_path=folder)
    assert seen == [1]


def test_many_messages_on_one_connection(folder):
    async def script(client, _):
        await client.enter()
        return [await client.send() for _ in range(3)]

    world, replies = converse(script, tmp_path=folder)
    assert len(set(replies)) == 1
    assert len(world.next_hop.delivered) == 3
    references = [record["reference"] for record in world.audit.of("transaction")]
    assert len(set(references)) == 3


def test_who_does_not_read_the_replies_is_not_listened_to_either(folder):
    async def script(client, session):
        session._stream.high_water = 0
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        await client.say("RCPT TO:<b@example.org>")
        held = 0
        for _ in range(200):
            client.stream.send(b"BDAT 0\r\n" * 100)
            for _ in range(5):
                await asyncio.sleep(0)
            held = max(held, len(client.stream._unread))
        replies = [await client.reply() for _ in range(20_000)]
        return held, set(replies), await client.say("QUIT")

    _, (held, replies, bye) = converse(script, tmp_path=folder)
    assert held < 100_000
    assert replies == {"250 2.0.0 0 bytes received"}
    assert bye.startswith("221 ")


def test_others_have_turns_while_much_that_was_sent_ahead_is_done(folder):
    async def script(client, _session):
        async def say_all():
            client.stream.send(b"MAIL FROM:<a@acme.example>\r\nRSET\r\n" * 1000 + b"QUIT\r\n")
            return [await client.reply() for _ in range(2001)]

        await client.enter()
        return await counting_turns(say_all())

    _, (replies, turns) = converse(script, tmp_path=folder)
    assert replies[-1].startswith("221 ")
    assert turns > 100


def test_what_the_next_hop_does_not_offer_is_not_offered(folder):
    world = World()
    world.next_hop.offered = Extensions(size_bytes=1000, pipelining=True)

    async def script(client, _):
        return await client.enter()

    _, reply = converse(script, world, tmp_path=folder)
    assert "250-SIZE 1000" in reply
    assert "8BITMIME" not in reply
    assert "SMTPUTF8" not in reply
    assert "DSN" not in reply
    assert "CHUNKING" in reply
    assert "STARTTLS" not in reply


def test_the_next_hop_is_told_who_the_client_is(folder):
    async def script(client, _):
        await client.enter()
        await client.send()

    world, _ = converse(script, tmp_path=folder)
    client = world.next_hop.clients[0]
    assert client["LOGIN"] == "acme"
    assert client["ADDR"] == "192.0.2.7"
    assert client["HELO"] == "client.example"


# --- who may not --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "mode", "code"),
    [
        (TrustStatus.ABSENT, "temporary", "421 4.7.1"),
        (TrustStatus.UNPINNED, "temporary", "421 4.7.1"),
        (TrustStatus.UNTRUSTED, "temporary", "421 4.7.1"),
        (TrustStatus.EXPIRED, "temporary", "421 4.7.1"),
        (TrustStatus.NOT_YET_VALID, "temporary", "421 4.7.1"),
        (TrustStatus.WRONG_USAGE, "temporary", "421 4.7.1"),
        (TrustStatus.WEAK_KEY, "temporary", "421 4.7.5"),
        (TrustStatus.MALFORMED, "temporary", "421 4.7.5"),
        (TrustStatus.ABSENT, "permanent", "550 5.7.1"),
        (TrustStatus.WEAK_KEY, "permanent", "550 5.7.5"),
        (TrustStatus.REVOKED, "temporary", "554 5.7.1"),
        (TrustStatus.SUSPENDED, "temporary", "550 5.7.13"),
        (TrustStatus.REVOCATION_UNKNOWN, "permanent", "451 4.7.5"),
    ],
)
def test_a_stranger_gets_its_handshake_and_one_line(folder, status, mode, code):
    async def script(client, session):
        await client.enter()
        reply = await client.say("MAIL FROM:<a@acme.example>")
        return reply, await client.reply(), session.reference

    world, (reply, after, reference) = converse(
        script, tmp_path=folder, trusted=TrustDecision(status, None, "why"), refusal=mode
    )
    assert reply.startswith(code + " ")
    assert reply.endswith(f"(ref {reference})")
    assert after == "closed"
    record = world.audit.of("handshake")[0]
    assert record["status"] == status.value
    assert record["reference"] == reference
    assert record["reply"] == reply
    assert world.budget.counts["refused"] == 1


def test_an_unpinned_client_is_told_its_key(folder):
    decision = TrustDecision(TrustStatus.UNPINNED, None, "why", {"spki": "spki:sha256:abcd"})

    async def script(client, _):
        await client.enter()
        return await client.say("MAIL FROM:<a@acme.example>")

    _, reply = converse(script, tmp_path=folder, trusted=decision)
    assert "spki:sha256:abcd" in reply


def test_a_stranger_has_no_more_time_than_the_greeting(folder):
    world = World(timeouts=Timeouts(greeting="100ms"))

    async def script(client, _):
        await client.enter()
        return await client.reply()

    _, reply = converse(
        script, world, tmp_path=folder, trusted=TrustDecision(TrustStatus.ABSENT, None, "why")
    )
    assert reply.startswith("421 4.4.2 ")


def test_implicit_tls_greets_inside_tls(folder):
    async def script(client, _):
        assert (await client.reply()).startswith("220 edge.example.org ESMTP")
        assert "STARTTLS" not in await client.say("EHLO client.example")
        return await client.send()

    _, reply = converse(script, tmp_path=folder, tls="implicit")
    assert reply.startswith("250 2.0.0")


def test_plaintext_mail_is_refused_with_a_reference(folder):
    async def script(client, session):
        await client.reply()
        await client.say("EHLO client.example")
        return await client.say("MAIL FROM:<a@acme.example>"), session.reference

    world, (reply, reference) = converse(script, tmp_path=folder)
    assert reply == f"530 5.7.0 Must issue a STARTTLS command first (ref {reference})"
    assert world.audit.of("refusal")[0]["rule"] == "plaintext"


def test_a_foreign_sender_is_refused_and_the_session_goes_on(folder):
    async def script(client, session):
        await client.enter()
        reply = await client.say("MAIL FROM:<ceo@bank.example>")
        return reply, session.reference, await client.send()

    world, (reply, reference, then) = converse(script, tmp_path=folder)
    assert reply == f"550 5.7.1 acme may not send as <ceo@bank.example> (ref {reference})"
    assert world.audit.of("refusal")[0]["rule"] == "identity_sender"
    assert then.startswith("250 2.0.0")


def test_a_foreign_author_is_refused_after_the_data(folder):
    async def script(client, _):
        await client.enter()
        return await client.send(b"From: ceo@bank.example\r\n\r\nhi\r\n")

    world, reply = converse(script, tmp_path=folder)
    assert reply.startswith("550 5.7.1 acme may not write as ceo@bank.example")
    assert world.next_hop.delivered == []


def test_without_an_identity_only_configured_domains(folder):
    stranger = TrustDecision(TrustStatus.UNPINNED, None, "why")

    async def script(client, _):
        await client.enter()
        await client.say("MAIL FROM:<x@any.example>")
        denied = await client.say("RCPT TO:<b@elsewhere.example>")
        return denied, await client.say("RCPT TO:<b@example.org>")

    _, (denied, taken) = converse(
        script, tmp_path=folder, trusted=stranger, client_certificate="optional"
    )
    assert denied.startswith("554 5.7.1 Relay access denied (ref ")
    assert taken == "250 2.1.5 Ok"


def test_a_revoked_certificate_is_refused_also_where_it_is_optional(folder):
    revoked = TrustDecision(TrustStatus.REVOKED, None, "why")

    async def script(client, _):
        await client.enter()
        return await client.say("MAIL FROM:<a@acme.example>")

    _, reply = converse(script, tmp_path=folder, trusted=revoked, client_certificate="optional")
    assert reply.startswith("554 5.7.1 ")


# --- who may not any more ---------------------------------------------------------------------

REMOVED = TrustDecision(TrustStatus.UNPINNED, None, "no identity has its key")


class Held(FakeNextHop):
    """A next hop that answers when the test lets it."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def verify(self, *arguments):
        self.asked.set()
        await self.may_answer.wait()
        return await super().verify(*arguments)

    async def deliver(self, *arguments):
        self.asked.set()
        await self.may_answer.wait()
        return await super().deliver(*arguments)


def lose_trust(world, session, decision=REMOVED):
    world.trust.version += 1
    world.trust.decision = decision
    session.reconsider()


def test_a_pin_that_goes_ends_the_session_at_the_next_message(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        first = await client.send()
        world.trust.version += 1
        world.trust.decision = REMOVED
        second = await client.say("MAIL FROM:<a@acme.example>")
        return first, second, await client.reply(), session.reference

    _, (first, second, after, reference) = converse(script, world, tmp_path=folder)
    assert first.startswith("250 ")
    assert second == (
        "421 4.7.0 Client certificate not on the allowlist, closing the connection "
        f"(ref {reference})"
    )
    assert after == "closed"


@pytest.mark.parametrize("terminate", ["next_command", "immediately"])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (TrustStatus.UNPINNED, "Client certificate not on the allowlist"),
        (TrustStatus.EXPIRED, "Client certificate or its pin has expired"),
        (TrustStatus.REVOKED, "Client certificate has been revoked"),
        (TrustStatus.SUSPENDED, "Identity suspended"),
        (TrustStatus.REVOCATION_UNKNOWN, "Revocation status unknown, try again later"),
    ],
)
def test_lost_trust_ends_an_idle_session_at_once_and_on_record(folder, status, words, terminate):
    world = World()
    decision = TrustDecision(status, None, "because", {"spki": "spki:sha256:00"})

    async def script(client, session):
        await client.enter()
        lose_trust(world, session, decision)
        return await client.reply(), await client.reply(), session.reference

    _, (reply, after, reference) = converse(
        script, world, tmp_path=folder, terminate=terminate, refusal="permanent"
    )
    assert reply == f"421 4.7.0 {words}, closing the connection (ref {reference})"
    assert after == "closed"
    (record,) = world.audit.of("refusal")
    assert record["rule"] == "trust"
    assert record["status"] == status.value
    assert record["reason"] == "because"
    assert record["identity"] == "acme"
    assert record["spki"] == "spki:sha256:00"
    assert record["reply"] == reply
    assert record["reference"] == reference
    assert world.budget.counts["refused"] == 1


def test_a_session_that_is_trusted_still_notices_nothing(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        lose_trust(world, session, PINNED)
        return await client.send()

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("250 2.0.0")
    assert world.audit.of("refusal") == []


def test_who_never_was_somebody_has_nothing_to_lose(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        lose_trust(world, session, TrustDecision(TrustStatus.EXPIRED, None, "why"))
        return await client.send(recipients=("b@example.org",))

    _, reply = converse(
        script, world, tmp_path=folder, trusted=REMOVED, client_certificate="optional"
    )
    assert reply.startswith("250 2.0.0")


def test_a_lost_identity_ends_the_session_also_where_it_is_optional(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        lose_trust(world, session)
        return await client.reply()

    _, reply = converse(script, world, tmp_path=folder, client_certificate="optional")
    assert reply.startswith("421 4.7.0 ")


def test_a_message_of_which_a_part_is_missing_is_not_waited_for(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        for line in ("MAIL FROM:<a@acme.example>", "RCPT TO:<b@example.org>", "DATA"):
            await client.say(line)
        client.stream.send(MESSAGE)
        await asyncio.sleep(0)
        client.stream.send(b".\r\n")  # it has come, but nobody has looked at it yet
        lose_trust(world, session)
        return await client.reply(), await client.reply()

    _, (reply, after) = converse(script, world, tmp_path=folder)
    assert reply.startswith("421 4.7.0 ")
    assert after == "closed"
    assert world.next_hop.delivered == []
    assert world.budget.left == World().budget.left


def test_a_message_at_the_next_hop_is_acknowledged_then_421(folder):
    world = World(next_hop=Held())

    async def script(client, session):
        world.next_hop.may_answer.set()
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        await client.say("RCPT TO:<b@example.org>")
        await client.say("DATA")
        world.next_hop.may_answer.clear()
        world.next_hop.asked.clear()
        client.stream.send(MESSAGE + b".\r\nMAIL FROM:<a@acme.example>\r\n")
        await world.next_hop.asked.wait()
        lose_trust(world, session)
        world.next_hop.may_answer.set()
        return [await client.reply() for _ in range(3)]

    _, (sent, then, after) = converse(script, world, tmp_path=folder)
    assert sent == "250 2.0.0 Ok: queued as 12345"
    assert then.startswith("421 4.7.0 ")
    assert after == "closed"
    assert [kind for kind, _ in world.audit.records] == ["handshake", "refusal", "transaction"]


def test_what_was_sent_ahead_does_not_pass_once_trust_is_lost(folder):
    world = World(next_hop=Held())

    async def script(client, session):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        client.stream.send(
            b"RCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n%b" % (len(MESSAGE), MESSAGE)
        )
        await world.next_hop.asked.wait()
        lose_trust(world, session)
        world.next_hop.may_answer.set()
        return [await client.reply() for _ in range(3)]

    _, (recipient, then, after) = converse(script, world, tmp_path=folder)
    assert recipient == "250 2.1.5 Ok"
    assert then.startswith("421 4.7.0 ")
    assert after == "closed"
    assert world.next_hop.delivered == []


def test_what_was_sent_ahead_ends_at_a_pause_once_trust_is_lost(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        client.stream.send(
            b"MAIL FROM:<a@acme.example>\r\nRSET\r\n" * 1000
            + b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@example.org>\r\n"
            + b"BDAT %d LAST\r\n" % len(MESSAGE)
            + MESSAGE
        )
        for _ in range(10):
            await asyncio.sleep(0)  # it is in the middle of them
        lose_trust(world, session)
        replies = []
        while (reply := await client.reply()) != "closed":
            replies.append(reply)
        return replies

    _, replies = converse(script, world, tmp_path=folder)
    assert 10 < len(replies) < 1000
    assert replies[-1].startswith("421 4.7.0 ")
    assert world.next_hop.delivered == []


def test_immediately_means_without_waiting_for_the_next_hop(folder):
    world = World(next_hop=Held())

    async def script(client, session):
        world.next_hop.may_answer.set()
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        await client.say("RCPT TO:<b@example.org>")
        await client.say("DATA")
        world.next_hop.may_answer.clear()
        world.next_hop.asked.clear()
        client.stream.send(MESSAGE + b".\r\n")
        await world.next_hop.asked.wait()
        lose_trust(world, session)
        with pytest.raises(ConnectionLost):
            await client.reply()
        world.next_hop.may_answer.set()

    converse(script, world, tmp_path=folder, terminate="immediately")
    (lost,) = world.audit.of("refusal")
    assert "reply" not in lost  # nobody was told
    (message,) = world.audit.of("transaction")
    assert message["outcome"] == "delivered"


def test_what_the_next_hop_has_taken_is_acknowledged_even_then(folder):
    world = World()

    async def script(client, session):
        await client.enter()

        async def lose_it_between_the_two_acknowledgements():
            lose_trust(world, session)

        world.audit.flushed = lose_it_between_the_two_acknowledgements
        return await client.send(), await client.reply(), await client.reply()

    _, (sent, then, after) = converse(script, world, tmp_path=folder, terminate="immediately")
    assert sent.startswith("250 2.0.0")
    assert then.startswith("421 4.7.0 ")
    assert after == "closed"


def test_lost_trust_ends_the_session_also_if_it_cannot_be_recorded(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        world.audit.failure = Unavailable("disk full")
        lose_trust(world, session)
        return await client.reply(), await client.reply()

    _, (reply, after) = converse(script, world, tmp_path=folder)
    assert reply.startswith("421 4.7.0 ")
    assert after == "closed"
    assert len(world.audit.faults) == 1


def test_a_session_that_is_over_loses_nothing(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        await client.say("QUIT")
        await client.reply()
        lose_trust(world, session)

    converse(script, world, tmp_path=folder)
    assert world.audit.of("refusal") == []


def test_trust_that_is_lost_before_the_banner(folder):
    async def script(client, session):
        while session._case.identity is None:
            await asyncio.sleep(0)
        lose_trust(world, session)
        return [await client.reply() for _ in range(3)]

    world = World()
    _, (banner, then, after) = converse(
        script, world, tmp_path=folder, tls="implicit", banner_delay="20ms"
    )
    assert banner.startswith("220 ")
    assert then.startswith("421 4.7.0 ")
    assert after == "closed"


def test_a_session_loses_its_trust_once(folder):
    world = World(next_hop=Held())

    async def script(client, session):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        client.stream.send(b"RCPT TO:<b@example.org>\r\n")
        await world.next_hop.asked.wait()
        lose_trust(world, session)
        session.reconsider()
        world.next_hop.may_answer.set()
        return [await client.reply() for _ in range(3)]

    _, (_, then, after) = converse(script, world, tmp_path=folder)
    assert then.startswith("421 4.7.0 ")
    assert after == "closed"
    assert len(world.audit.of("refusal")) == 1


# --- whom a ban or a suspension meets in the middle -----------------------------------------------


async def ban(world, session):
    """Ban the client's address, as another node would."""
    now = world.clock.now().timestamp()
    address = session._case.peer.address
    await world.watcher.restrict(
        Restriction(RestrictionKind.BAN, f"{address}/32", "spam", "rule", now, now + 60)
    )
    session.reconsider()


@pytest.mark.parametrize("trusted", [PINNED, REMOVED], ids=["known", "stranger"])
def test_a_ban_ends_a_live_session_whoever_it_is(folder, trusted):
    world = World()

    async def script(client, session):
        await client.enter()
        await ban(world, session)
        session.reconsider()
        return [await client.reply() for _ in range(2)], session.reference

    _, ((told, after), reference) = converse(script, world, tmp_path=folder, trusted=trusted)
    assert told == (
        f"421 4.7.0 Your address is banned here, closing the connection (ref {reference})"
    )
    assert after == "closed"
    (record,) = [each for each in world.audit.of("refusal") if each["rule"] == "banned"]
    assert record["reply"] == told


def test_a_message_that_the_next_hop_is_asked_to_take_is_acknowledged_before_the_ban_counts(folder):
    world = World(next_hop=Held())
    world.next_hop.may_answer.set()

    async def script(client, session):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@example.org>", "DATA")
        world.next_hop.may_answer.clear()
        world.next_hop.asked.clear()
        client.stream.send(MESSAGE + b".\r\n")
        await world.next_hop.asked.wait()
        await ban(world, session)
        world.next_hop.may_answer.set()
        return [await client.reply() for _ in range(3)]

    _, (answer, then, after) = converse(script, world, tmp_path=folder)
    assert answer.startswith("250 2.0.0 ")
    assert then.startswith("421 4.7.0 Your address is banned")
    assert after == "closed"


GREETINGS = """
[[rule]]
name = "no_liars"
at = "hello"
when = "hello.name == 'liar.example'"
then = "reject"
reply = "550 5.7.1 No"

[[rule]]
name = "seen"
at = "hello"
then = "tag"
header = "X-Seen"
value = "{hello.name}"
"""


@pytest.mark.parametrize("refused", ["EHLO liar.example", "EHLO [300.1.1.1]"])
def test_a_greeting_that_is_refused_changes_nothing(folder, refused):
    world = World(policies=FakePolicies(GREETINGS))

    async def script(client, _):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        told = await client.say(refused)
        await client.say("RCPT TO:<b@example.org>")
        await client.say("DATA")
        client.stream.send(MESSAGE + b".\r\n")
        return [told, await client.reply(), await client.say(refused), await client.send()]

    _, replies = converse(script, world, tmp_path=folder)
    assert [each[:3] for each in replies[::2]] == [replies[0][:3]] * 2
    assert [each[:3] for each in replies[1::2]] == ["250", "250"]
    assert replies[0][0] == "5"
    for _, body in world.next_hop.delivered:
        assert body.startswith(b"Received: from client.example")
        assert b"\r\nX-Seen: client.example\r\n" in body


def test_rules_of_the_greeting_are_asked_again_of_who_it_is_now(folder):
    """Trust is worked out anew, at each new revocation list say: what a greeting was marked with stays."""
    world = World(policies=FakePolicies(GREETINGS))

    async def script(client, _):
        await client.enter()
        first = await client.send()
        world.trust.version += 1
        second = await client.send()
        world.policies.text = GREETINGS.replace("liar.example", "client.example")
        world.trust.version += 1
        return [first, second, await client.say("MAIL FROM:<a@acme.example>")]

    _, replies = converse(script, world, tmp_path=folder)
    assert [each[:3] for each in replies] == ["250", "250", "550"]
    assert [body.count(b"X-Seen: client.example") for _, body in world.next_hop.delivered] == [1, 1]


def test_where_nobody_is_asked_who_it_is_greetings_stay_as_they_were(folder):
    world = World(policies=FakePolicies(GREETINGS))

    async def script(client, _):
        await client.enter()
        world.trust.version += 1
        return await client.send()

    converse(script, world, tmp_path=folder, trusted=None, client_certificate="off")
    ((_, body),) = world.next_hop.delivered
    assert body.count(b"X-Seen: client.example") == 1


@pytest.mark.parametrize("at", ["connect", "sender"])
def test_whom_a_rule_bans_is_told_by_the_rule_and_once(folder, at):
    class Slow(MemoryStore):
        """A store that takes its time, in which the worker looks at its sessions."""

        async def restrict(self, *restrictions):
            await asyncio.sleep(0)
            self.session.reconsider()
            await super().restrict(*restrictions)

    store = Slow()
    rule = (
        f'[[rule]]\nname = "trap"\nat = "{at}"\nwhen = "true"\nthen = "ban"\n'
        'duration = "1h"\nreply = "554 5.7.1 Caught"\n'
    )
    world = World(store=store, policies=FakePolicies(rule))

    async def script(client, session):
        store.session = session
        if at == "connect":
            return [await client.reply() for _ in range(2)]
        await client.enter()
        return [await client.say("MAIL FROM:<a@acme.example>"), await client.reply()]

    stranger = {"client_certificate": "off"}
    _, (told, after) = converse(script, world, tmp_path=folder, **stranger)
    assert told.startswith("554 5.7.1 Caught")
    assert after == "closed"
    assert [each["rule"] for each in world.audit.of("refusal")] == ["trap"]
    assert len(world.audit.of("sanction")) == 1


def test_a_pin_that_comes_in_time_lets_the_client_in(folder):
    world = World()

    async def script(client, _):
        await client.enter()
        world.trust.version += 1
        world.trust.decision = PINNED
        return await client.send()

    stranger = TrustDecision(TrustStatus.UNPINNED, None, "not yet")
    _, reply = converse(script, world, tmp_path=folder, trusted=stranger)
    assert reply.startswith("250 2.0.0")


UNKNOWN = TrustDecision(
    TrustStatus.REVOCATION_UNKNOWN, ACME, "not asked yet", questions=("leaf", "ca1")
)


def test_what_is_being_asked_about_a_certificate_is_waited_for(folder):
    world = World()
    world.trust.answer = PINNED

    async def script(client, _):
        await client.enter()
        return await client.send()

    _, reply = converse(script, world, tmp_path=folder, trusted=UNKNOWN)
    assert reply.startswith("250 2.0.0")
    assert world.trust.questions == [("leaf", "ca1")]
    assert [each["status"] for each in world.audit.of("handshake")] == ["pinned"]
    assert "refused" not in world.budget.counts


def test_what_is_not_answered_in_time_is_waited_for_once_and_then_decided(folder):
    world = World()

    async def script(client, _):
        await client.enter()
        return await client.say("MAIL FROM:<a@acme.example>")

    _, reply = converse(script, world, tmp_path=folder, trusted=UNKNOWN)
    assert reply.startswith("451 4.7.5 ")
    assert len(world.trust.questions) == 1
    assert world.budget.counts["refused"] == 1


def test_a_live_session_is_ended_without_waiting_for_an_answer(folder):
    world = World()

    async def script(client, session):
        await client.enter()
        lose_trust(world, session, UNKNOWN)
        return await client.reply()

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("421 4.7.0 ")
    assert world.trust.questions == []


# --- the world breaks ---------------------------------------------------------------------------


def test_a_failed_handshake_is_on_record(folder):
    async def script(client, _):
        await client.reply()
        await client.start_tls()
        return await client.reply()

    world, after = converse(
        script, tmp_path=folder, handshake=HandshakeFailed("unsupported protocol")
    )
    assert after == "closed"
    record = world.audit.of("handshake")[0]
    assert record["tls_failure"] == "unsupported protocol"
    assert world.budget.counts["handshakes_failed"] == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(451, "4.4.1", ("Next hop not available, try again later",)),
        Reply(550, "5.1.1", ("no such user",)),
    ],
)
def test_a_refused_delivery_is_passed_on(folder, reply):
    world = World()
    world.next_hop.outcome = Delivery(accepted=False, reply=reply)

    async def script(client, _):
        await client.enter()
        return await client.send()

    _, told = converse(script, world, tmp_path=folder)
    assert told == str(reply)
    assert world.audit.of("transaction")[0]["outcome"] == (
        "deferred" if reply.is_transient else "rejected"
    )


def test_a_refused_recipient_is_told_at_rcpt(folder):
    world = World()
    world.next_hop.refused_recipients["no@example.org"] = Reply(550, "5.1.1", ("no such user",))

    async def script(client, _):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        refused = await client.say("RCPT TO:<no@example.org>")
        await client.say("RSET")
        return refused, await client.send()

    world, (refused, sent) = converse(script, world, tmp_path=folder)
    assert refused == "550 5.1.1 no such user"
    assert sent.startswith("250 2.0.0")
    assert world.audit.of("refusal")[0]["rule"] == "next_hop"


def test_an_unexpected_error_is_451_with_a_log_id_and_no_text_of_it(folder):
    world = World()
    world.next_hop.outcome = RuntimeError("secret detail")

    async def script(client, _):
        await client.enter()
        return await client.send(), await client.reply()

    _, (reply, after) = converse(script, world, tmp_path=folder)
    assert reply == "451 4.3.0 Local error, try again later (log LOG1)"
    assert after == "closed"
    assert "secret" not in reply
    assert len(world.audit.faults) == 1


def test_without_an_audit_trail_nobody_is_let_in(folder):
    world = World()
    world.audit.failure = Unavailable("disk full")

    async def script(client, _):
        await client.reply()
        await client.start_tls()
        return await client.say("EHLO client.example")

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("451 4.3.0 ")


def test_a_delivered_message_is_acknowledged_even_if_its_record_fails(folder):
    world = World()

    async def script(client, _):
        await client.enter()
        world.audit.failure = Unavailable("disk full")
        return await client.send()

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("250 2.0.0")
    assert len(world.audit.faults) == 1


def test_recipients_of_another_next_hop_come_again(folder):
    world = World()
    world.next_hop.routes["example.net"] = FakeRoute("example.net")

    async def script(client, _):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        await client.say("RCPT TO:<b@example.org>")
        return await client.say("RCPT TO:<b@example.net>")

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("452 4.5.3 ")


def test_a_spent_memory_budget_defers_the_message(folder):
    world = World()
    world.budget.left = 300_000

    async def script(client, _):
        await client.enter()
        big = await client.send(MESSAGE + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 10_000)
        return big, await client.send()

    _, (big, small) = converse(script, world, tmp_path=folder)
    assert big.startswith("452 4.3.1 ")
    assert small.startswith("250 2.0.0")
    assert world.budget.left == 300_000


def test_a_looping_message_is_refused(folder):
    async def script(client, _):
        await client.enter()
        return await client.send(b"Received: from a by b; now\r\n" * 51 + MESSAGE)

    _, reply = converse(script, tmp_path=folder)
    assert reply.startswith("554 5.4.6 ")


def test_a_header_too_long_to_be_searched_is_refused(folder):
    async def script(client, _):
        await client.enter()
        return await client.send(
            b"X-Fill: "
            + b"x" * 900
            + b"\r\n"
            + (b"X-Fill: " + b"x" * 900 + b"\r\n") * 300
            + MESSAGE
        )

    world, reply = converse(script, tmp_path=folder)
    assert reply.startswith("552 5.3.4 ")
    assert world.next_hop.delivered == []


def test_too_many_messages_on_a_connection(folder):
    world = World(limits=Limits(max_messages_per_connection=1))

    async def script(client, _):
        await client.enter()
        await client.send()
        return await client.say("MAIL FROM:<a@acme.example>")

    _, reply = converse(script, world, tmp_path=folder)
    assert reply.startswith("421 4.7.0 ")


# --- time ---------------------------------------------------------------------------------------


def test_a_silent_client_is_told_and_closed(folder):
    world = World(timeouts=Timeouts(greeting="50ms"))

    async def script(client, _):
        await client.reply()
        return await client.reply(), await client.reply()

    _, (reply, after) = converse(script, world, tmp_path=folder)
    assert reply.startswith("421 4.4.2 ")
    assert after == "closed"


def test_noop_does_not_prolong_the_greeting(folder):
    world = World(timeouts=Timeouts(greeting="200ms"))

    async def script(client, _):
        await client.reply()
        replies = []
        for _ in range(40):
            client.stream.send(b"NOOP\r\n")
            replies.append(await client.reply())
            if not replies[-1].startswith("250"):
                return replies
            await asyncio.sleep(0.02)
        return replies

    _, replies = converse(script, world, tmp_path=folder)
    assert replies[-1].startswith("421 4.4.2 ")


def test_an_early_talker_is_refused(folder):
    async def script(client, _):
        client.stream.send(b"EHLO eager.example\r\n")
        return await client.reply(), await client.reply()

    world, (reply, after) = converse(script, tmp_path=folder, banner_delay="1s")
    assert reply.startswith("554 5.5.0 ")
    assert after == "closed"
    assert world.audit.of("refusal")[0]["rule"] == "early_talker"


def test_drain_ends_an_idle_session(folder):
    async def script(client, session):
        await client.enter()
        await asyncio.sleep(0)
        session.drain()
        return await client.reply(), await client.reply()

    _, (reply, after) = converse(script, tmp_path=folder)
    assert reply.startswith("421 4.3.2 ")
    assert after == "closed"


def test_drain_lets_a_transaction_finish(folder):
    async def script(client, session):
        await client.enter()
        await client.say("MAIL FROM:<a@acme.example>")
        session.drain()
        await client.say("RCPT TO:<b@example.org>")
        await client.say("DATA")
        client.stream.send(MESSAGE + b".\r\n")
        return await client.reply(), await client.reply(), await client.reply()

    world, (sent, then, after) = converse(script, tmp_path=folder)
    assert sent.startswith("250 2.0.0")
    assert then.startswith("421 4.3.2 ")
    assert after == "closed"
    assert len(world.next_hop.delivered) == 1


# --- what others are told of it -------------------------------------------------------------------


class Noting:
    """Remembers what it is told (`ports.Feedback`)."""

    def __init__(self):
        self.noted = []

    def note(self, case, _facts, *, refused):
        self.noted.append((str(case.sender), refused))


RULE = """
[[rule]]
name = "size"
at = "message"
when = "message.size_bytes > 1000"
then = "{then}"
reply = "{reply}"
"""


@pytest.mark.parametrize(
    ("body", "rule", "expected"),
    [
        (MESSAGE, RULE.format(then="reject", reply="550 5.7.1 No"), [("a@acme.example", False)]),
        (MESSAGE + b"line\r\n" * 200, RULE.format(then="reject", reply="550 5.7.1 No"), [("a@acme.example", True)]),
        (MESSAGE + b"line\r\n" * 200, RULE.format(then="defer", reply="451 4.7.1 No"), []),
    ],
)  # fmt: skip
def test_a_message_that_was_judged_is_counted_once(folder, body, rule, expected):
    feedback, world = Noting(), World(policies=FakePolicies(rule))
    made = world.services
    world.services = lambda: replace(made(), feedback=feedback)

    async def script(client, _):
        await client.enter()
        return await client.send(body)

    converse(script, world, tmp_path=folder)
    assert feedback.noted == expected
