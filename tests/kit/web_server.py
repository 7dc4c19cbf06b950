"""A web server on loopback whose answers are a test's own; knows nothing of what they are.

Its handler is plain `http.server`, so that it can misbehave in ways that a good library prevents.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Handler", "WebServer"]


class Handler(BaseHTTPRequestHandler):
    """Answers requests; says nothing on standard error."""

    def reply(self, body: bytes) -> None:
        """Answer 200 with a body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class WebServer:
    """Serves while it is a context, or until it is stopped.

    `released` is set at the end: whoever lets a client wait waits for it.

    Args:
        handler: answers requests, one object each.
    """

    def __init__(self, handler: type[Handler]) -> None:
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Be unreachable from now on."""
        if not self.released.is_set():
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
