"""One client connection, from the banner to the close, over a Stream.

Drives `smtp.server.ServerEngine`: the engine knows the protocol, this file knows what follows from
each event, and asks those who know more: `Identification` who the peer is, `Judging` what the policy
says, `Dispatch` for the way on; `Register` writes it down. It must not know sockets, OpenSSL or files;
everything of the world is in `Services`.

    Stream.receive -> engine.receive -> engine.next_event -> a handler here -> engine.answer
                                                             -> engine.data_to_send -> Stream.send

A handler always answers its event, also when the world is broken: see `failures.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from relay.errors import DeadlinePassed, StreamError, Unavailable
from relay.inbound import evidence, failures
from relay.inbound.dispatch import Dispatch
from relay.inbound.identification import Identification
from relay.inbound.judging import Judging
from relay.inbound.register import Register
from relay.inbound.transaction import Transaction
from relay.mail import headers
from relay.names import PRODUCT
from relay.policy.case import Case
from relay.policy.facts import Stage
from relay.policy.ledger import Event
from relay.smtp import events
from relay.smtp.replies import Reply
from relay.smtp.server import ServerEngine
from relay.turns import give_way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from relay.inbound.services import Services
    from relay.model import Recipient
    from relay.policy.facts import Facts
    from relay.policy.verdict import Sanction, Verdict
    from relay.ports import ServerTls, Stream
    from relay.settings.listener import Listener

__all__ = ["Session"]

_LARGE_PIECE_BYTES: Final = 64 * 1024
"""Once a larger piece of a message has come, others come first."""
_LARGE_BYTES: Final = 1024 * 1024
"""A larger message is put together beside the event loop."""
_REPLIES_BYTES: Final = 64 * 1024
"""After so much the client is waited for: who sends and never reads shall not fill our memory with replies."""


class Session:
    """One connection. `run` speaks until it ends; `drain` and `reconsider` may end it before."""

    __slots__ = (
        "_case",
        "_data_started",
        "_dispatch",
        "_ending",
        "_engine",
        "_identification",
        "_is_acknowledging",
        "_is_draining",
        "_is_identified",
        "_is_over",
        "_is_waiting",
        "_judging",
        "_listener",
        "_messages",
        "_register",
        "_replied_bytes",
        "_services",
        "_stream",
        "_tls",
        "_transaction",
        "reference",
    )

    def __init__(
        self, stream: Stream, listener: Listener, tls: ServerTls, services: Services
    ) -> None:
        self.reference = services.clock.reference()
        self._stream = stream
        self._listener = listener
        self._tls = tls
        self._services = services
        self._engine = ServerEngine(
            services.hostname,
            services.of_connection,
            tls_required=True,
            tls_active=listener.tls == "implicit",
            reference=self.reference,
        )
        self._case = Case(peer=stream.peer, listener=listener.name)
        self._judging = Judging(services.panel, self._case, services.audit)
        self._register = Register(self._case, services, self.reference)
        self._identification = Identification(self._case, listener, services, self._register)
        self._dispatch = Dispatch(self._case, self._judging, services, self._register)
        self._transaction: Transaction | None = None
        self._messages = 0
        self._data_started = 0.0
        self._replied_bytes = 0  # since the client was last waited for
        self._is_identified = False
        self._is_waiting = False
        self._is_draining = False
        self._is_over = False
        self._is_acknowledging = False  # the next hop has a message, and the client is to be told
        self._ending: Reply | None = None  # the last reply, once it is clear that there is one

    async def run(self) -> None:
        """Speak until the connection ends. Whatever happens, the client gets one last reply."""
        try:
            await self._converse()
        except DeadlinePassed:
            timely = failures.SHUTTING_DOWN if self._is_draining else failures.TIMED_OUT
            self._engine.close_with(self._ending or timely)
        except StreamError:
            pass  # nobody is left to be told; the handshake and the transaction are on record
        except Unavailable:
            self._engine.close_with(failures.UNEXPECTED)
        except Exception as error:  # noqa: BLE001  whatever it is, it is ours: 451, never "passed"
            log_id = self._services.audit.fault("session failed", error)
            self._engine.close_with(failures.internal_error(log_id))
        finally:
            self._is_over = True
            self._forget_transaction()
            await self._stream.close(last_words=self._engine.data_to_send())

    def drain(self) -> None:
        """End with 421 4.3.2: at once if idle, else when the transaction in flight is done."""
        self._is_draining = True
        if self._is_waiting and self._transaction is None:
            self._stream.set_deadline(timedelta(0))

    def reconsider(self) -> None:
        """Ask again who the peer is, and end with 421 4.7.0 if it is nobody any more, or banned.

        At once if we wait for the peer, be it for the rest of a message. What the next hop is being
        asked is waited for and answered first, so that a message that it takes is acknowledged;
        with `terminate = "immediately"` only one that it has taken already is.

        Who never was somebody has no trust to lose, and is asked again at MAIL.
        """
        if self._ending is not None or self._is_over:
            return
        case = self._case
        if self._services.consequences.is_banned(case.peer):
            self._dismiss(failures.BAN_BEGUN, evidence.ban_begun(case))
        elif (decision := self._identification.lost()) is not None:
            self._dismiss(failures.trust_lost(decision), evidence.trust_lost(case, decision))

    def _dismiss(self, last_words: Reply, fields: dict[str, object]) -> None:
        """End the session with its last words, where it can still be told."""
        services = self._services
        is_cut = not (
            self._is_waiting or self._is_acknowledging or self._listener.terminate == "next_command"
        )
        self._ending = failures.with_reference(last_words, self.reference)
        services.statistics.count("refused")
        if not is_cut:
            fields["reply"] = str(self._ending)
        try:
            self._register.record("refusal", fields)
        except Unavailable as error:  # no reason to let it stay
            services.audit.fault("end of a session not recorded", error)
        if is_cut:
            self._stream.abort()
        elif self._is_waiting:
            self._stream.set_deadline(timedelta(0))

    # --- the conversation -----------------------------------------------------------------

    async def _converse(self) -> None:
        stream, engine, timeouts = self._stream, self._engine, self._services.timeouts
        if not await self._admit():
            return
        if self._listener.tls == "implicit":
            await self._upgrade()
        stream.set_deadline(timeouts.greeting)
        await self._greet()
        has_acted = False
        while True:
            event = engine.next_event()
            if event is events.NEED_DATA:
                if engine.in_message:
                    self._account_for_message()
                elif has_acted and self._is_identified:  # the greeting has one deadline for all
                    stream.set_deadline(timeouts.command)
                has_acted = False
                await self._receive()
                continue
            if type(event) is events.Closed:
                return
            if event is events.PAUSE:
                await give_way()
            else:
                await _HANDLERS[type(event)](self, event)
                has_acted = True
            if self._ending is not None:
                engine.close_with(self._ending)

    async def _admit(self) -> bool:
        """Ask whether a client from this address is spoken to at all; if not, it is told, once."""
        reply, rule = self._ban(), "banned"
        fields: dict[str, object] = {}
        if reply is None:
            verdict = await self._judging.judge(self._services.rules(self._case), Stage.CONNECT)
            if verdict.reply is None:
                return True
            reply, rule = verdict.reply, verdict.rule
            fields = self._judging.breach(Stage.CONNECT, verdict)
            self._ending = reply  # so that what is imposed does not end it once more
            await self._impose(verdict.sanction)
        self._turn_away(reply, rule, fields)
        return False

    def _turn_away(self, reply: Reply, rule: str, fields: dict[str, object]) -> None:
        """Refuse to speak any further, on record and with the reference id."""
        told = self._register.refused(reply, rule, fields)
        # Before the handshake of implicit TLS nothing can be said.
        if self._listener.tls == "starttls" or self._case.tls is not None:
            self._engine.close_with(told)

    def _ban(self) -> Reply | None:
        """What a banned address is told; None if it is not banned."""
        services = self._services
        if not services.consequences.is_banned(self._case.peer):
            return None
        return failures.BANNED if services.bans_are_permanent else failures.BANNED_FOR_NOW

    async def _greet(self) -> None:
        """Send the banner; who talks before it is told off by the engine."""
        if delay := self._listener.banner_delay:
            self._stream.set_deadline(delay)
            try:
                self._engine.receive(await self._stream.receive())
            except DeadlinePassed:
                self._stream.set_deadline(self._services.timeouts.greeting)
        self._engine.greet(Reply(220, "", (f"{self._services.hostname} ESMTP {PRODUCT}",)))

    async def _receive(self) -> None:
        self._flush()
        if self._transaction is not None and not self._engine.in_transaction:
            self._forget_transaction()  # RSET, or a message that the engine itself refused
        self._is_waiting = True
        if self._ending is not None or (self._is_draining and self._transaction is None):
            raise DeadlinePassed
        if self._replied_bytes > _REPLIES_BYTES:
            self._replied_bytes = 0
            await self._stream.drain()
        data = await self._stream.receive()
        if len(data) >= _LARGE_PIECE_BYTES:
            await give_way()
        self._is_waiting = False
        if self._ending is not None:
            raise DeadlinePassed  # what has come in the meantime has come too late
        if not data:
            self._engine.end_of_stream()
        else:
            self._engine.receive(data)

    def _account_for_message(self) -> None:
        """Claim memory for what has come of it, and grant time for the rest at the agreed rate."""
        services, size = self._services, self._engine.message_bytes
        if not size:  # the deadline is that of DATA still
            return
        if self._transaction is not None and not self._transaction.claim(size):
            self._transaction.release()
            self._engine.refuse_message(failures.BUDGET_SPENT)
        granted = services.timeouts.data.total_seconds() + size / (services.timeouts.data_rate or 1)
        elapsed = services.clock.monotonic() - self._data_started
        self._stream.set_deadline(timedelta(seconds=max(granted - elapsed, 0.0)))

    def _flush(self) -> None:
        data = self._engine.data_to_send()
        if data:
            self._stream.send(data)
            self._replied_bytes += len(data)
        self._is_acknowledging = False

    async def _upgrade(self) -> None:
        """Do the handshake and find out who the peer is."""
        self._stream.set_deadline(self._services.timeouts.handshake)
        await self._identification.shake_hands(self._stream, self._tls)
        self._client_changed()

    def _client_changed(self) -> None:
        """Forget what was found out of another identity."""
        self._dispatch.client_changed()
        self._judging.greeted()

    # --- handlers, one per event ------------------------------------------------------------

    async def _on_hello(self, event: events.Hello) -> None:
        earlier, self._case.hello = self._case.hello, event.name
        earlier_greeting = self._judging.greeted()
        if await self._is_greeting_refused(event):
            # RFC 5321 4.1.4: all stays as it was before, the transaction too
            self._case.hello = earlier
            self._judging.bring_back(earlier_greeting)
            return
        self._forget_transaction()
        self._dispatch.client_changed()
        self._engine.accept_hello(self._services.offer(starttls=self._case.tls is None))

    async def _is_greeting_refused(self, event: events.Hello) -> bool:
        if not event.is_valid:
            self._refuse(Reply(501, "5.5.4", ("Invalid name in greeting",)), "hello_syntax")
            return True
        self._is_identified = self._case.tls is not None and self._identification.refusal is None
        # What is said in the clear counts for nothing, and a stranger is refused at MAIL anyway.
        return self._is_identified and await self._is_in_breach(Stage.HELLO)

    async def _on_start_tls(self, _: events.StartTls) -> None:
        self._engine.answer(failures.TLS_GO_AHEAD)
        self._flush()
        await self._upgrade()
        self._engine.tls_started()
        self._stream.set_deadline(self._services.timeouts.greeting)

    async def _on_mail(self, event: events.MailFrom) -> None:
        services, identification = self._services, self._identification
        self._forget_transaction()
        self._case.sender = event.sender
        if identification.is_out_of_date:  # the allowlist has changed, say
            self.reconsider()
            if self._ending is not None:
                return  # it is the answer, too
            await identification.decide()
            if self._case.decision is not None:  # where nobody is asked, nothing is new
                self._client_changed()
                # Who it is now has been greeted with what was known then.
                if identification.refusal is None and await self._is_in_breach(Stage.HELLO):
                    return
        if (banned := self._ban()) is not None:
            self._turn_away(banned, "banned", {})
        elif (stranger := identification.refusal) is not None:
            # A stranger gets its handshake and its EHLO, and is refused here, because this is the
            # reply that clients keep: Exim and smtplib go past a 421 to EHLO and lose its words.
            self._register.record("refusal", evidence.refusal(self._case, stranger, "trust"))
            self._engine.close_with(stranger)
        elif self._is_draining:
            self._engine.close_with(failures.SHUTTING_DOWN)
        elif 0 < services.limits.max_messages_per_connection <= self._messages:
            self._engine.close_with(failures.TOO_MANY_MESSAGES)  # RFC 9422 4.1 MAILMAX
        else:
            self._judging.begin_transaction()
            if await self._is_in_breach(Stage.SENDER):
                return
            self._messages += 1
            self._transaction = Transaction(
                event.sender, services.clock.reference(), services.budget
            )
            self._engine.answer(failures.SENDER_OK)

    async def _on_recipient(self, event: events.RcptTo) -> None:
        transaction, services, case = self._transaction, self._services, self._case
        assert transaction is not None
        case.recipient = event.recipient
        if await self._is_in_breach(Stage.RECIPIENT):
            return
        route = services.next_hop.route_for(
            event.recipient.address, identified=case.identity is not None
        )
        if route is None:
            self._refuse(failures.RELAY_DENIED, "relay_denied")
        elif transaction.route is not None and transaction.route is not route:
            self._engine.answer(failures.OTHER_NEXT_HOP)  # RFC 5321 4.5.3.1.10
        else:
            transaction.route = route
            await self._verify_recipient(transaction, event.recipient)

    async def _verify_recipient(self, transaction: Transaction, recipient: Recipient) -> None:
        assert transaction.route is not None
        reply = await self._services.next_hop.verify(
            transaction.route,
            transaction.envelope,
            recipient.address,
            self._dispatch.introduction(),
        )
        if reply.is_positive:
            transaction.envelope.recipients.append(recipient)
            self._case.recipients += (recipient,)
            self._judging.recipient_accepted()
            self._engine.answer(failures.RECIPIENT_OK)
            return
        if not transaction.envelope.recipients:
            transaction.route = None
        self._register.refused_by_next_hop(reply)
        self._engine.answer(reply)

    async def _on_data(self, event: events.DataStart) -> None:
        assert self._transaction is not None
        if not self._transaction.claim(event.size_bytes):
            self._engine.answer(failures.BUDGET_SPENT)
            return
        self._data_started = self._services.clock.monotonic()
        self._stream.set_deadline(self._services.timeouts.data)
        self._engine.answer(failures.DATA_GO_AHEAD)

    async def _on_message(self, event: events.Message) -> None:
        transaction, case = self._transaction, self._case
        assert transaction is not None
        assert transaction.route is not None
        self._stream.set_deadline(None)
        body = (
            await self._services.offload(event.content.take_body)
            if event.content.kept_bytes > _LARGE_BYTES
            else event.content.take_body()
        )
        block = headers.split(body)
        case.message, case.header, case.authors = body, block, block.authors
        if not transaction.claim(len(body)):  # its last bytes are not accounted for yet
            self._engine.answer(failures.BUDGET_SPENT)
        elif block.received_count > self._services.limits.max_received:  # RFC 5321 6.3
            self._refuse(failures.LOOP, "loop")
        elif block.is_too_long:  # what can't be searched for forged fields can't pass
            self._refuse(failures.HEADER_TOO_LONG, "header_too_long")
        elif not await self._is_in_breach(Stage.MESSAGE):
            delivery = await self._dispatch.deliver(transaction, block)
            self._is_acknowledging = True
            await self._dispatch.conclude(transaction, delivery)
            self._engine.answer(delivery.reply)
        self._forget_transaction()

    async def _on_violation(self, event: events.Violation) -> None:
        if self._transaction is not None:
            self._transaction.release()  # the message, if there was one, is dropped
        self._register.violated(event)

    # --- the policy -------------------------------------------------------------------------

    async def _is_in_breach(self, stage: Stage) -> bool:
        """Ask the rules of a stage; what breaks one is refused, on record, with what follows."""
        verdict = await self._judging.judge(self._services.rules(self._case), stage)
        if self._services.feedback is not None and stage is Stage.MESSAGE:
            self._note(verdict.reply)
        if verdict.reply is None:
            return False
        basis = self._judging.breach(stage, verdict)
        told = self._register.refused(verdict.reply, verdict.rule, basis)
        self._register.rejected(_event_of(verdict, self._judging.facts(stage)))
        if verdict.sanction is None:
            self._engine.answer(told)
        else:
            self._ending = told  # what is imposed does not end it once more
            await self._impose(verdict.sanction)
        return True

    def _note(self, refusal: Reply | None) -> None:
        """Have a message counted; one that is deferred comes again."""
        assert self._services.feedback is not None
        if refusal is None or not refusal.is_transient:
            facts = self._judging.facts(Stage.MESSAGE)
            self._services.feedback.note(self._case, facts, refused=refusal is not None)

    async def _impose(self, sanction: Sanction | None) -> None:
        """Put a ban or a suspension in force: here at once, everywhere by the store."""
        if sanction is None:
            return
        services = self._services
        now = services.clock.now().timestamp()
        restriction = services.consequences.due(sanction, self._case, now)
        if restriction is None:
            return
        self._register.record("sanction", evidence.sanction(self._case, restriction))
        await services.restrict(restriction)

    # --- small things -----------------------------------------------------------------------

    def _refuse(self, reply: Reply, rule: str) -> None:
        """Refuse what the engine has just reported, on record and with the reference id."""
        told = self._register.refused(reply, rule)
        self._register.rejected()
        self._engine.answer(told)

    def _forget_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.release()
            self._transaction = None
        case = self._case
        case.sender = case.recipient = case.authors = case.header = None
        case.recipients, case.message = (), b""


def _event_of(verdict: Verdict, facts: Facts) -> Event | None:
    """What a refusal by a rule says of a client; nothing, if it may come again or is dealt with."""
    assert verdict.reply is not None
    if verdict.sanction is not None or not verdict.reply.is_permanent:
        return None
    return Event.LISTED if facts.get("dnsbl.listed") is True else Event.BREACH


_HANDLERS: Mapping[type, Callable[[Session, Any], Awaitable[None]]] = {
    events.Hello: Session._on_hello,  # noqa: SLF001  the table of this file's own handlers
    events.StartTls: Session._on_start_tls,  # noqa: SLF001
    events.MailFrom: Session._on_mail,  # noqa: SLF001
    events.RcptTo: Session._on_recipient,  # noqa: SLF001
    events.DataStart: Session._on_data,  # noqa: SLF001
    events.Message: Session._on_message,  # noqa: SLF001
    events.Violation: Session._on_violation,  # noqa: SLF001
}
