"""OCSP responders on loopback: openssl's, and one that misbehaves on demand; knows nothing of the relay."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.kit.apt import need
from tests.kit.relay_process import free_port, wait_until
from tests.kit.web_server import Handler, WebServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from tests.kit.pki import Authority, Issued

__all__ = ["OcspServer", "OpensslResponder", "access_to"]


def access_to(url: str) -> tuple[x509.ExtensionType, bool]:
    """Make the extension of a certificate that names a responder (authority information access)."""
    place = x509.UniformResourceIdentifier(url)
    access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
    return x509.AuthorityInformationAccess([access]), False


class OpensslResponder:
    """`openssl ocsp` over an index file; what is not in the index is unknown to it.

    Args:
        folder: for its files.
        authority: the CA it answers for.
        signer: who signs; by default the CA itself.
        minutes: how long its answers count.
    """

    def __init__(
        self, folder: Path, authority: Authority, signer: Issued | None = None, minutes: int = 60
    ) -> None:
        self._folder = folder / "openssl-ocsp"
        self._authority = authority
        self._signer = signer
        self._minutes = minutes
        self._port = free_port()
        self._lines: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def extension(self) -> tuple[x509.ExtensionType, bool]:
        """What names it in a certificate."""
        return access_to(self.url)

    def know(self, issued: Issued, *, revoked: bool = False) -> None:
        """Put a certificate into the index, also of a responder that runs."""
        until = issued.cert.not_valid_after_utc.astimezone(UTC).strftime("%y%m%d%H%M%SZ")
        since = issued.cert.not_valid_before_utc.astimezone(UTC).strftime("%y%m%d%H%M%SZ")
        serial = f"{issued.cert.serial_number:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)
        state = f"R\t{until}\t{since},keyCompromise" if revoked else f"V\t{until}\t"
        name = f"/CN={issued.cert.serial_number}"  # openssl wants each name once
        self._lines[issued.cert.serial_number] = f"{state}\t{serial}\tunknown\t{name}\n"
        if self._process is not None:
            # It would look at the index again only after the next request.
            self.stop()
            self.start()

    def start(self) -> Self:
        """Listen."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / "index.txt").write_text("".join(self._lines.values()))
        (self._folder / "log").write_bytes(b"")
        files = {"ca.pem": self._authority.pem, "signer.pem": self._authority.pem}
        key = self._authority.key
        if self._signer is not None:
            files["signer.pem"], key = self._signer.pem, self._signer.key
        for name, pem in files.items():
            (self._folder / name).write_bytes(pem)
        (self._folder / "signer.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    need("openssl"), "ocsp", "-port", str(self._port), "-index", "index.txt",
                    "-CA", "ca.pem", "-rsigner", "signer.pem", "-rkey", "signer.key",
                    "-nmin", str(self._minutes), "-ignore_err",
                ],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        # A connection without a request, to see whether it listens, would hold it up for ever.
        wait_until(
            self._log, lambda: "waiting for OCSP client" in (self._folder / "log").read_text()
        )
        return self

    def stop(self) -> None:
        """Be down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _log(self) -> str:
        return f"openssl ocsp listens: {(self._folder / 'log').read_text()}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class OcspServer(WebServer):
    """Answers what `answer` makes of a request; with `hangs` it never answers.

    `asked` holds the requests with their methods, in the order in which they came.
    """

    def __init__(self, answer: Callable[[ocsp.OCSPRequest], bytes] | None = None) -> None:
        self.answer = answer
        self.hangs = False
        self.delay = 0.0
        self.asked: list[tuple[str, ocsp.OCSPRequest]] = []
        super().__init__(self._handler())

    @property
    def extension(self) -> tuple[x509.ExtensionType, bool]:
        """What names it in a certificate."""
        return access_to(self.url)

    def reply_to(self, method: str, request: bytes) -> bytes | None:
        """Note a request; return what to answer, None for nothing."""
        parsed = ocsp.load_der_ocsp_request(request)
        self.asked.append((method, parsed))
        self.released.wait(60 if self.hangs else self.delay)
        return None if self.hangs or self.answer is None else self.answer(parsed)

    def _handler(self) -> type[Handler]:
        owner = self

        class OcspHandler(Handler):
            def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
                self._answer("GET", base64.b64decode(unquote(self.path.removeprefix("/"))))

            def do_POST(self) -> None:  # noqa: N802  the same
                self._answer("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, method: str, request: bytes) -> None:
                body = owner.reply_to(method, request)
                if body is not None:
                    self.reply(body)

        return OcspHandler
