"""What is known of a connection and its transaction when a stage is judged.

Facts only; what follows from them is `rules.py`'s business. A later stage knows all that an
earlier one knew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.model import Address, Endpoint, Identity, Recipient, Sender, TlsFacts

__all__ = ["Facts", "Stage"]


class Stage(StrEnum):
    """The moments at which the policy is asked."""

    CONNECT = "connect"
    HELLO = "hello"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


@dataclass(slots=True)
class Facts:
    """The facts of one session; the fields of a stage to come are None.

    `authors` are the addresses of the From header field (RFC 5322 3.6.2); None if there is no
    single field that can be read.
    """

    peer: Endpoint
    listener: str
    identity: Identity | None = None
    tls: TlsFacts | None = None
    hello: str = ""
    sender: Sender | None = None
    recipient: Recipient | None = None
    authors: tuple[Address, ...] | None = None
