"""HTTP as we serve it: a table of paths, one request a connection, everything bounded.

Whoever connects has `DEADLINE_SECONDS` from the first byte to the last answer, `max_body_bytes` for a
body, and never sees the text of an exception. Knows nothing of what is served. RFC 9110.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import structlog
from aiohttp import web

from relay.admin.attempts import network_of
from relay.names import PRODUCT

if TYPE_CHECKING:
    import socket
    import ssl

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

__all__ = ["Asked", "HttpServer", "Routes", "answer_text"]

log = structlog.get_logger("gatepost")

DEADLINE_SECONDS: Final = 20.0
"""For a whole connection: no answer of ours takes long, so who is slow is the client."""
HANDSHAKE_SECONDS: Final = 10.0
MAX_CONNECTIONS: Final = 500
MAX_CONNECTIONS_OF_CLIENT: Final = 32
"""Of one address (IPv6: /64)."""
MAX_LINE_BYTES: Final = 8190
MAX_FIELDS: Final = 64
_PAUSE_SECONDS: Final = 0.1


class Asked(NamedTuple):
    """One request: its header fields, its whole body, and what follows a path that ends in `/`."""

    request: web.BaseRequest
    body: bytes
    rest: str = ""

    @property
    def address(self) -> str:
        """The client's address; "" on a Unix socket."""
        return self.request.remote or ""


Routes = Mapping[str, Mapping[str, Callable[[Asked], Awaitable[web.Response]]]]
"""By path, then by method. A path that ends in `/` has all below it. GET serves HEAD, too."""


def answer_text(status: int, text: str = "", **fields: str) -> web.Response:
    """Answer in words; the status' own if there are none. Underscores in names stand for hyphens."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return web.Response(
        status=status, text=f"{text or HTTPStatus(status).phrase.lower()}\n", headers=headers
    )


class HttpServer:
    """Serves a table of paths on any number of sockets.

    Args:
        routes: the table.
        max_body_bytes: a longer body is 413.
        tls: with it, HTTPS.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        max_body_bytes: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._routes = routes
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._factory: _Factory
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._held: Counter[str] = Counter()

    async def start(self, listening: list[socket.socket]) -> None:
        """Accept connections on sockets that listen already."""
        self._factory = _Factory(self._handle, self._max_body_bytes)
        self._listening = listening
        self._accepting = [asyncio.create_task(self._accept_on(each)) for each in listening]

    async def _accept_on(self, listening: socket.socket) -> None:
        """Accept here, not in a server of the loop: that one counts nobody before the TLS handshake."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)  # noqa: FBT003  the socket module's own signature
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError:  # it was gone again, or there is no descriptor left
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            # Who comes by a Unix socket has no address, and is one of us.
            client = network_of(peer[0]) if isinstance(peer, tuple) else ""
            if self._has_room(client):
                self._held[client] += 1
                serving = asyncio.create_task(self._serve(connection))
                self._serving.add(serving)
                serving.add_done_callback(partial(self._ended, client))
            else:
                connection.close()
            await asyncio.sleep(0)  # where a queue of them waits, sock_accept does not

    def _has_room(self, client: str) -> bool:
        if len(self._serving) >= MAX_CONNECTIONS:
            return False
        return not client or self._held[client] < MAX_CONNECTIONS_OF_CLIENT

    async def _serve(self, connection: socket.socket) -> None:
        """See a connection through, from the handshake to its end."""
        with contextlib.suppress(OSError):  # a handshake that fails, too
            _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            )
            await protocol.ended.wait()

    def _ended(self, client: str, serving: asyncio.Task[None]) -> None:
        self._serving.discard(serving)
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    async def close(self, grace_seconds: float) -> None:
        """Accept no more, let requests in work end, cut off the rest."""
        ending = [*self._accepting, *self._serving]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for each in self._listening:
            each.close()
        self._factory.pre_shutdown()
        await self._factory.shutdown(grace_seconds)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        try:
            response = await self._answer(request)
        except web.HTTPRequestEntityTooLarge:
            response = answer_text(413)
        except (web.RequestPayloadError, ConnectionError):
            response = answer_text(400)
        except Exception:
            log.exception("request failed", path=_printable(request.path))
            response = answer_text(500)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers["Server"] = PRODUCT
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        path = request.raw_path.partition("?")[0]
        methods = self._routes.get(path)
        rest = ""
        if methods is None:
            below = path.find("/", 1) + 1
            path, rest = path[:below], path[below:]
            methods = self._routes.get(path)
        if methods is None:
            return answer_text(404)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
            return answer_text(405, Allow=", ".join(allowed))  # RFC 9110 15.5.6
        if (request.content_length or 0) > self._max_body_bytes:
            return answer_text(413)
        return await handler(Asked(request, await request.read(), rest))


class _Connection(web.RequestHandler):
    """One connection, with an end: nothing of aiohttp's own bounds a request that never comes."""

    __slots__ = ("_deadline", "ended")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.ended = asyncio.Event()
        super().connection_made(transport)
        abort = cast("asyncio.Transport", transport).abort
        self._deadline = asyncio.get_running_loop().call_later(DEADLINE_SECONDS, abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._deadline.cancel()
        self.ended.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  says what the parser thinks: not the client's business
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        response = answer_text(status, Server=PRODUCT)
        response.force_close()
        return response


class _Factory(web.Server):
    """Makes our kind of connection and our kind of request."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], max_bytes: int
    ) -> None:
        super().__init__(handler, request_factory=self._make)
        self._max_bytes = max_bytes

    def __call__(self) -> _Connection:
        return _Connection(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_FIELDS,
            lingering_time=1.0,
            auto_decompress=False,  # a body could be a thousand times larger than what was counted
        )

    def _make(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._max_bytes
        )


def _printable(text: str) -> str:
    return text[:200].encode("ascii", "backslashreplace").decode()
