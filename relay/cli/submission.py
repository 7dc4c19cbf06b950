"""Sending one message as a client would, by a foreign SMTP implementation (aiosmtplib).

For `gatepost send` and `gatepost demo`: it shows what a sender sees, so it shares no code with the
relay's own SMTP and TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from aiosmtplib import SMTPResponse

__all__ = ["Exchange", "Mail", "Server", "Submission", "submit", "tls_context"]

_REFERENCE = re.compile(r"\(ref ([0-9A-Z]+)\)")


class Exchange(NamedTuple):
    """What was said, and what came back; the banner answers the connection itself."""

    command: str
    reply: str


@dataclass
class Submission:
    """How it went: the replies in order, and whether the server has taken the message."""

    exchanges: list[Exchange] = field(default_factory=list)
    delivered: bool = False
    problem: str = ""
    """Why there was no reply to the last command: the connection or TLS failed."""

    @property
    def last_reply(self) -> str:
        """The reply that decided, "" if none came."""
        return self.exchanges[-1].reply if self.exchanges else ""

    @property
    def reference(self) -> str:
        """The reference id in the last reply, for `gatepost explain`."""
        found = _REFERENCE.search(self.last_reply)
        return found[1] if found else ""


class Server(NamedTuple):
    """Where to send, and how. `name` is what its certificate must say."""

    host: str
    port: int
    name: str
    tls: Literal["starttls", "implicit", "off"] = "starttls"


class Mail(NamedTuple):
    """A message and its envelope."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a context that verifies the server, and shows our certificate if there is one.

    Raises:
        OSError: a file can't be read, or holds no certificate or key.
    """
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


async def submit(
    server: Server,
    mail: Mail,
    context: ssl.SSLContext,
    *,
    watch: Callable[[Exchange], None] = lambda _: None,
    timeout: float = 60,
) -> Submission:
    """Send one message; what goes wrong is in the answer. `watch` is told each reply as it comes."""
    try:
        # Connected here, so that a server can be reached by address and verified by name.
        connection = await asyncio.to_thread(
            socket.create_connection, (server.host, server.port), timeout
        )
    except OSError as error:
        return Submission(problem=f"{server.host} port {server.port}: {error}")
    client = SMTP(
        hostname=server.name,
        sock=connection,
        use_tls=server.tls == "implicit",
        start_tls=False,
        tls_context=context,
        timeout=timeout,
    )
    dialogue = _Dialogue(client, watch)
    done = dialogue.submission
    try:
        done.delivered = await dialogue.run(server, mail)
    except SMTPResponseException as error:
        dialogue.note(error.code, error.message)
    except (SMTPException, OSError) as error:
        done.problem = str(error) or type(error).__name__
    finally:
        client.close()
        await _close(connection)
    return done


async def _close(connection: socket.socket) -> None:
    """Cut the connection: a TLS transport that was closed still waits for the other side's leave."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            # The transport sees the end and closes the socket, which tells nobody.
            while connection.fileno() >= 0:  # noqa: ASYNC110
                await asyncio.sleep(0)
    connection.close()


class _Dialogue:
    """One connection's commands and replies."""

    def __init__(self, client: SMTP, watch: Callable[[Exchange], None]) -> None:
        self.submission = Submission()
        self._client = client
        self._watch = watch
        self._command = ""

    async def run(self, server: Server, mail: Mail) -> bool:
        client = self._client
        if not await self._say("", client.connect()):
            return False
        hello = f"EHLO {client.local_hostname}"
        await self._say(hello, client.ehlo())
        if server.tls == "starttls":
            await self._say("STARTTLS", client.starttls(server_hostname=server.name))
            await self._say(hello, client.ehlo())
        size = f" SIZE={len(mail.content)}" if client.supports_extension("size") else ""
        commands = [f"MAIL FROM:<{mail.sender}>{size}"]
        commands += [f"RCPT TO:<{recipient}>" for recipient in mail.recipients]
        for command in commands:
            if not await self._say(command, client.execute_command(command.encode())):
                return False
        accepted = await self._say("DATA", client.data(mail.content))
        with contextlib.suppress(SMTPException):
            await client.quit()
        return accepted

    def note(self, code: int, text: str) -> bool:
        exchange = Exchange(self._command, _written(code, text))
        self.submission.exchanges.append(exchange)
        self._watch(exchange)
        return code < 400

    async def _say(self, command: str, reply: Coroutine[None, None, SMTPResponse]) -> bool:
        self._command = command
        said = await reply
        return self.note(said.code, said.message)


def _written(code: int, text: str) -> str:
    lines = text.split("\n")
    return "\n".join([*(f"{code}-{line}" for line in lines[:-1]), f"{code} {lines[-1]}"])
