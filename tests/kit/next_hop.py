"""A next hop in memory: a small SMTP server of its own making, with faults on request.

It shares no code with the relay's engines, so that both cannot be wrong in the same way. Being a
`ports.Dialer`, it is what a Forwarder under test connects to.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.errors import StreamError, Unavailable
from relay.model import Endpoint
from tests.kit.stream import TLS13, MemoryStream, stream_pair

if TYPE_CHECKING:
    from datetime import timedelta

    from relay.model import TlsFacts
    from relay.ports import ServerTls

__all__ = ["ALL_EXTENSIONS", "DROP", "END", "SILENCE", "ScriptedHop", "Stored"]

ALL_EXTENSIONS = (
    "PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES",
)  # fmt: skip

DROP = "drop"
"""In place of a reply: the line is lost."""

END = "end"
"""In place of a reply: the connection is closed in order, without a word."""

SILENCE = "silence"
"""In place of a reply: nothing, for good."""


@dataclass
class Stored:
    """A message the next hop has taken."""

    sender: str
    recipients: list[str]
    body: bytes


class _TlsToken:
    """Stands for a TLS set-up, which the streams in memory do not look into."""


@dataclass
class ScriptedHop:
    """The server. `answers` replaces replies: the longest key that a command starts with wins.

    Keys are commands ("RCPT TO:<bob@"), or "banner", "message" (the reply to a whole message).
    Values are reply text (lines joined by "\\n" or given with their CRLF), DROP, END or SILENCE;
    of a list the first is used up at each turn, the last stays.
    """

    extensions: tuple[str, ...] = ALL_EXTENSIONS
    answers: dict[str, str | list[str]] = field(default_factory=dict)
    handshake: TlsFacts | Exception = TLS13
    unreachable: dict[str, str] = field(default_factory=dict)
    """Hosts that cannot be connected to, and why."""
    refusals_left: int = 0
    """How many connections more are refused."""

    commands: list[str] = field(default_factory=list)
    """Every command line of all connections."""
    messages: list[Stored] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    """The hosts that were connected to."""
    streams: list[MemoryStream] = field(default_factory=list)
    """The server's ends."""
    client_streams: list[MemoryStream] = field(default_factory=list)
    delay: float = 0.0
    """Seconds between a reply and its arrival."""
    high_water: int | None = None
    reads_body: bool = True
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def connect(self, host: str, port: int, timeout: timedelta) -> MemoryStream:
        """Open a connection to this server (`ports.Dialer`)."""
        self.dialled.append(host)
        if host in self.unreachable:
            raise Unavailable(self.unreachable[host])
        if self.refusals_left:
            self.refusals_left -= 1
            raise Unavailable("connection refused")
        client, server = stream_pair(server=Endpoint("192.0.2.25", port))
        client.handshake = self.handshake
        client.high_water = self.high_water
        server.delay = self.delay
        self.streams.append(server)
        self.client_streams.append(client)
        task = asyncio.create_task(_Talk(self, server).run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return client

    def answer_to(self, command: str, usual: str) -> str:
        """Return what to say to a command."""
        keys = [key for key in self.answers if command.upper().startswith(key.upper())]
        if not keys:
            return usual
        answer = self.answers[max(keys, key=len)]
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    @property
    def verbs(self) -> list[str]:
        """The verbs of all commands, in their order."""
        return [command.split(" ", maxsplit=1)[0].upper() for command in self.commands]

    async def close(self) -> None:
        """End all connections."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class _Hangup(Exception):  # noqa: N818  (it ends a talk, nothing is wrong)
    """The talk is over."""


class _Talk:
    """One connection's conversation."""

    def __init__(self, server: ScriptedHop, stream: MemoryStream) -> None:
        self._server = server
        self._stream = stream
        self._buffer = b""
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        try:
            await self._say("banner", "220 next-hop.internal ESMTP")
            while True:
                line = (await self._line()).decode()
                self._server.commands.append(line)
                await self._obey(line)
        except (_Hangup, StreamError):
            await self._stream.close()

    async def _obey(self, line: str) -> None:
        match line.split(" ", maxsplit=1)[0].upper():
            case "EHLO":
                self._reset()
                lines = ["next-hop.internal", *self._server.extensions]
                await self._say(line, "\n".join(f"250 {each}" for each in lines))
            case "HELO":
                await self._say(line, "250 next-hop.internal")
            case "STARTTLS":
                await self._start_tls(line)
            case "XCLIENT":
                self._reset()
                await self._say(line, "220 next-hop.internal ESMTP")
            case "MAIL":
                await self._mail(line)
            case "RCPT":
                await self._rcpt(line)
            case "DATA":
                await self._data(line)
            case "BDAT":
                await self._bdat(line)
            case "RSET":
                self._reset()
                await self._say(line, "250 2.0.0 Ok")
            case "QUIT":
                await self._say(line, "221 2.0.0 Bye")
                raise _Hangup
            case "XFORWARD":
                await self._say(line, "250 2.0.0 Ok")
            case _:
                await self._say(line, "500 5.5.2 Unknown")

    async def _start_tls(self, line: str) -> None:
        if await self._say(line, "220 2.0.0 Ready"):
            token: ServerTls = _TlsToken()
            await self._stream.start_tls_server(token)
            self._server.extensions = tuple(
                each for each in self._server.extensions if each != "STARTTLS"
            )
            self._reset()

    async def _mail(self, line: str) -> None:
        if self._sender is not None:
            await self._say(line, "503 5.5.1 Nested MAIL")
        elif await self._say(line, "250 2.1.0 Ok"):
            self._sender = _path(line)

    async def _rcpt(self, line: str) -> None:
        if self._sender is None:
            await self._say("RCPT out of order", "503 5.5.1 MAIL first")
        elif await self._say(line, "250 2.1.5 Ok"):
            self._recipients.append(_path(line))

    async def _data(self, line: str) -> None:
        if not self._recipients:
            await self._say(line, "554 5.5.1 No valid recipients")
            return
        if not await self._say(line, "354 Go ahead"):
            return
        self._buffer = b"\r\n" + self._buffer  # the message starts a line
        scanned = 0
        while (end := self._buffer.find(b"\r\n.\r\n", scanned)) < 0:
            scanned = max(0, len(self._buffer) - 4)
            await self._more()
        text, self._buffer = self._buffer[2 : end + 2], self._buffer[end + 5 :]
        lines = text.split(b"\r\n")
        await self._take(b"\r\n".join(each.removeprefix(b".") for each in lines))

    async def _bdat(self, line: str) -> None:
        size = int(line.split(" ")[1])
        while len(self._buffer) < size:
            await self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        if not self._recipients:
            await self._say(line, "503 5.5.1 RCPT first")
            return
        await self._take(body)

    async def _take(self, body: bytes) -> None:
        stored = Stored(self._sender or "", self._recipients, body)
        self._reset()
        if await self._say("message", "250 2.0.0 Ok: queued as 4711"):
            self._server.messages.append(stored)

    async def _say(self, command: str, usual: str) -> bool:
        """Answer; return whether it was a yes."""
        answer = self._server.answer_to(command, usual)
        match answer:
            case "drop":
                self._stream.abort()
                raise _Hangup
            case "end":
                raise _Hangup
            case "silence":
                await asyncio.Event().wait()
        self._stream.send(_wire(answer))
        return answer[0] in "23"

    async def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            await self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    async def _more(self) -> None:
        if not self._server.reads_body and self._recipients:
            await asyncio.Event().wait()
        data = await self._stream.receive()
        if not data:
            raise _Hangup
        self._buffer += data

    def _reset(self) -> None:
        self._sender, self._recipients = None, []


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


def _wire(answer: str) -> bytes:
    """Return a reply as bytes: as it is if it has line ends, else its lines joined properly."""
    if answer.endswith("\r\n"):
        return answer.encode()
    lines = answer.split("\n")
    middle = (f"{each[:3]}-{each[4:]}\r\n" for each in lines[:-1])
    return ("".join(middle) + lines[-1] + "\r\n").encode()
