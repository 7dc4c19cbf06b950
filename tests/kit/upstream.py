"""A next hop that tests can script: keeps messages byte for byte and misbehaves on demand.

It is an SMTP server of its own on asyncio and the standard library's ssl, in a thread of its own.
It shares no code with the relay, so that both cannot have the same misunderstanding (RFC 5321).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import Any

EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
_BLOCK = 1 << 16


@dataclass
class Script:
    """How the server behaves; may be changed while it runs.

    Phases are: banner, ehlo, starttls, mail, rcpt, data (the reply to DATA), body (in the middle
    of the message), final (the message is whole, the reply to it is not sent), answered (after
    that reply). `cut` resets the connection there, `delay` waits that many seconds before.
    """

    extensions: tuple[str, ...] = EXTENSIONS
    recipients: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    delay: dict[str, float] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    client_ca: Path | None = None


@dataclass
class Stored:
    """A message that was acknowledged; `content` is what came, dot-stuffing undone."""

    sender: str
    recipients: list[str]
    content: bytes
    parameters: str = ""
    tls_version: str = ""
    client: str = ""

    @property
    def body(self) -> bytes:
        """What follows the header block."""
        return self.content.partition(b"\r\n\r\n")[2]


class _Cut(Exception):
    """The script wants the connection gone."""


class Upstream:
    """An SMTP server on a loopback port, with STARTTLS.

    Args:
        chain: PEM file of its certificate.
        key: PEM file of its key.
        script: its behaviour.
        port: where to listen; 0: somewhere.
    """

    def __init__(self, chain: Path, key: Path, script: Script | None = None, port: int = 0) -> None:
        self.script = script or Script()
        self.port = port
        self.messages: list[Stored] = []
        self.commands: list[str] = []
        self.connections = 0
        self._files = (chain, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._sessions: set[asyncio.Task[None]] = set()

    def start(self) -> Self:
        """Listen, also again after `stop`, on the same port."""
        if not self._thread.is_alive():
            self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        """Stop listening and reset all connections, as a killed server does."""
        self._call(self._end())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def received(self, recipient: str) -> list[Stored]:
        """Return the messages for a recipient."""
        return [message for message in self.messages if recipient in message.recipients]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=512, limit=_BLOCK
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        for session in self._sessions:
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        self._open.add(writer)
        self.connections += 1
        try:
            await _Session(self, reader, writer, self._context).run()
        except (_Cut, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            self._sessions.discard(session)
            writer.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._files)
        if self.script.client_ca:
            context.load_verify_locations(self.script.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class _Session:
    """One connection to the scripted server."""

    def __init__(
        self,
        server: Upstream,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.context = context
        self.sender: str | None = None
        self.parameters = ""
        self.recipients: list[str] = []
        self.chunks: list[bytes] = []
        self.pending = bytearray()

    async def run(self) -> None:
        """Serve until QUIT or the end of the stream."""
        verbs: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self.ehlo, "STARTTLS": self.starttls, "MAIL": self.mail, "RCPT": self.rcpt,
            "DATA": self.data, "BDAT": self.bdat, "RSET": self.reset, "NOOP": self.noop,
        }  # fmt: skip
        await self.say("banner", "220 upstream.example ESMTP")
        while line := await self.read_line():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.server.commands.append(text)
            verb, _, argument = text.partition(" ")
            if verb.upper() == "QUIT":
                await self.say("quit", "221 2.0.0 bye")
                return
            await verbs.get(verb.upper(), self.unknown)(argument)

    async def say(self, phase: str, reply: str) -> str:
        """Send a reply, or what the script has for this phase; returns what was sent."""
        script = self.server.script
        await self.pass_phase(phase)
        reply = script.replies.get(phase, reply)
        self.writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        await self.writer.drain()
        return reply

    async def pass_phase(self, phase: str) -> None:
        """Wait or break off where the script says so."""
        script = self.server.script
        if phase in script.delay:
            await asyncio.sleep(script.delay[phase])
        if phase in script.cut:
            raise _Cut

    async def ehlo(self, argument: str) -> None:
        offers = list(self.server.script.extensions)
        if not self.is_tls:
            offers.append("STARTTLS")
        lines = ["upstream.example", *offers]
        marked = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
        await self.say("ehlo", "\n".join(marked))

    @property
    def is_tls(self) -> bool:
        return self.writer.get_extra_info("ssl_object") is not None

    async def starttls(self, argument: str) -> None:
        reply = await self.say("starttls", "220 2.0.0 go ahead")
        if reply.startswith("220"):
            assert not self.pending, "bytes behind STARTTLS"
            await self.writer.start_tls(self.context())

    async def mail(self, argument: str) -> None:
        path, _, parameters = argument.partition(">")
        reply = await self.say("mail", "250 2.1.0 ok")
        if reply.startswith("250"):
            self.sender = path.partition("<")[2]
            self.parameters = parameters.strip()
            self.recipients, self.chunks = [], []

    async def rcpt(self, argument: str) -> None:
        if self.sender is None:
            await self.say("sequence", "503 5.5.1 MAIL first")
            return
        found = re.match(r"TO:<([^>]*)>", argument, re.IGNORECASE)
        recipient = found[1] if found else ""
        ready = self.server.script.recipients.get(recipient, "250 2.1.5 ok")
        reply = await self.say("rcpt", ready)
        if reply.startswith("250"):
            self.recipients.append(recipient)

    async def data(self, argument: str) -> None:
        if not self.recipients:
            await self.say("sequence", "554 5.5.1 no valid recipients")
            return
        reply = await self.say("data", "354 go ahead")
        if reply.startswith("354"):
            self.chunks = [await self.read_dotted()]
            await self.finish()

    async def read_dotted(self) -> bytes:
        """Read to the line with the single dot, and undo the stuffing (RFC 5321 4.5.2)."""
        # A sender may pipeline QUIT behind the final dot, as Postfix does.
        content = bytearray(b"\r\n")
        start = 0
        while True:
            content += self.pending
            self.pending.clear()
            if (end := content.find(b"\r\n.\r\n", start)) >= 0:
                self.pending += content[end + 5 :]
                return bytes(content[: end + 2]).replace(b"\r\n..", b"\r\n.")[2:]
            if len(content) > 2:
                await self.pass_phase("body")
            start = max(0, len(content) - 4)
            await self.read_more()

    async def read_line(self) -> bytes:
        """Read a line with its end; b"" at the end of the stream."""
        while (end := self.pending.find(b"\n")) < 0:
            try:
                await self.read_more()
            except ConnectionResetError:
                return b""
        line = bytes(self.pending[: end + 1])
        del self.pending[: end + 1]
        return line

    async def read_more(self) -> None:
        """Add what has come to `pending`; raises ConnectionResetError at the end."""
        block = await self.reader.read(_BLOCK)
        if not block:
            raise ConnectionResetError
        self.pending += block

    async def bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        while len(self.pending) < int(size):
            await self.read_more()
        self.chunks.append(bytes(self.pending[: int(size)]))
        del self.pending[: int(size)]
        await self.pass_phase("body")
        if not self.recipients:
            await self.say("sequence", "503 5.5.1 no valid recipients")
        elif last.upper() == "LAST":
            await self.finish()
        else:
            await self.say("chunk", "250 2.0.0 chunk ok")

    async def finish(self) -> None:
        """Keep the message, if the reply to it is positive."""
        tls = self.writer.get_extra_info("ssl_object")
        subject = dict(p[0] for p in (tls.getpeercert() or {}).get("subject", ())) if tls else {}
        message = Stored(
            self.sender or "", self.recipients, b"".join(self.chunks), self.parameters,
            tls.version() if tls else "", subject.get("commonName", ""),
        )  # fmt: skip
        reply = self.server.script.replies.get("final", "250 2.0.0 taken as 4711")
        await self.pass_phase("final")
        if reply.startswith("250"):
            self.server.messages.append(message)
        self.writer.write(reply.encode() + b"\r\n")
        await self.writer.drain()
        self.sender, self.recipients, self.chunks = None, [], []
        await self.pass_phase("answered")

    async def reset(self, argument: str) -> None:
        self.sender, self.recipients, self.chunks = None, [], []
        await self.say("reset", "250 2.0.0 ok")

    async def noop(self, argument: str) -> None:
        await self.say("noop", "250 2.0.0 ok")

    async def unknown(self, argument: str) -> None:
        await self.say("unknown", "500 5.5.2 what?")
