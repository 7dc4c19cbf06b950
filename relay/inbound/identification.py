"""Who the peer of a session is: the handshake, the decision on its certificate, and what it is told if it is nobody.

What makes an identity is decided by `Trust`; this must not know certificates, nor when a refusal is
spoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import HandshakeFailed, StreamError
from relay.inbound import failures
from relay.policy.limits import Count

if TYPE_CHECKING:
    from relay.inbound.register import Register
    from relay.inbound.services import Services
    from relay.model import TrustDecision
    from relay.policy.case import Case
    from relay.ports import ServerTls, Stream
    from relay.settings.listener import Listener
    from relay.smtp.replies import Reply

__all__ = ["Identification"]


class Identification:
    """Keeps `tls`, `decision` and `identity` of a session's case.

    Args:
        case: what is known of the session.
        listener: whether it asks for certificates, and how it refuses.
        services: who decides.
        register: where handshakes are written down.
    """

    __slots__ = ("_case", "_listener", "_register", "_services", "_trust_version", "refusal")

    def __init__(
        self, case: Case, listener: Listener, services: Services, register: Register
    ) -> None:
        self._case = case
        self._listener = listener
        self._services = services
        self._register = register
        self._trust_version = 0
        self.refusal: Reply | None = None
        """What a peer is told that is not let in; None: it is."""

    async def shake_hands(self, stream: Stream, tls: ServerTls) -> None:
        """Do the handshake and decide who the peer is; both are on record whatever the outcome.

        Raises:
            StreamError: there was no handshake.
        """
        services, case = self._services, self._case
        try:
            case.tls = await stream.start_tls_server(tls)
        except StreamError as error:
            hello = error.hello if isinstance(error, HandshakeFailed) else None
            reason = error.reason if isinstance(error, HandshakeFailed) else type(error).__name__
            self._register.handshake_failed(hello, reason)
            raise
        finally:
            services.ledger.count(Count.HANDSHAKES, case)
        await self.decide()
        await self._register.handshake(self.refusal)

    async def decide(self) -> None:
        """Ask who the peer is, now; what is being asked of others about it is waited for."""
        services, listener, case = self._services, self._listener, self._case
        self._trust_version = services.trust.version
        if listener.client_certificate == "off":
            return
        decision = services.trust.decide(listener.name, case.tls)
        if decision.questions:
            await services.trust.answered(decision.questions)
            decision = services.trust.decide(listener.name, case.tls)
        case.decision = decision
        case.identity = decision.identity if decision.is_trusted else None
        refusal = failures.trust_refusal(decision, listener)
        self.refusal = refusal and failures.with_reference(refusal, self._register.reference)
        if refusal is not None:
            services.statistics.count("refused")

    @property
    def is_out_of_date(self) -> bool:
        """Whether what decides may have changed since: the allowlist, say."""
        return self._services.trust.version != self._trust_version

    def lost(self) -> TrustDecision | None:
        """Return what says that who was let in as somebody is nobody any more; None if nothing does."""
        if self._case.identity is None:
            return None
        decision = self._services.trust.decide(self._listener.name, self._case.tls)
        return None if decision.is_trusted else decision
