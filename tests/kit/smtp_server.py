"""A caller for the server engine, whose answers hang on what it is asked, and on nothing else.

Local parts and names decide: `refused`, `deferred` and `closing` get 550, 451 and 421; so does a
message with such a word as the first of its body. Everything else is accepted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from relay.smtp.events import (
    NEED_DATA,
    PAUSE,
    Closed,
    DataStart,
    Event,
    Hello,
    MailFrom,
    Message,
    RcptTo,
    StartTls,
    Violation,
)
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.smtp.server import ServerEngine, ServerLimits

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BANNER", "EVERYTHING", "Caller", "Taken", "new_engine"]

BANNER = Reply(220, "", ("mx.example ESMTP",))
EVERYTHING = Extensions(
    size_bytes=0,
    eightbitmime=True,
    smtputf8=True,
    dsn=True,
    chunking=True,
    pipelining=True,
    starttls=True,
    enhanced_status_codes=True,
)
_REFUSALS = {
    "refused": Reply(550, "5.7.1", ("Refused",)),
    "deferred": Reply(451, "4.7.1", ("Deferred",)),
    "closing": Reply(421, "4.3.2", ("Closing",)),
}


def new_engine(
    limits: ServerLimits | None = None,
    *,
    tls_required: bool = False,
    tls_active: bool = False,
    reference: str = "",
) -> ServerEngine:
    """An engine called mx.example, by default without limits that a test could meet by chance."""
    return ServerEngine(
        "mx.example",
        limits or ServerLimits(max_message_bytes=0),
        tls_required=tls_required,
        tls_active=tls_active,
        reference=reference,
    )


class Taken(NamedTuple):
    """A message whose content was taken."""

    body: bytes
    chunking: bool


class Caller:
    """Feeds an engine and answers its events at once; remembers events and replies.

    `handshake` says whether a positive answer to STARTTLS is followed by a handshake at once.
    """

    def __init__(
        self,
        engine: ServerEngine,
        offer: Extensions = EVERYTHING,
        *,
        handshake: bool = True,
        watch: Callable[[Event | Taken], None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.events: list[Event | Taken] = []
        self.sent = b""
        self.is_tls_active = False
        self._offer = offer
        self._handshake = handshake
        self._watch = watch

    @property
    def is_closed(self) -> bool:
        """Whether the engine has said that it is done."""
        return bool(self.events) and isinstance(self.events[-1], Closed)

    def greet(self) -> None:
        """Send the banner, and look at what came before it."""
        self.engine.greet(BANNER)
        self.run()

    def feed(self, data: bytes) -> None:
        """Hand over one piece of what the client sends."""
        if not self.is_closed:
            self.engine.receive(data)
            self.run()

    def end(self) -> None:
        """The client has closed its side."""
        if not self.is_closed:
            self.engine.end_of_stream()
            self.run()

    def run(self) -> None:
        """Answer events until there are none."""
        while True:
            event: Event | Taken = self.engine.next_event()
            if event is NEED_DATA:
                break
            if event is PAUSE:
                continue
            if isinstance(event, Message):
                event = Taken(event.content.take_body(), event.chunking)
            self.events.append(event)
            self._watch(event)
            if isinstance(event, Closed):
                break
            self._answer(event)
        self.sent += self.engine.data_to_send()

    def _answer(self, event: Event | Taken) -> None:
        engine = self.engine
        match event:
            case Hello(_, name, _):
                refusal = _REFUSALS.get(name)
                if refusal is not None:
                    engine.answer(refusal)
                else:
                    starttls = self._offer.starttls and not self.is_tls_active
                    engine.accept_hello(replace(self._offer, starttls=starttls))
            case StartTls():
                engine.answer(Reply(220, "2.0.0", ("Ready to start TLS",)))
                if self._handshake:
                    engine.tls_started()
                    self.is_tls_active = True
            case MailFrom(sender):
                local = sender.address.local if sender.address else ""
                engine.answer(_REFUSALS.get(local) or Reply(250, "2.1.0", ("Ok",)))
            case RcptTo(recipient):
                refusal = _REFUSALS.get(recipient.address.local)
                engine.answer(refusal or Reply(250, "2.1.5", ("Ok",)))
            case DataStart():
                engine.answer(Reply(354, "", ("End data with <CR><LF>.<CR><LF>",)))
            case Taken(body, _):
                word = body.split(b"\r\n", 1)[0].decode("latin-1")
                engine.answer(_REFUSALS.get(word) or Reply(250, "2.0.0", ("Delivered",)))
            case Violation():
                pass
