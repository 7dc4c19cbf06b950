"""A web server that publishes revocation lists, and misbehaves on demand; knows nothing of the relay."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["CrlServer"]


class CrlServer:
    """Serves `body` at every path; with `pours` an endless one, with `hangs` none ever.

    `requests` counts what has been asked, `poured_bytes` what an endless body came to.
    """

    def __init__(self) -> None:
        self.body = b""
        self.pours = self.hangs = False
        self.requests = 0
        self.poured_bytes = 0
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where the list is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/list.crl"

    @property
    def extension(self) -> tuple[x509.ExtensionType, bool]:
        """The CRL distribution point, for a certificate."""
        name = x509.UniformResourceIdentifier(self.url)
        point = x509.DistributionPoint([name], None, None, None)
        return x509.CRLDistributionPoints([point]), False

    def stop(self) -> None:
        """Be unreachable from now on."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._released.is_set():
            self.stop()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
                owner.requests += 1
                if owner.hangs:
                    owner._released.wait(60)  # noqa: SLF001
                    return
                self.send_response(200)
                if owner.pours:
                    self.end_headers()
                    self._pour()
                    return
                self.send_header("Content-Length", str(len(owner.body)))
                self.end_headers()
                self.wfile.write(owner.body)

            def _pour(self) -> None:
                block = bytes(2**20)
                while not owner._released.is_set():  # noqa: SLF001
                    try:
                        self.wfile.write(block)
                    except OSError:
                        return
                    owner.poured_bytes += len(block)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
