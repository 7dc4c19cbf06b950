"""One client connection, from the banner to the close, over a Stream.

Drives `smtp.server.ServerEngine`: the engine knows the protocol, this file knows what follows from
each event: who the peer is, what the policy says, where the mail goes. It must not know sockets,
OpenSSL or files; everything of the world is in `Services`.

    Stream.receive -> engine.receive -> engine.next_event -> a handler here -> engine.answer
                                                             -> engine.data_to_send -> Stream.send

A handler always answers its event, also when the world is broken: see `failures.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from relay.errors import DeadlinePassed, HandshakeFailed, StreamError, Unavailable
from relay.inbound import evidence, failures
from relay.inbound.judging import Judging
from relay.inbound.transaction import Transaction
from relay.mail import headers, trace
from relay.names import PRODUCT
from relay.policy.case import Case
from relay.policy.facts import Stage
from relay.policy.ledger import DOWNGRADES, VIOLATIONS, Event
from relay.policy.limits import Count
from relay.smtp import events
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.smtp.server import ServerEngine, ServerLimits
from relay.turns import give_way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from relay.inbound.authentication_results import AuthenticationResults
    from relay.inbound.judging import Panel
    from relay.inbound.sealing import Sealing
    from relay.inbound.signing import Signing
    from relay.mail.hygiene import Hygiene
    from relay.model import Delivery, Octets, Recipient, Restriction, TrustDecision
    from relay.policy.check import Offload
    from relay.policy.consequences import Consequences
    from relay.policy.engine import Engine
    from relay.policy.facts import Facts
    from relay.policy.ledger import Ledger
    from relay.policy.verdict import Sanction, Verdict
    from relay.ports import (
        AuditSink,
        Budget,
        Clock,
        Feedback,
        NextHop,
        Policies,
        ServerTls,
        Statistics,
        Stream,
        Trust,
    )
    from relay.settings.limits import Limits, Timeouts
    from relay.settings.listener import Listener

__all__ = ["Services", "Session"]

_LARGE_PIECE_BYTES: Final = 64 * 1024
"""Once a larger piece of a message has come, others come first."""
_LARGE_BYTES: Final = 1024 * 1024
"""A larger message is put together beside the event loop."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every session of a worker needs of the world."""

    hostname: str
    limits: Limits
    timeouts: Timeouts
    clock: Clock
    audit: AuditSink
    trust: Trust
    policies: Policies
    panel: Panel
    consequences: Consequences
    ledger: Ledger
    bans_are_permanent: bool
    restrict: Callable[[Restriction], Awaitable[None]]
    next_hop: NextHop
    budget: Budget
    statistics: Statistics
    authentication_results: AuthenticationResults
    offload: Offload
    signing: Signing | None = None
    sealing: Sealing | None = None
    feedback: Feedback | None = None
    hygiene: Mapping[tuple[str, str], Hygiene] = field(default_factory=dict)
    of_connection: ServerLimits = field(init=False)
    """What of the limits one connection is held to."""

    def __post_init__(self) -> None:
        limits = ServerLimits(
            max_message_bytes=self.limits.max_message_bytes,
            max_line_bytes=self.limits.max_line_bytes,
            max_recipients=self.limits.max_recipients,
            max_errors=self.limits.max_errors,
        )
        object.__setattr__(self, "of_connection", limits)


class Session:
    """One connection. `run` speaks until it ends; `drain` and `reconsider` may end it before."""

    __slots__ = (
        "_case",
        "_client",
        "_data_started",
        "_decision",
        "_ending",
        "_engine",
        "_is_acknowledging",
        "_is_draining",
        "_is_identified",
        "_is_over",
        "_is_waiting",
        "_judging",
        "_listener",
        "_messages",
        "_origin",
        "_refusal",
        "_services",
        "_stream",
        "_tls",
        "_transaction",
        "_trust_version",
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
        self._decision: TrustDecision | None = None
        self._refusal: Reply | None = None
        self._trust_version = 0
        self._transaction: Transaction | None = None
        self._origin: trace.Origin | None = None
        self._client: dict[str, str] | None = None
        self._messages = 0
        self._data_started = 0.0
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
        services, case = self._services, self._case
        if services.consequences.is_banned(case.peer):
            self._dismiss(failures.BAN_BEGUN, evidence.ban_begun(case))
        elif case.identity is not None:
            decision = services.trust.decide(self._listener.name, case.tls)
            if not decision.is_trusted:
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
            self._record("refusal", fields)
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
            await _HANDLERS[type(event)](self, event)
            has_acted = True
            if self._ending is not None:
                engine.close_with(self._ending)

    async def _admit(self) -> bool:
        """Ask whether a client from this address is spoken to at all; if not, it is told, once."""
        reply, rule = self._ban(), "banned"
        fields: dict[str, object] = {}
        if reply is None:
            verdict = await self._judging.judge(self._rules(), Stage.CONNECT)
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
        told = failures.with_reference(reply, self.reference)
        self._services.statistics.count("refused")
        self._record("refusal", evidence.refusal(self._case, told, rule) | fields)
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
        self._is_acknowledging = False

    # --- who is this? ---------------------------------------------------------------------

    async def _upgrade(self) -> None:
        """Do the handshake and decide who the peer is; both are on record whatever the outcome."""
        services = self._services
        self._stream.set_deadline(services.timeouts.handshake)
        try:
            self._case.tls = await self._stream.start_tls_server(self._tls)
        except StreamError as error:
            services.statistics.count("handshakes_failed")
            services.statistics.count_by("handshakes", self._listener.name, "", "failed")
            hello = error.hello if isinstance(error, HandshakeFailed) else None
            reason = error.reason if isinstance(error, HandshakeFailed) else type(error).__name__
            fields = evidence.failed_handshake(self._case, hello, reason)
            downgrades = services.ledger.failed_handshake(hello, self._case)
            self._record("handshake", fields | self._downgraded(downgrades))
            raise
        finally:
            services.ledger.count(Count.HANDSHAKES, self._case)
        await self._decide()
        self._count_handshake(self._case.tls.version, self._decision)
        fields = evidence.handshake(self._case, self._decision, self._refusal)
        if downgrades := await services.ledger.handshake(self._case):
            fields |= self._downgraded(downgrades)
        self._record("handshake", fields)

    def _downgraded(self, downgrades: Sequence[Event]) -> dict[str, object]:
        """Count downgrades; return what goes on record of them."""
        for event in downgrades:
            self._services.statistics.count_by("downgrades", event)
        return evidence.downgraded(downgrades)

    def _count_handshake(self, version: str, decision: TrustDecision | None) -> None:
        statistics = self._services.statistics
        status = "unasked" if decision is None else decision.status
        statistics.count_by("handshakes", self._listener.name, version, status)
        if decision is not None and "revocation" in decision.evidence:
            asked = decision.evidence
            statistics.count_by(
                "revocations", asked["revocation"], asked.get("revocation_source", "")
            )

    async def _decide(self) -> None:
        """Ask who the peer is, now; what is being asked of others about it is waited for."""
        services = self._services
        self._trust_version = services.trust.version
        if self._listener.client_certificate == "off":
            return
        decision = services.trust.decide(self._listener.name, self._case.tls)
        if decision.questions:
            await services.trust.answered(decision.questions)
            decision = services.trust.decide(self._listener.name, self._case.tls)
        self._decision = self._case.decision = decision
        self._origin = self._client = None
        self._judging.greeted()
        self._case.identity = decision.identity if decision.is_trusted else None
        refusal = failures.trust_refusal(decision, self._listener)
        self._refusal = refusal and failures.with_reference(refusal, self.reference)
        if refusal is not None:
            services.statistics.count("refused")

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
        self._origin = self._client = None
        limits = self._services.limits
        self._engine.accept_hello(
            _offer(
                self._services.next_hop.extensions(),
                max_message_bytes=limits.max_message_bytes,
                max_recipients=limits.max_recipients,
                mailmax=limits.max_messages_per_connection,
                starttls=self._case.tls is None,
            )
        )

    async def _is_greeting_refused(self, event: events.Hello) -> bool:
        if not event.is_valid:
            self._refuse(Reply(501, "5.5.4", ("Invalid name in greeting",)), "hello_syntax")
            return True
        self._is_identified = self._case.tls is not None and self._refusal is None
        # What is said in the clear counts for nothing, and a stranger is refused at MAIL anyway.
        return self._is_identified and await self._is_in_breach(Stage.HELLO)

    async def _on_start_tls(self, _: events.StartTls) -> None:
        self._engine.answer(failures.TLS_GO_AHEAD)
        self._flush()
        await self._upgrade()
        self._engine.tls_started()
        self._stream.set_deadline(self._services.timeouts.greeting)

    async def _on_mail(self, event: events.MailFrom) -> None:
        services = self._services
        self._forget_transaction()
        self._case.sender = event.sender
        if services.trust.version != self._trust_version:  # the allowlist has changed, say
            self.reconsider()
            if self._ending is not None:
                return  # it is the answer, too
            await self._decide()
            # Who it is now has been greeted with what was known then; where nobody is asked, nothing is new.
            is_decided = self._decision is not None and self._refusal is None
            if is_decided and await self._is_in_breach(Stage.HELLO):
                return
        if (banned := self._ban()) is not None:
            self._turn_away(banned, "banned", {})
        elif self._refusal is not None:
            # A stranger gets its handshake and its EHLO, and is refused here, because this is the
            # reply that clients keep: Exim and smtplib go past a 421 to EHLO and lose its words.
            self._record("refusal", evidence.refusal(self._case, self._refusal, "trust"))
            self._engine.close_with(self._refusal)
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
            transaction.route, transaction.envelope, recipient.address, self._introduction()
        )
        if reply.is_positive:
            transaction.envelope.recipients.append(recipient)
            self._case.recipients += (recipient,)
            self._judging.recipient_accepted()
            self._engine.answer(failures.RECIPIENT_OK)
            return
        if not transaction.envelope.recipients:
            transaction.route = None
        self._services.statistics.count("deferred" if reply.is_transient else "rejected")
        self._record("refusal", evidence.refusal(self._case, reply, "next_hop"))
        self._rejected(Event.UNKNOWN_RECIPIENT if reply.is_permanent else None)
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
            chunks = await self._as_it_leaves(transaction, block)
            delivery = await self._services.next_hop.deliver(
                transaction.route, transaction.envelope, chunks, self._introduction()
            )
            self._is_acknowledging = True
            await self._conclude(transaction, delivery, block, len(body))
        self._forget_transaction()

    async def _as_it_leaves(
        self, transaction: Transaction, block: headers.HeaderBlock
    ) -> list[Octets]:
        """Put what is ours in front of the message: fields, signatures, a seal."""
        services, case = self._services, self._case
        assert transaction.route is not None
        if services.sealing is not None:
            await services.sealing.prepare(case)
        self._origin = self._origin or trace.origin_of(case, self._decision)
        authentication = services.authentication_results
        results = authentication.value(
            case, self._judging.facts(Stage.MESSAGE), self._origin.client
        )
        chunks = trace.stamp(
            block,
            self._origin,
            envelope=transaction.envelope,
            hostname=services.hostname,
            reference=transaction.reference,
            now=services.clock.now(),
            tags=self._judging.tags,
            reserved=self._rules().tag_headers,
            results=results,
            forged=authentication.forged(block),
            hygiene=services.hygiene.get((self._listener.name, transaction.route.name)),
        )
        if services.signing is not None:
            chunks = await services.signing.sign(chunks, case)
        if services.sealing is not None:
            chunks = await services.sealing.seal(chunks, case, results)
        return chunks

    async def _conclude(
        self,
        transaction: Transaction,
        delivery: Delivery,
        block: headers.HeaderBlock,
        size_bytes: int,
    ) -> None:
        """Put the outcome on record, then answer with the next hop's reply."""
        outcome = evidence.outcome_of(delivery)
        statistics = self._services.statistics
        statistics.count(outcome)
        if delivery.accepted:
            self._services.ledger.note(Event.DELIVERED, self._case)
        statistics.count_by("deliveries", delivery.route, outcome)
        statistics.delivery_took(delivery.elapsed.total_seconds())
        try:
            fields = evidence.transaction(
                self._case, transaction, delivery, block.message_id, size_bytes
            )
            fields |= self._judging.evidence()
            self._record("transaction", fields)
            await self._services.audit.flushed()
        except Unavailable as error:
            # The next hop has the message: anything but its own reply would be a lie.
            self._services.audit.fault("transaction not recorded", error)
        self._engine.answer(delivery.reply)

    async def _on_violation(self, event: events.Violation) -> None:
        if self._transaction is not None:
            self._transaction.release()  # the message, if there was one, is dropped
        noted = VIOLATIONS.get(event.kind)
        self._rejected(noted)
        if event.closes or noted is Event.PLAINTEXT:
            self._services.statistics.count("refused")
            fields = evidence.refusal(self._case, event.reply, event.kind)
            downgrades = (noted,) if noted in DOWNGRADES else ()
            self._record("refusal", fields | self._downgraded(downgrades))

    # --- the policy -------------------------------------------------------------------------

    def _rules(self) -> Engine:
        return self._services.policies.engine(self._listener.name, self._case.identity)

    async def _is_in_breach(self, stage: Stage) -> bool:
        """Ask the rules of a stage; what breaks one is refused, on record, with what follows."""
        verdict = await self._judging.judge(self._rules(), stage)
        if self._services.feedback is not None and stage is Stage.MESSAGE:
            self._note(verdict.reply)
        if verdict.reply is None:
            return False
        told = failures.with_reference(verdict.reply, self.reference)
        self._services.statistics.count("refused")
        self._record(
            "refusal",
            evidence.refusal(self._case, told, verdict.rule) | self._judging.breach(stage, verdict),
        )
        self._rejected(_event_of(verdict, self._judging.facts(stage)))
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

    def _rejected(self, event: Event | None) -> None:
        """Note that something was refused, and what it says of the client, if anything."""
        self._services.ledger.count(Count.REJECTED_COMMANDS, self._case)
        if event is not None:
            self._services.ledger.note(event, self._case)

    async def _impose(self, sanction: Sanction | None) -> None:
        """Put a ban or a suspension in force: here at once, everywhere by the store."""
        if sanction is None:
            return
        services = self._services
        now = services.clock.now().timestamp()
        restriction = services.consequences.due(sanction, self._case, now)
        if restriction is None:
            return
        self._record("sanction", evidence.sanction(self._case, restriction))
        await services.restrict(restriction)

    # --- small things -----------------------------------------------------------------------

    def _refuse(self, reply: Reply, rule: str) -> None:
        """Refuse what the engine has just reported, on record and with the reference id."""
        told = failures.with_reference(reply, self.reference)
        self._services.statistics.count("refused")
        self._record("refusal", evidence.refusal(self._case, told, rule))
        self._rejected(None)
        self._engine.answer(told)

    def _record(self, kind: str, fields: dict[str, object]) -> None:
        if kind == "refusal":
            self._services.statistics.count_by("refusals", str(fields["rule"]))
        fields["reference"] = fields.get("reference") or self.reference
        fields["session"] = self.reference
        self._services.audit.record(kind, fields)

    def _introduction(self) -> dict[str, str]:
        """What XCLIENT and XFORWARD may tell the next hop of this client."""
        if self._client is None:
            identity = self._case.identity
            self._client = {
                "NAME": "[UNAVAILABLE]",
                "ADDR": self._case.peer.address,
                "PORT": str(self._case.peer.port),
                "PROTO": "ESMTP",
                "HELO": self._case.hello,
                "LOGIN": identity.name if identity else "",
                "IDENT": self.reference,
            }
        return self._client

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


@lru_cache(maxsize=16)
def _offer(
    theirs: Extensions, *, max_message_bytes: int, max_recipients: int, mailmax: int, starttls: bool
) -> Extensions:
    """What we offer: our own abilities, and of the rest what every next hop offers."""
    sizes = [size for size in (max_message_bytes, theirs.size_bytes) if size]
    return Extensions(
        size_bytes=min(sizes, default=0),
        eightbitmime=theirs.eightbitmime,
        smtputf8=theirs.smtputf8,
        dsn=theirs.dsn,
        chunking=True,
        pipelining=True,
        enhanced_status_codes=True,
        starttls=starttls,
        rcptmax=min(max_recipients, theirs.rcptmax or max_recipients),
        mailmax=mailmax,
    )


_HANDLERS: Mapping[type, Callable[[Session, Any], Awaitable[None]]] = {
    events.Hello: Session._on_hello,  # noqa: SLF001  the table of this file's own handlers
    events.StartTls: Session._on_start_tls,  # noqa: SLF001
    events.MailFrom: Session._on_mail,  # noqa: SLF001
    events.RcptTo: Session._on_recipient,  # noqa: SLF001
    events.DataStart: Session._on_data,  # noqa: SLF001
    events.Message: Session._on_message,  # noqa: SLF001
    events.Violation: Session._on_violation,  # noqa: SLF001
}
