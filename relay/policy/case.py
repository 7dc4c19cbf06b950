"""The case before the policy: what is known of a connection and its transaction, as objects.

What rules may say of it are facts, which `checks/` make out of it. A later stage knows all that an
earlier one knew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.mail.headers import HeaderBlock
    from relay.model import (
        Address,
        Charge,
        Endpoint,
        Identity,
        Recipient,
        Sender,
        TlsFacts,
        TrustDecision,
    )
    from relay.policy.facts import Stage, Value
    from relay.policy.limits import Count, Limit

__all__ = ["Case"]


@dataclass(slots=True)
class Case:
    """One session's case; the fields of a stage to come are None, or empty.

    `authors` are the addresses of the From header field (RFC 5322 3.6.2); None if there is no
    single field that can be read. `recipient` is the one being judged, `recipients` those accepted
    before it. `header` and `message` are there at the message stage: CRLF line ends, the dot
    stuffing gone, as the client sent it. `facts` are those found out so far, and `limits` those in
    force, for the check that charges them; `charged` is what it has found at each stage, and `noted` are the
    charges, by their keys, of what is counted when it happens. `settled` names the limits that the handshake
    has been charged to: it is asked about with each greeting, and has happened once.
    """

    peer: Endpoint
    listener: str
    identity: Identity | None = None
    decision: TrustDecision | None = None
    tls: TlsFacts | None = None
    hello: str = ""
    sender: Sender | None = None
    recipient: Recipient | None = None
    recipients: tuple[Recipient, ...] = ()
    authors: tuple[Address, ...] | None = None
    header: HeaderBlock | None = None
    message: bytes = b""
    facts: Mapping[str, Value] = field(default_factory=dict)
    limits: Mapping[Stage, tuple[Limit, ...]] = field(default_factory=dict)
    charged: dict[Stage, Mapping[str, Value]] = field(default_factory=dict)
    noted: dict[str, tuple[Count, Charge]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
