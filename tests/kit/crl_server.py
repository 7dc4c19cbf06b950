"""A web server that publishes revocation lists, and misbehaves on demand; knows nothing of the relay."""

from __future__ import annotations

from cryptography import x509

from tests.kit.web_server import Handler, WebServer

__all__ = ["CrlServer"]


class CrlServer(WebServer):
    """Serves `body` at every path; with `pours` an endless one, with `hangs` none ever.

    `requests` counts what has been asked, `poured_bytes` what an endless body came to.
    """

    def __init__(self) -> None:
        self.body = b""
        self.pours = self.hangs = False
        self.requests = 0
        self.poured_bytes = 0
        super().__init__(self._handler())

    @property
    def url(self) -> str:
        """Where the list is."""
        return f"{super().url}/list.crl"

    @property
    def extension(self) -> tuple[x509.ExtensionType, bool]:
        """The CRL distribution point, for a certificate."""
        name = x509.UniformResourceIdentifier(self.url)
        point = x509.DistributionPoint([name], None, None, None)
        return x509.CRLDistributionPoints([point]), False

    def _handler(self) -> type[Handler]:
        owner = self

        class CrlHandler(Handler):
            def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
                owner.requests += 1
                if owner.hangs:
                    owner.released.wait(60)
                elif owner.pours:
                    self.send_response(200)
                    self.end_headers()
                    self._pour()
                else:
                    self.reply(owner.body)

            def _pour(self) -> None:
                block = bytes(2**20)
                while not owner.released.is_set():
                    try:
                        self.wfile.write(block)
                    except OSError:
                        return
                    owner.poured_bytes += len(block)

        return CrlHandler
