"""The way out as its users see it: a reply for every message, whatever the next hop does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import HandshakeFailed
from relay.model import Address, Envelope, Sender
from relay.outbound.forwarder import Forwarder
from relay.outbound.routes import RouteTable
from relay.smtp.extensions import Extensions
from tests.kit.clock import FakeClock
from tests.kit.forwarding import BODY, CLIENT, Way, envelope, make_route, way_out
from tests.kit.next_hop import ALL_EXTENSIONS, DROP, END, SILENCE, ScriptedHop, Stored
from tests.kit.pki import Authority
from tests.kit.stream import TLS13

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOT_AVAILABLE = "451 4.4.1 Next hop not available, try again later"
BROKEN_OFF = "451 4.4.2 Connection to the next hop failed, try again later"
NOT_VERIFIED = "451 4.7.5 Next hop not verified, try again later"
SOON = timedelta(milliseconds=30)
PLAIN = ("SIZE 1000000", "8BITMIME")
PIPELINING = ("PIPELINING", *PLAIN)
STORED = Stored("ann@example.org", ["bob@example.net"], BODY)


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 20))

    return run


# --- delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, PIPELINING, PLAIN, ("CHUNKING",), ()])
@pytest.mark.parametrize("names", [("bob",), ("bob", "eve")])
@pytest.mark.parametrize(
    "body", [BODY, b"", b"\r\n", b".\r\n", b"\r\n.\r\n\r\n", b"x\r\n" * 200_000]
)
@on_loop
async def test_the_message_arrives_byte_for_byte(
    extensions: tuple[str, ...], names: tuple[str, ...], body: bytes
) -> None:
    async with way_out(ScriptedHop(extensions)) as way:
        for _ in range(2):
            delivery = await way.deliver(*names, body=body)
            assert delivery.accepted
            assert str(delivery.reply) == "250 2.0.0 Ok: queued as 4711"
        stored = Stored("ann@example.org", [f"{name}@example.net" for name in names], body)
        assert way.hop.messages == [stored, stored]
        assert len(way.hop.streams) == 1


@on_loop
async def test_a_delivery_says_where_and_how() -> None:
    async with way_out() as way:
        delivery = await way.deliver()
        assert (delivery.route, delivery.host) == ("example.net", "mx1.internal:25")
        assert str(delivery.endpoint) == "192.0.2.25:25"
        assert delivery.reason == ""


@on_loop
async def test_an_8bit_message_to_a_hop_without_8bitmime_is_refused_for_good() -> None:
    async with way_out(ScriptedHop(("PIPELINING",))) as way:
        assert str((await way.deliver(body=b"\xe4\r\n")).reply).startswith("554 5.6.3 ")
        assert (await way.deliver()).accepted, "the connection is still good"
        assert len(way.hop.streams) == 1


ANSWERS = {
    # what the next hop says: where, what; what the client hears; code paths of chunking and data
    "mail": ("MAIL", "550 5.7.1 Not you", "550 5.7.1 Not you"),
    "mail, multi-line": ("MAIL", "550 5.7.1 Not\n550 5.7.1 you", "550 5.7.1 Not you"),
    "mail, busy": ("MAIL", "452 4.3.1 Full", "452 4.3.1 Full"),
    "mail, without enhanced code": ("MAIL", "550 Not you", "550 5.0.0 Not you"),
    "recipient": ("RCPT", "550 5.1.1 No such user", "550 5.1.1 No such user"),
    "recipient, greylisted": ("RCPT", "450 4.2.0 Greylisted", "450 4.2.0 Greylisted"),
    "message": ("message", "554 5.7.1 Spam", "554 5.7.1 Spam"),
    "message, later": ("message", "451 4.3.0 Later", "451 4.3.0 Later"),
    "message, other yes": ("message", "252 2.0.0 Perhaps", "250 2.0.0 Perhaps"),
    "mail, authentication wanted": ("MAIL", "530 5.7.0 Authentication required", NOT_AVAILABLE),
    "mail, out of step": ("MAIL", "503 5.5.1 Nested MAIL", NOT_AVAILABLE),
    # 421 would say that we close; it becomes 451 with its text
    "mail, 421": ("MAIL", "421 4.3.2 Going down", "451 4.3.2 Going down"),
    "recipient, 421": ("RCPT", "421 4.3.2 Going down", "451 4.3.2 Going down"),
    "message, 421": ("message", "421 4.3.2 Going down", "451 4.3.2 Going down"),
    # nothing of this may be taken for a yes
    "mail, garbage": ("MAIL", "hello\r\n", NOT_AVAILABLE),
    "message, mismatched lines": ("message", "550-no\r\n250 yes\r\n", NOT_AVAILABLE),
    "message, bare LF": ("message", "250 yes\n\r\n", NOT_AVAILABLE),
    "message, 3yz": ("message", "354 more", NOT_AVAILABLE),
    "message, cut off": ("message", "2500 yes\r\n", NOT_AVAILABLE),
    # the line breaks
    "mail, dropped": ("MAIL", DROP, BROKEN_OFF),
    "mail, ended": ("MAIL", END, BROKEN_OFF),
    "recipient, dropped": ("RCPT", DROP, BROKEN_OFF),
    "message, dropped": ("message", DROP, BROKEN_OFF),
    "message, ended": ("message", END, BROKEN_OFF),
    # it is too slow
    "mail, silent": ("MAIL", SILENCE, BROKEN_OFF),
    "recipient, silent": ("RCPT", SILENCE, BROKEN_OFF),
    "message, silent": ("message", SILENCE, BROKEN_OFF),
}  # fmt: skip


@pytest.mark.parametrize(
    "extensions", [ALL_EXTENSIONS, PIPELINING, PLAIN], ids=["chunking", "pipelining", "plain"]
)
@pytest.mark.parametrize(("where", "what", "heard"), ANSWERS.values(), ids=ANSWERS)
@on_loop
async def test_every_answer_reaches_the_client(
    extensions: tuple[str, ...], where: str, what: str, heard: str
) -> None:
    slow = (
        {f"{phase}_timeout": SOON for phase in ("command", "data", "final")}
        if what == SILENCE
        else {}
    )
    async with way_out(ScriptedHop(extensions, {where: what}), **slow) as way:
        delivery = await way.deliver()
        assert str(delivery.reply) == heard
        assert delivery.accepted is (delivery.reply.code == 250)
        assert way.hop.messages == [STORED] or not delivery.accepted
        assert (delivery.reason == "") is (
            delivery.reply.text not in (NOT_AVAILABLE[10:], BROKEN_OFF[10:])
        )
        way.hop.answers.clear()
        assert (await way.deliver()).accepted, "a failure does not outlive its message"


DATA_ANSWERS = {
    "refused": ("554 5.5.1 No", "554 5.5.1 No"),
    "yes without 354": ("250 Ok", NOT_AVAILABLE),
    "dropped": (DROP, BROKEN_OFF),
    "silent": (SILENCE, BROKEN_OFF),
    "421": ("421 4.3.2 Going down", "451 4.3.2 Going down"),
}


@pytest.mark.parametrize(("what", "heard"), DATA_ANSWERS.values(), ids=DATA_ANSWERS)
@on_loop
async def test_an_answer_to_data(what: str, heard: str) -> None:
    async with way_out(ScriptedHop(PIPELINING, {"DATA": what}), data_timeout=SOON) as way:
        assert str((await way.deliver()).reply) == heard
        assert way.hop.messages == []


@on_loop
async def test_killed_during_the_body() -> None:
    hop = ScriptedHop(PLAIN, reads_body=False, high_water=300_000)
    async with way_out(hop) as way:
        task = asyncio.create_task(way.deliver(body=b"x\r\n" * 1_000_000))
        while not (hop.streams and len(hop.client_streams[0].sent) > 3):
            await asyncio.sleep(0)
        hop.streams[0].abort()
        assert str((await task).reply) == BROKEN_OFF


@on_loop
async def test_a_hop_that_stops_taking_the_body_is_given_up() -> None:
    hop = ScriptedHop(PLAIN, reads_body=False, high_water=300_000)
    async with way_out(hop, data_timeout=SOON, command_timeout=timedelta(seconds=5)) as way:
        assert str((await way.deliver(body=b"x\r\n" * 1_000_000)).reply) == BROKEN_OFF


@on_loop
async def test_a_refusal_and_a_hangup_is_a_refusal() -> None:
    hop = ScriptedHop(answers={"MAIL": "554 5.7.1 Go away", "RCPT": END})
    async with way_out(hop) as way:
        assert str((await way.deliver()).reply) == "554 5.7.1 Go away"


# --- several recipients ------------------------------------------------------------------------

NOT_ALL = "451 4.1.0 Not all recipients were accepted, try again"


@pytest.mark.parametrize(
    "extensions", [ALL_EXTENSIONS, PIPELINING, PLAIN], ids=["chunking", "pipelining", "plain"]
)
@on_loop
async def test_half_refused_is_not_half_delivered_and_the_retry_hears_of_it(
    extensions: tuple[str, ...],
) -> None:
    hop = ScriptedHop(extensions, {"RCPT TO:<eve@": "452 4.2.2 Mailbox full"})
    async with way_out(hop, verify_recipients=False) as way:
        assert str((await way.deliver("bob", "eve")).reply) == NOT_ALL
        assert hop.messages == [], "not even an empty message"
        assert str(await way.verify("bob")) == "250 2.1.5 Ok"
        assert str(await way.verify("eve", "bob")) == "452 4.2.2 Mailbox full"
        assert str(await way.verify("eve")) == "250 2.1.5 Ok", "told once, then it may try anew"
        assert (await way.deliver("bob")).accepted
        assert hop.messages == [STORED]


@on_loop
async def test_what_was_learnt_at_delivery_outweighs_an_earlier_yes() -> None:
    async with way_out() as way:
        assert (await way.verify("eve")).is_positive
        way.hop.answers["RCPT TO:<eve@"] = "550 5.1.1 No such user"
        assert str((await way.deliver("bob", "eve")).reply) == NOT_ALL
        assert str(await way.verify("eve")) == "550 5.1.1 No such user"


@on_loop
async def test_a_line_that_breaks_off_teaches_nothing_about_recipients() -> None:
    hop = ScriptedHop(answers={"RCPT TO:<eve@": "550 5.1.1 No such user", "RCPT TO:<joe@": END})
    async with way_out(hop, verify_recipients=False) as way:
        assert str((await way.deliver("eve", "joe")).reply) == NOT_ALL
        assert (await way.verify("joe")).is_positive
        assert (await way.verify("eve")).is_permanent


@on_loop
async def test_all_refused_for_good_is_said_for_good() -> None:
    async with way_out(ScriptedHop(answers={"RCPT": "550 5.1.1 No such user"})) as way:
        assert str((await way.deliver("bob", "eve")).reply) == "550 5.1.1 No such user"


# --- beginnings --------------------------------------------------------------------------------

BEGINNINGS = {
    "banner 554": {"banner": "554 5.3.2 No service"},
    "banner 421": {"banner": "421 4.3.2 Busy"},
    "banner dropped": {"banner": DROP},
    "banner ended": {"banner": END},
    "banner silent": {"banner": SILENCE},
    "banner garbage": {"banner": "SSH-2.0-OpenSSH_9.2\r\n"},
    "ehlo 550": {"EHLO": "550 5.7.1 No", "HELO": "550 5.7.1 No"},
    "ehlo 421": {"EHLO": "421 4.7.0 No"},
    "ehlo dropped": {"EHLO": DROP},
    "ehlo silent": {"EHLO": SILENCE},
}


@pytest.mark.parametrize("answers", BEGINNINGS.values(), ids=BEGINNINGS)
@on_loop
async def test_a_hop_that_will_not_begin_is_not_available(
    answers: dict[str, str | list[str]],
) -> None:
    slow = {"command_timeout": SOON} if SILENCE in answers.values() else {}
    async with way_out(ScriptedHop(answers=answers), **slow) as way:
        delivery = await way.deliver()
        assert (str(delivery.reply), delivery.accepted) == (NOT_AVAILABLE, False)
        assert delivery.reason
        assert str(await way.verify("bob")) == NOT_AVAILABLE
        assert "MAIL" not in way.hop.verbs


@on_loop
async def test_helo_is_enough_without_tls() -> None:
    async with way_out(ScriptedHop(answers={"EHLO": "502 5.5.1 What"})) as way:
        assert (await way.deliver()).accepted
        assert way.hop.verbs == ["EHLO", "HELO", "MAIL", "RCPT", "DATA"]


# --- TLS ---------------------------------------------------------------------------------------

ROOT = Authority("Root")
GOOD = replace(
    TLS13, certificates=ROOT.issue(dns=("mx1.internal",), usages=("server",)).certificates
)
FALSE = replace(
    TLS13, certificates=ROOT.issue(dns=("mx9.internal",), usages=("server",)).certificates
)


def secured(**options: Any) -> dict[str, Any]:
    return {"tls": "verify", **options}


def trusting(way: Way) -> Way:
    """The same way with the test CA as the route's anchor."""
    return Way(way.hop, way.clock, replace(way.route, anchors=(ROOT.certificate,)))


@pytest.mark.parametrize("handshake", ["starttls", "implicit"])
@on_loop
async def test_mail_goes_over_tls_to_a_verified_hop(handshake: str) -> None:
    hop = ScriptedHop(
        (*ALL_EXTENSIONS, "STARTTLS") if handshake == "starttls" else ALL_EXTENSIONS, handshake=GOOD
    )
    async with way_out(hop, **secured(handshake=handshake)) as bare:
        way = trusting(bare)
        delivery = await way.deliver()
        assert delivery.accepted
        assert delivery.tls == GOOD
        assert hop.client_streams[0].server_name == "mx1.internal"
        begin = ["EHLO", "STARTTLS", "EHLO"] if handshake == "starttls" else ["EHLO"]
        assert hop.verbs == [*begin, "MAIL", "RCPT", "BDAT"]
        await way.forwarder.close()


@pytest.mark.parametrize("handshake", ["starttls", "implicit"])
@pytest.mark.parametrize(
    "outcome", [FALSE, TLS13, HandshakeFailed("no shared cipher")], ids=["name", "none", "failed"]
)
@on_loop
async def test_a_hop_that_is_not_verified_gets_no_mail(handshake: str, outcome: Any) -> None:
    hop = ScriptedHop((*ALL_EXTENSIONS, "STARTTLS"), handshake=outcome)
    async with way_out(hop, **secured(handshake=handshake)) as bare:
        way = trusting(bare)
        delivery = await way.deliver()
        assert str(delivery.reply) == NOT_VERIFIED
        assert delivery.reason
        assert set(hop.verbs) <= {"EHLO", "STARTTLS"}, "not a byte after the handshake"
        assert hop.verbs.count("EHLO") <= 1
        await way.forwarder.close()


NO_TLS: dict[str, tuple[tuple[str, ...], dict[str, str | list[str]]]] = {
    "not offered": (ALL_EXTENSIONS, {}),
    "refused": ((*ALL_EXTENSIONS, "STARTTLS"), {"STARTTLS": "454 4.7.0 Not now"}),
    "no EHLO": ((), {"EHLO": "502 5.5.1 What"}),
    "injected": ((*ALL_EXTENSIONS, "STARTTLS"), {"STARTTLS": "220 go\r\n250 2.0.0 more\r\n"}),
}


@pytest.mark.parametrize(("extensions", "answers"), NO_TLS.values(), ids=NO_TLS)
@on_loop
async def test_without_tls_there_is_no_mail(
    extensions: tuple[str, ...], answers: dict[str, str | list[str]]
) -> None:
    async with way_out(ScriptedHop(extensions, answers, handshake=GOOD), **secured()) as bare:
        way = trusting(bare)
        assert str((await way.deliver()).reply) == NOT_AVAILABLE
        assert set(way.hop.verbs) <= {"EHLO", "STARTTLS"}
        await way.forwarder.close()


# --- hosts ---------------------------------------------------------------------------------------

TWO_HOSTS = {"hosts": ("mx1.internal:25", "mx2.internal:26")}


@on_loop
async def test_the_next_host_gets_the_mail_while_the_first_is_down() -> None:
    hop = ScriptedHop(unreachable={"mx1.internal": "connection refused"})
    async with way_out(hop, **TWO_HOSTS) as way:
        delivery = await way.deliver()
        assert (delivery.accepted, delivery.host) == (True, "mx2.internal:26")
        assert hop.dialled == ["mx1.internal", "mx2.internal"]
        await way.deliver()
        assert hop.dialled == ["mx1.internal", "mx2.internal"], "left alone for a while"
        hop.unreachable.clear()
        way.clock.advance(timedelta(seconds=1.1))
        assert (await way.deliver()).host == "mx1.internal:25", "tried again, and preferred"


@on_loop
async def test_a_host_that_begins_badly_is_passed_over_within_one_delivery() -> None:
    hop = ScriptedHop(answers={"banner": ["554 5.3.2 No", "220 mx2"]})
    async with way_out(hop, **TWO_HOSTS) as way:
        assert (await way.deliver()).host == "mx2.internal:26"


@on_loop
async def test_after_the_beginning_no_other_host_is_tried() -> None:
    async with way_out(ScriptedHop(answers={"MAIL": DROP}), **TWO_HOSTS) as way:
        assert str((await way.deliver()).reply) == BROKEN_OFF
        assert way.hop.dialled == ["mx1.internal"]


@on_loop
async def test_if_all_hosts_have_failed_they_are_tried_in_their_order_all_the_same() -> None:
    hop = ScriptedHop(unreachable={"mx1.internal": "refused", "mx2.internal": "refused"})
    async with way_out(hop, **TWO_HOSTS) as way:
        assert str((await way.deliver()).reply) == NOT_AVAILABLE
        hop.unreachable.clear()
        assert (await way.deliver()).host == "mx1.internal:25"


@on_loop
async def test_a_dead_kept_connection_is_replaced_within_the_delivery() -> None:
    async with way_out() as way:
        assert (await way.deliver()).accepted
        way.hop.answers["MAIL"] = [DROP, "250 2.1.0 Ok"]
        assert (await way.deliver()).accepted
        assert len(way.hop.streams) == 2
        assert len(way.hop.messages) == 2


@on_loop
async def test_a_kept_connection_that_says_421_is_replaced_within_the_delivery() -> None:
    async with way_out() as way:
        await way.deliver()
        way.hop.answers["MAIL"] = ["421 4.4.2 Timeout", "250 2.1.0 Ok"]
        assert (await way.deliver()).accepted
        assert len(way.hop.streams) == 2


@on_loop
async def test_a_kept_connection_that_has_answered_is_not_replaced() -> None:
    async with way_out(ScriptedHop(PIPELINING)) as way:
        await way.deliver()
        way.hop.answers["DATA"] = DROP
        assert str((await way.deliver()).reply) == BROKEN_OFF
        assert len(way.hop.streams) == 1
        assert len(way.hop.messages) == 1


@on_loop
async def test_a_new_connection_that_dies_too_is_the_end_of_it() -> None:
    async with way_out() as way:
        await way.deliver()
        way.hop.answers["MAIL"] = DROP
        assert str((await way.deliver()).reply) == BROKEN_OFF
        assert len(way.hop.streams) == 2


@pytest.mark.parametrize("unasked", [b"250 2.0.0 Ok\r\n", b"421 4.4.2 Timeout\r\n", b"2"])
@on_loop
async def test_what_a_hop_says_unasked_is_no_answer(unasked: bytes) -> None:
    async with way_out() as way:
        await way.deliver()
        way.hop.streams[0].send(unasked)
        assert (await way.deliver()).accepted
        assert len(way.hop.streams) == 2, "a connection out of step is not used"


@on_loop
async def test_one_answer_too_many_is_no_answer_to_the_next_question() -> None:
    async with way_out(ScriptedHop(PLAIN, {"MAIL": "250 Ok\r\n250 Ok\r\n"})) as way:
        assert str((await way.deliver()).reply) == BROKEN_OFF
        assert way.hop.messages == []


# --- recipients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "what", "heard"),
    [
        ("RCPT", "250 2.1.5 Fine", "250 2.1.5 Fine"),
        ("RCPT", "251 Will forward", "250 2.0.0 Will forward"),
        ("RCPT", "550 5.1.1 No such user", "550 5.1.1 No such user"),
        ("RCPT", "450 4.2.0 Greylisted", "450 4.2.0 Greylisted"),
        ("RCPT", "421 4.3.2 Bye", "451 4.3.2 Bye"),
        ("MAIL", "550 5.7.1 Not you", "550 5.7.1 Not you"),
        ("MAIL", DROP, BROKEN_OFF),
        ("RCPT", "what\r\n", NOT_AVAILABLE),
    ],
)  # fmt: skip
@on_loop
async def test_the_hops_answer_to_a_recipient_is_ours(where: str, what: str, heard: str) -> None:
    async with way_out(ScriptedHop(answers={where: what})) as way:
        assert str(await way.verify("bob")) == heard
        way.hop.answers.clear()
        assert (await way.deliver()).accepted
        assert way.hop.messages == [STORED]


MINUTE = timedelta(seconds=61)
CACHE = {
    # answer of the next hop, time gone by, asked again?
    "yes, soon": ("250 2.1.5 Ok", timedelta(seconds=299), False),
    "yes, later": ("250 2.1.5 Ok", timedelta(seconds=301), True),
    "no, soon": ("550 5.1.1 No", timedelta(seconds=59), False),
    "no, later": ("550 5.1.1 No", MINUTE, True),
    "not now": ("450 4.2.0 Later", timedelta(0), True),
    "broken": (DROP, timedelta(0), True),
}


@pytest.mark.parametrize(("what", "gone", "asks"), CACHE.values(), ids=CACHE)
@on_loop
async def test_answers_are_remembered_for_a_while(what: str, gone: timedelta, asks: bool) -> None:
    async with way_out(ScriptedHop(answers={"RCPT": what})) as way:
        first = await way.verify("bob")
        way.clock.advance(gone)
        assert await way.verify("bob") == first
        assert way.hop.verbs.count("RCPT") == (2 if asks else 1)


@on_loop
async def test_another_question_is_asked_anew() -> None:
    async with way_out() as way:
        await way.verify("bob")
        await way.verify("eve")
        await way.forwarder.verify(
            way.route, Envelope(Sender(None)), Address("bob", "example.net"), CLIENT
        )
        assert way.hop.verbs.count("RCPT") == 3


@on_loop
async def test_another_client_is_another_question_only_if_the_hop_is_told_of_it() -> None:
    other = {"ADDR": "192.0.2.8"}
    for xclient, asked in ((False, 1), (True, 2)):
        hop = ScriptedHop((*ALL_EXTENSIONS, "XCLIENT ADDR LOGIN"))
        async with way_out(hop, xclient=xclient) as way:
            await way.verify("bob")
            await way.verify("bob", client=other)
            assert hop.verbs.count("RCPT") == asked
            assert hop.verbs.count("XCLIENT") == (asked if xclient else 0)


@on_loop
async def test_the_same_question_at_the_same_time_is_asked_once() -> None:
    async with way_out(ScriptedHop(delay=0.01)) as way:
        replies = await asyncio.gather(*(way.verify("bob") for _ in range(50)))
        assert {str(reply) for reply in replies} == {"250 2.1.5 Ok"}
        assert way.hop.verbs.count("RCPT") == 1


@on_loop
async def test_an_asker_that_leaves_does_not_take_the_answer_along() -> None:
    async with way_out(ScriptedHop(delay=0.01)) as way:
        leaving = asyncio.create_task(way.verify("bob"))
        staying = asyncio.create_task(way.verify("bob"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).is_positive


@on_loop
async def test_recipients_are_not_verified_where_the_route_says_so() -> None:
    async with way_out(verify_recipients=False) as way:
        assert str(await way.verify("bob")) == "250 2.1.5 Ok"
        assert way.hop.dialled == []


@on_loop
async def test_the_hops_limit_of_recipients_is_kept() -> None:
    async with way_out(ScriptedHop((*ALL_EXTENSIONS, "LIMITS RCPTMAX=2"))) as way:
        assert (await way.verify("one")).is_positive
        assert (await way.verify("two", "one")).is_positive
        assert str(await way.verify("three", "one", "two")).startswith("452 4.5.3 ")


# --- clients ---------------------------------------------------------------------------------------


@on_loop
async def test_the_hop_is_told_of_the_client_by_xclient() -> None:
    hop = ScriptedHop((*ALL_EXTENSIONS, "XCLIENT ADDR HELO LOGIN"))
    async with way_out(hop, xclient=True) as way:
        await way.verify("bob")
        await way.deliver()
        await way.deliver(client={"ADDR": "192.0.2.8"})
        said = [command for command in hop.commands if command.startswith("XCLIENT")]
        assert said == [
            "XCLIENT ADDR=192.0.2.7 HELO=client.example LOGIN=acme",
            "XCLIENT ADDR=192.0.2.8 HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]",
        ]
        assert len(hop.streams) == 1
        assert len(hop.messages) == 2


@on_loop
async def test_the_hop_is_told_of_the_client_by_xforward() -> None:
    hop = ScriptedHop((*ALL_EXTENSIONS, "XFORWARD ADDR SOURCE"))
    async with way_out(hop, xforward=True) as way:
        assert (await way.deliver()).accepted
        assert hop.verbs == ["EHLO", "XFORWARD", "MAIL", "RCPT", "BDAT"]


# --- what is offered, start and end ------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@on_loop
async def test_extensions_are_learnt_in_the_background() -> None:
    async with way_out(ScriptedHop((*ALL_EXTENSIONS, "LIMITS RCPTMAX=50 MAILMAX=10"))) as way:
        before = way.forwarder.extensions()
        assert before == Extensions(
            chunking=True, pipelining=True, starttls=True, enhanced_status_codes=True
        )
        await way.forwarder.start()
        await until(lambda: way.forwarder.extensions() != before)
        assert way.forwarder.extensions() == Extensions(
            size_bytes=1_000_000, eightbitmime=True, smtputf8=True, dsn=True, chunking=True,
            pipelining=True, starttls=True, enhanced_status_codes=True, rcptmax=50,
        )  # fmt: skip
        assert way.hop.verbs == ["EHLO"]


@on_loop
async def test_a_hop_that_was_down_at_the_start_is_learnt_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.outbound.forwarder._SWEEP_SECONDS", 0.001)
    hop = ScriptedHop(unreachable={"mx1.internal": "connection refused"})
    async with way_out(hop) as way:
        await way.forwarder.start()
        await until(lambda: len(hop.dialled) == 1)
        hop.unreachable.clear()
        assert not way.forwarder.extensions().dsn
        way.clock.advance(timedelta(seconds=1))
        await until(lambda: way.forwarder.extensions().dsn)
        assert len(hop.dialled) == 2


@on_loop
async def test_idle_connections_are_let_go_without_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.outbound.forwarder._SWEEP_SECONDS", 0.001)
    async with way_out(idle_timeout=timedelta(seconds=60)) as way:
        await way.forwarder.start()
        await until(lambda: way.forwarder.status()[0].idle == 1)
        way.clock.advance(timedelta(seconds=61))
        await until(lambda: "QUIT" in way.hop.verbs)
        assert way.forwarder.status()[0].connections == 0


@on_loop
async def test_tls_that_was_not_set_up_is_no_reason_to_go_without() -> None:
    async with way_out(ScriptedHop((*ALL_EXTENSIONS, "STARTTLS")), tls="verify") as bare:
        way = Way(bare.hop, bare.clock, replace(bare.route, tls=None))
        assert str((await way.deliver()).reply) == NOT_VERIFIED
        await way.forwarder.close()


@on_loop
async def test_what_one_hop_lacks_is_not_offered() -> None:
    class TwoHops:
        def __init__(self) -> None:
            self.hops = {
                "mx1": ScriptedHop(("SIZE 1000", "8BITMIME", "DSN")),
                "mx2": ScriptedHop(("SIZE 500", "8BITMIME")),
            }

        async def connect(self, host: str, port: int, timeout: timedelta) -> Any:
            return await self.hops[host].connect(host, port, timeout)

    dialer = TwoHops()
    routes = RouteTable(
        [make_route("a.example", hosts=("mx1",)), make_route("b.example", hosts=("mx2",))],
        hostname="edge",
    )
    forwarder = Forwarder(routes, dialer, FakeClock(), hostname="edge")
    await forwarder.start()
    await until(lambda: forwarder.extensions().eightbitmime)
    offered = forwarder.extensions()
    assert (offered.size_bytes, offered.eightbitmime, offered.dsn) == (500, True, False)
    await forwarder.close()
    for hop in dialer.hops.values():
        await hop.close()


@on_loop
async def test_close_says_goodbye() -> None:
    async with way_out() as way:
        await way.deliver()
        await way.forwarder.close()
        await until(lambda: "QUIT" in way.hop.verbs)
        assert str((await way.deliver()).reply) == NOT_AVAILABLE


@on_loop
async def test_a_delivery_under_way_outlives_close() -> None:
    async with way_out(ScriptedHop(delay=0.01)) as way:
        task = asyncio.create_task(way.deliver())
        await until(lambda: "EHLO" in way.hop.verbs)
        await way.forwarder.close()
        assert (await task).accepted
        await until(lambda: "QUIT" in way.hop.verbs)


@on_loop
async def test_a_cancelled_delivery_leaves_no_message_and_no_used_connection() -> None:
    async with way_out(ScriptedHop(PLAIN, {"DATA": SILENCE})) as way:
        task = asyncio.create_task(way.deliver())
        await until(lambda: "DATA" in way.hop.verbs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert way.forwarder.status()[0].connections == 0
        assert way.hop.messages == []


@on_loop
async def test_status_says_how_hosts_do() -> None:
    hop = ScriptedHop(unreachable={"mx1.internal": "connection refused"})
    async with way_out(hop, **TWO_HOSTS) as way:
        await way.deliver()
        first, second = way.forwarder.status()
        assert (str(first.host), first.problem, first.connections) == (
            "mx1.internal:25",
            "connection refused",
            0,
        )
        assert (str(second.host), second.problem, second.connections, second.idle) == (
            "mx2.internal:26",
            "",
            1,
            1,
        )


@on_loop
async def test_route_for_is_the_tables_word() -> None:
    async with way_out() as way:
        forwarder = way.forwarder
        assert forwarder.route_for(Address("bob", "example.net"), identified=False) is way.route
        assert forwarder.route_for(Address("bob", "example.com"), identified=True) is None
        assert envelope().recipients[0].address.domain == "example.net"
