"""The client engine's dialogues: what is said, in how many flights, and what the answers mean.

A case is played without a stream: `play` sends a dialogue the replies and returns what it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import ConnectionLost, Unavailable
from relay.model import Address, Envelope, Recipient, Sender
from relay.smtp.client import ClientEngine, Outcome, SessionRefused
from relay.smtp.client_commands import BLOCK_BYTES
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.smtp.reply_parser import ReplyParser

if TYPE_CHECKING:
    from relay.smtp.client import Dialogue

BODY = b"Subject: x\r\n\r\n.body\r\n"
CLIENT = {"ADDR": "192.0.2.7", "LOGIN": "acme"}
BASIC = Extensions()
PIPELINING = Extensions(pipelining=True)
CHUNKING = Extensions(chunking=True)
BOTH = Extensions(pipelining=True, chunking=True)


def reply(text: str) -> Reply:
    parser = ReplyParser()
    parser.receive(text.encode() + b"\r\n")
    made = parser.next_reply()
    assert made is not None
    return made


def play(dialogue: Dialogue[Any], *flights: tuple[str, list[str]]) -> Any:
    """Check each flight's bytes, answer it, and return the dialogue's result."""
    remaining = list(flights)
    try:
        flight = next(dialogue)
        while True:
            said = b"".join(flight.chunks).decode("latin-1")
            assert remaining, f"unexpected: {said!r}"
            expected, answers = remaining.pop(0)
            assert said == expected.replace("\n", "\r\n")
            assert len(flight.awaits) == len(answers)
            flight = dialogue.send([reply(answer) for answer in answers])
    except StopIteration as end:
        assert not remaining, f"never said: {remaining[0]!r}"
        return end.value


def engine_with(extensions: Extensions, **options: bool) -> ClientEngine:
    engine = ClientEngine("edge.example.org", **options)
    engine.extensions = extensions
    return engine


def envelope(*names: str) -> Envelope:
    recipients = [Recipient(Address(name, "example.net")) for name in names]
    return Envelope(Sender(Address("ann", "example.org")), recipients)


MAIL = "MAIL FROM:<ann@example.org>\n"
ONE = "RCPT TO:<one@example.net>\n"
TWO = "RCPT TO:<two@example.net>\n"
WIRE = BODY.decode().replace("\r\n", "\n")
STUFFED = WIRE.replace("\n.", "\n..") + ".\n"
LAST = f"BDAT {len(BODY)} LAST\n"


# --- the beginning ---------------------------------------------------------------------------


def test_a_good_beginning() -> None:
    engine = ClientEngine("edge.example.org")
    play(engine.greet(), ("", ["220 mx ESMTP"]))
    play(engine.hello(), ("EHLO edge.example.org\n", ["250 mx"]))
    assert engine.extensions == Extensions()


@pytest.mark.parametrize("banner", ["554 no", "421 busy", "450 later", "250 odd", "354 odd"])
def test_only_220_is_a_banner(banner: str) -> None:
    with pytest.raises(SessionRefused) as caught:
        play(ClientEngine("edge").greet(), ("", [banner]))
    assert caught.value.reply == reply(banner)


def test_learns_the_extensions_of_a_multi_line_answer() -> None:
    engine = ClientEngine("edge")
    dialogue = engine.hello()
    next(dialogue)
    with pytest.raises(StopIteration):
        dialogue.send([Reply(250, "", ("mx", "PIPELINING", "size 1000", "CHUNKING"))])
    assert engine.extensions == Extensions(size_bytes=1000, pipelining=True, chunking=True)


def test_says_helo_to_a_peer_without_ehlo() -> None:
    engine = engine_with(BOTH)
    play(
        engine.hello(),
        ("EHLO edge.example.org\n", ["502 what"]),
        ("HELO edge.example.org\n", ["250 mx"]),
    )
    assert engine.extensions == Extensions()


@pytest.mark.parametrize(
    ("fallback", "answers"),
    [
        (False, ["502 what"]),
        (True, ["421 busy"]),
        (True, ["450 later"]),
        (True, ["500 what", "500 what"]),
    ],
)
def test_a_refused_hello_ends_it(fallback: bool, answers: list[str]) -> None:
    flights = zip(["EHLO edge\n", "HELO edge\n"], answers, strict=False)
    with pytest.raises(SessionRefused):
        play(
            ClientEngine("edge").hello(fallback=fallback),
            *((said, [answer]) for said, answer in flights),
        )


def test_starttls() -> None:
    engine = engine_with(Extensions(starttls=True, pipelining=True))
    play(engine.request_tls(), ("STARTTLS\n", ["220 go"]))
    engine.tls_started()
    assert engine.extensions == Extensions()  # RFC 3207 4.2


def test_starttls_is_not_asked_for_where_it_is_not_offered() -> None:
    with pytest.raises(Unavailable, match="not offered"):
        play(engine_with(PIPELINING).request_tls())


@pytest.mark.parametrize("answer", ["454 not now", "502 what", "250 odd", "421 bye"])
def test_a_refused_starttls_ends_it(answer: str) -> None:
    with pytest.raises(SessionRefused):
        play(engine_with(Extensions(starttls=True)).request_tls(), ("STARTTLS\n", [answer]))


def test_plain_text_behind_starttls_is_an_attack() -> None:
    engine = engine_with(Extensions(starttls=True))
    dialogue = engine.request_tls()
    next(dialogue)
    engine.receive(b"220 go\r\n250-mx\r\n250 AUTH\r\n")
    answer = engine.next_reply()
    assert answer is not None
    with pytest.raises(Unavailable, match="behind"):
        dialogue.send([answer])


# --- one message -----------------------------------------------------------------------------

YES = "250 2.1.0 Ok"
QUEUED = "250 2.0.0 Ok: queued as 4711"

ROUND_TRIPS = {
    "all at once": (BOTH, ["one"], [(MAIL + ONE + LAST + WIRE, [YES, YES, QUEUED])]),
    "chunk, several": (BOTH, ["one", "two"], [(MAIL + ONE + TWO, [YES, YES, YES]), (LAST + WIRE, [QUEUED])]),
    "chunk, one by one": (CHUNKING, ["one"], [(MAIL, [YES]), (ONE, [YES]), (LAST + WIRE, [QUEUED])]),
    "data": (PIPELINING, ["one", "two"], [(MAIL + ONE + TWO + "DATA\n", [YES, YES, "251 will forward", "354 go"]), (STUFFED, [QUEUED])]),
    "data, one by one": (BASIC, ["one", "two"], [(MAIL, [YES]), (ONE, [YES]), (TWO, [YES]), ("DATA\n", ["354 go"]), (STUFFED, [QUEUED])]),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_a_message_takes_as_few_round_trips_as_the_peer_allows(case: Any) -> None:
    extensions, names, flights = case
    engine = engine_with(extensions)
    outcome = play(engine.transact(envelope(*names), [BODY[:5], BODY[5:]], CLIENT), *flights)
    assert outcome == Outcome(accepted=True, reply=reply(QUEUED))
    assert engine.is_usable
    # nothing is left to clear away: the next message begins with MAIL again
    assert play(engine.transact(envelope(*names), [BODY], CLIENT), *flights).accepted


def test_a_big_body_waits_for_the_recipient() -> None:
    body = b"x" * 300_000
    dialogue = engine_with(BOTH).transact(envelope("one"), [body], CLIENT)
    assert next(dialogue).chunks == ((MAIL + ONE).replace("\n", "\r\n").encode(),)
    flight = dialogue.send([reply(YES), reply(YES)])
    blocks = list(flight.chunks)
    assert b"".join(blocks) == b"BDAT 300000 LAST\r\n" + body
    assert max(map(len, blocks)) <= BLOCK_BYTES  # no step on a message takes long
    assert flight.awaits == ("final",)


def test_phases_name_the_deadlines() -> None:
    assert next(engine_with(BOTH).transact(envelope("one"), [BODY], CLIENT)).awaits == (
        "command",
        "command",
        "final",
    )
    dialogue = engine_with(PIPELINING).transact(envelope("one"), [BODY], CLIENT)
    assert next(dialogue).awaits == ("command", "command", "data")
    assert dialogue.send([reply(YES), reply(YES), reply("354 go")]).awaits == ("final",)


def test_an_empty_message_is_one_too() -> None:
    outcome = play(
        engine_with(BOTH).transact(envelope("one"), [], CLIENT),
        (MAIL + ONE + "BDAT 0 LAST\n", [YES, YES, QUEUED]),
    )
    assert outcome.accepted


def test_an_8bit_message_to_a_7bit_peer_is_refused_without_a_word() -> None:
    outcome = play(engine_with(BOTH).transact(envelope("one"), [b"\xe4"], CLIENT))
    assert (outcome.accepted, outcome.reply.code, outcome.reply.enhanced) == (False, 554, "5.6.3")


# --- refusals --------------------------------------------------------------------------------

NO_USER = "550 5.1.1 No such user"
NO_BODY = "554 5.5.1 No valid recipients"
LATER = "451 4.1.0 Not all recipients were accepted, try again"

REFUSALS = {
    # name: (extensions, recipients, flights, our answer, is the connection still good)
    "mail, all at once": (BOTH, ["one"], [(MAIL + ONE + LAST + WIRE, ["550 5.7.1 No", "503 5.5.1 x", "503 5.5.1 x"])], "550 5.7.1 No", True),
    "mail, data": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", ["452 4.3.1 Full", "503 5.5.1 x", "503 5.5.1 x"])], "452 4.3.1 Full", True),
    "mail, one by one": (BASIC, ["one", "two"], [(MAIL, ["550 5.7.1 No"])], "550 5.7.1 No", True),
    "mail, but data taken": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", ["550 5.7.1 No", YES, "354 go"])], "550 5.7.1 No", False),
    "recipient, all at once": (BOTH, ["one"], [(MAIL + ONE + LAST + WIRE, [YES, NO_USER, "503 5.5.1 x"])], NO_USER, True),
    "recipient, data": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", [YES, NO_USER, NO_BODY])], NO_USER, True),
    "recipient, but data taken": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", [YES, NO_USER, "354 go"])], NO_USER, False),
    "recipient, one by one": (BASIC, ["one"], [(MAIL, [YES]), (ONE, [NO_USER])], NO_USER, True),
    "half of them, chunk": (BOTH, ["one", "two"], [(MAIL + ONE + TWO, [YES, YES, NO_USER])], LATER, True),
    "half of them, data": (PIPELINING, ["one", "two"], [(MAIL + ONE + TWO + "DATA\n", [YES, NO_USER, YES, "354 go"])], LATER, False),
    "half of them, one by one": (BASIC, ["one", "two"], [(MAIL, [YES]), (ONE, [NO_USER]), (TWO, [YES])], LATER, True),
    "all of them for good": (BOTH, ["one", "two"], [(MAIL + ONE + TWO, [YES, NO_USER, "550 5.7.1 No"])], NO_USER, True),
    "all of them, one for now": (BOTH, ["one", "two"], [(MAIL + ONE + TWO, [YES, NO_USER, "450 4.2.1 Busy"])], LATER, True),
    "data": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", [YES, YES, "451 4.3.0 Later"])], "451 4.3.0 Later", True),
    "data, one by one": (BASIC, ["one"], [(MAIL, [YES]), (ONE, [YES]), ("DATA\n", ["554 5.5.1 No"])], "554 5.5.1 No", True),
    "message, chunk": (BOTH, ["one"], [(MAIL + ONE + LAST + WIRE, [YES, YES, "554 5.7.1 Spam"])], "554 5.7.1 Spam", True),
    "message, data": (PIPELINING, ["one"], [(MAIL + ONE + "DATA\n", [YES, YES, "354 go"]), (STUFFED, ["552 5.3.4 Big"])], "552 5.3.4 Big", True),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_passed_on_and_nothing_is_half_delivered(case: Any) -> None:
    extensions, names, flights, answer, is_usable = case
    engine = engine_with(extensions)
    outcome = play(engine.transact(envelope(*names), [BODY], CLIENT), *flights)
    assert not outcome.accepted
    assert str(outcome.reply) == answer
    assert engine.is_usable is is_usable
    if is_usable:  # the next message may not inherit anything
        dialogue = engine.transact(envelope("one"), [BODY], CLIENT)
        assert next(dialogue).chunks == (b"RSET\r\n",)


def test_several_recipients_are_told_apart() -> None:
    outcome = play(
        engine_with(BOTH).transact(envelope("one", "two"), [BODY], CLIENT),
        (MAIL + ONE + TWO, [YES, YES, NO_USER]),
    )
    assert outcome.refused == [(Recipient(Address("two", "example.net")), reply(NO_USER))]


@pytest.mark.parametrize("position", range(3))
def test_a_yes_out_of_place_is_not_believed(position: int) -> None:
    answers = [YES, YES, QUEUED]
    answers[position] = "354 what"
    with pytest.raises(Unavailable):
        play(
            engine_with(BOTH).transact(envelope("one"), [BODY], CLIENT),
            (MAIL + ONE + LAST + WIRE, answers),
        )


def test_data_wants_354() -> None:
    with pytest.raises(Unavailable):
        play(
            engine_with(PIPELINING).transact(envelope("one"), [BODY], CLIENT),
            (MAIL + ONE + "DATA\n", [YES, YES, YES]),
        )


@pytest.mark.parametrize("answer", ["503 5.5.1 Nested MAIL", "530 5.7.0 Authentication required"])
def test_an_answer_about_the_connection_is_not_blamed_on_the_sender(answer: str) -> None:
    with pytest.raises(SessionRefused):
        play(
            engine_with(BOTH).transact(envelope("one"), [BODY], CLIENT),
            (MAIL + ONE + LAST + WIRE, [answer, YES, QUEUED]),
        )


def test_reset_is_not_pipelined_and_must_succeed() -> None:
    engine = engine_with(BOTH)
    play(
        engine.transact(envelope("one", "two"), [BODY], CLIENT),
        (MAIL + ONE + TWO, [YES, YES, NO_USER]),
    )
    with pytest.raises(SessionRefused):
        play(engine.transact(envelope("one"), [BODY], CLIENT), ("RSET\n", ["502 what"]))


def test_421_makes_the_connection_unusable() -> None:
    engine = engine_with(BOTH)
    engine.receive(b"250 Ok\r\n421 4.3.2 Bye\r\n")
    engine.next_reply()
    assert engine.is_usable
    engine.next_reply()
    assert not engine.is_usable


# --- recipients asked about --------------------------------------------------------------------

PROBES = {
    "yes": (PIPELINING, [(MAIL + ONE + "RSET\n", [YES, "250 2.1.5 Fine", YES])], "250 2.1.5 Fine"),
    "no": (PIPELINING, [(MAIL + ONE + "RSET\n", [YES, NO_USER, YES])], NO_USER),
    "sender": (PIPELINING, [(MAIL + ONE + "RSET\n", ["550 5.7.1 No", "503 5.5.1 x", YES])], "550 5.7.1 No"),
    "one by one": (BASIC, [(MAIL, [YES]), (ONE, [NO_USER]), ("RSET\n", [YES])], NO_USER),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBES.values(), ids=PROBES)
def test_a_probe_asks_and_takes_back(case: Any) -> None:
    extensions, flights, answer = case
    engine = engine_with(extensions)
    (one,) = envelope("one").recipients
    assert str(play(engine.probe(envelope("ignored"), one, CLIENT), *flights)) == answer
    assert next(engine.transact(envelope("one"), [BODY], CLIENT)).chunks[0].startswith(b"MAIL")


def test_a_probe_whose_sender_is_refused_asks_no_recipient_without_pipelining() -> None:
    engine = engine_with(BASIC)
    (one,) = envelope("one").recipients
    assert play(engine.probe(envelope(), one, CLIENT), (MAIL, ["550 5.7.1 No"])) == reply(
        "550 5.7.1 No"
    )
    assert next(engine.probe(envelope(), one, CLIENT)).chunks == (b"RSET\r\n",)


def test_a_probe_declares_the_size_that_the_sender_declared() -> None:
    asking = Envelope(Sender(Address("ann", "example.org"), size_bytes=7))
    engine = engine_with(Extensions(size_bytes=0, pipelining=True))
    (one,) = envelope("one").recipients
    assert b"SIZE=7\r\n" in next(engine.probe(asking, one, CLIENT)).chunks[0]


def test_a_probe_does_not_ask_what_the_peer_cannot_understand() -> None:
    answer = play(
        engine_with(BOTH).probe(envelope(), Recipient(Address("jörg", "example.net")), CLIENT)
    )
    assert str(answer).startswith("553 5.6.7")


# --- who the client is -------------------------------------------------------------------------

XCLIENT = Extensions(pipelining=True, chunking=True, xclient=frozenset({"ADDR", "LOGIN"}))
ACME = "XCLIENT ADDR=192.0.2.7 LOGIN=acme\n"
EHLO = "EHLO edge.example.org\n"
EHLO_OK = "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 XCLIENT ADDR LOGIN"
WHOLE = (MAIL + ONE + LAST + WIRE, [YES, YES, QUEUED])


def test_xclient_is_said_once_a_client() -> None:
    engine = engine_with(XCLIENT, xclient=True)
    first = (ACME, ["220 mx"]), (EHLO, [EHLO_OK]), WHOLE
    assert play(engine.transact(envelope("one"), [BODY], CLIENT), *first).accepted
    assert play(engine.transact(envelope("one"), [BODY], CLIENT), WHOLE).accepted
    other = ("XCLIENT ADDR=192.0.2.8 LOGIN=[UNAVAILABLE]\n", ["220 mx"]), (EHLO, [EHLO_OK]), WHOLE
    assert play(engine.transact(envelope("one"), [BODY], {"ADDR": "192.0.2.8"}), *other).accepted


def test_a_refused_xclient_ends_it() -> None:
    with pytest.raises(SessionRefused):
        play(
            engine_with(XCLIENT, xclient=True).transact(envelope("one"), [BODY], CLIENT),
            (ACME, ["550 5.7.0 No"]),
        )


def test_a_peer_that_takes_xclient_only_once_is_left_for_another_client() -> None:
    engine = engine_with(XCLIENT, xclient=True)
    once = (ACME, ["220 mx"]), (EHLO, ["250-mx\r\n250-PIPELINING\r\n250 CHUNKING"]), WHOLE
    assert play(engine.transact(envelope("one"), [BODY], CLIENT), *once).accepted
    assert play(engine.transact(envelope("one"), [BODY], CLIENT), WHOLE).accepted
    with pytest.raises(ConnectionLost):
        play(engine.transact(envelope("one"), [BODY], {"ADDR": "192.0.2.8"}))


def test_xclient_and_xforward_are_for_peers_that_offer_them() -> None:
    assert play(
        engine_with(BOTH, xclient=True, xforward=True).transact(envelope("one"), [BODY], CLIENT),
        WHOLE,
    ).accepted


def test_xclient_and_xforward_are_for_routes_that_want_them() -> None:
    offering = Extensions(
        pipelining=True, chunking=True, xclient=frozenset({"ADDR"}), xforward=frozenset({"ADDR"})
    )
    assert play(engine_with(offering).transact(envelope("one"), [BODY], CLIENT), WHOLE).accepted


def test_xforward_goes_with_mail_and_may_be_refused() -> None:
    offering = Extensions(pipelining=True, chunking=True, xforward=frozenset({"ADDR", "SOURCE"}))
    engine = engine_with(offering, xforward=True)
    flight = "XFORWARD ADDR=192.0.2.7 SOURCE=REMOTE\n" + MAIL + ONE + LAST + WIRE
    for answer in (YES, "550 5.7.0 No"):
        outcome = play(
            engine.transact(envelope("one"), [BODY], CLIENT), (flight, [answer, YES, YES, QUEUED])
        )
        assert outcome.accepted
