"""The mail system behind the demonstration relay: aiosmtpd, TLS required, storing into a Maildir.

A foreign SMTP implementation on purpose: what arrives there has crossed a real wire.
"""

from __future__ import annotations

import mailbox
import ssl
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from relay.ca_folder import IssuedFiles

__all__ = ["Upstream"]


class Upstream:
    """An MTA in a thread of its own, from `start` to `stop`."""

    def __init__(self, port: int, files: IssuedFiles, maildir: Path) -> None:
        self.maildir = maildir
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.chain_path, files.key_path)
        self._controller = Controller(
            Mailbox(maildir),
            hostname="127.0.0.1",
            port=port,
            tls_context=context,
            require_starttls=True,
            ready_timeout=60,
        )

    def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        self._controller.start()

    def stop(self) -> None:
        """Stop, and wait for the thread."""
        self._controller.stop()

    def messages(self) -> list[Message]:
        """Return what has arrived."""
        return list(mailbox.Maildir(self.maildir))
