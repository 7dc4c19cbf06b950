"""What our CA publishes: its revocation lists, kept new, and the answers of its OCSP responder.

Plain HTTP, for both are signed. Knows nothing of how lists and answers are made. RFC 5280 4.2.1.13,
RFC 2585, RFC 6960 appendix A, RFC 5019.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from relay.admin.server import answer_text
from relay.ca_lists import CaLists, needs_new_list
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from relay.admin.server import Asked, Routes
    from relay.ca_folder import CaFolder
    from relay.pki.issuing import Issuer

__all__ = ["MAX_BODY_BYTES", "Published"]

log = structlog.get_logger("gatepost")

MAX_BODY_BYTES: Final = 4096
MAX_AGE_SECONDS: Final = 300
"""How long caches may keep what we say: a revocation is known everywhere after that."""
LOOK_SECONDS: Final = 60.0
MAX_KEPT_ANSWERS: Final = 1000

_CRL = "application/pkix-crl"  # RFC 2585 4.2
_OCSP_REQUEST, _OCSP_RESPONSE = "application/ocsp-request", "application/ocsp-response"


class _Document(NamedTuple):
    """What is sent, and between when and when it holds."""

    content: bytes
    kind: str
    since: datetime
    until: datetime


class Published:
    """The lists and the responder of one CA.

    Args:
        ca: where they are.
        passphrase: of the issuing CA's key; without that key, lists are served as long as they are there.
    """

    def __init__(self, ca: CaFolder, passphrase: bytes | None) -> None:
        self._ca = ca
        self._passphrase = passphrase
        self._lists = CaLists(ca)
        self._documents: dict[Path, tuple[int, _Document]] = {}
        self._answers: dict[bytes, _Document] = {}
        self._answers_version: object = None
        self._issuer: tuple[object, Issuer] | None = None
        self._complaint = ""

    @property
    def routes(self) -> Routes:
        """The paths, as certificates name them."""
        return {
            "/crl.der": {"GET": self._list},
            "/root-crl.der": {"GET": self._root_list},
            "/ocsp": {"POST": self._ocsp_by_post},
            "/ocsp/": {"GET": self._ocsp_by_get},
        }

    async def keep_new(self) -> None:
        """Sign the lists anew at half of their lives, until cancelled."""
        while True:
            await asyncio.to_thread(self.renew_lists)
            await asyncio.sleep(LOOK_SECONDS)

    def renew_lists(self) -> None:
        """Sign the lists anew if it is time to and the key is at hand."""
        try:
            if not self._is_time():
                return
            made = self._lists.publish(self._open(), passphrase=self._passphrase)
        except (ConfigurationError, OSError) as error:
            self._complain("no new revocation list of our CA", error)
        else:
            log.info("new revocation list of our CA", entries=len(made))

    def _is_time(self) -> bool:
        now = datetime.now(UTC)
        paths = [self._lists.path]
        if self._ca.issuing_path.exists() and self._ca.key_path.exists():
            paths.append(self._lists.root_path)
        return any(needs_new_list(path, now) for path in paths)

    # --- lists ------------------------------------------------------------------------------

    async def _list(self, asked: Asked) -> web.Response:
        return await self._file(asked, self._lists.path)

    async def _root_list(self, asked: Asked) -> web.Response:
        return await self._file(asked, self._lists.root_path)

    async def _file(self, asked: Asked, path: Path) -> web.Response:
        try:
            return _answer(asked, await asyncio.to_thread(self._read, path))
        except (OSError, ValueError):
            return answer_text(404)

    def _read(self, path: Path) -> _Document:
        """Read a list, if it is another than before. Raises OSError, ValueError."""
        changed = path.stat().st_mtime_ns
        known = self._documents.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        content = path.read_bytes()
        parsed = x509.load_der_x509_crl(content)
        end = parsed.next_update_utc
        made = _Document(content, _CRL, parsed.last_update_utc, end or parsed.last_update_utc)
        self._documents[path] = changed, made
        return made

    # --- OCSP -------------------------------------------------------------------------------

    async def _ocsp_by_post(self, asked: Asked) -> web.Response:
        if asked.request.content_type != _OCSP_REQUEST:
            return answer_text(415, Accept_Post=_OCSP_REQUEST)
        return _uncached(self._respond(asked.body).content)

    async def _ocsp_by_get(self, asked: Asked) -> web.Response:
        try:  # RFC 6960 A.1: base64, then percent-encoded; not all encode
            request = base64.b64decode(unquote_to_bytes(asked.rest), validate=True)
        except (ValueError, binascii.Error):
            request = b""  # malformed, as the responder will say
        try:
            version: object = self._ca.index.version()
        except OSError:  # the responder will say it
            version = None
        if version != self._answers_version or len(self._answers) >= MAX_KEPT_ANSWERS:
            self._answers.clear()
            self._answers_version = version
        document = self._answers.get(request)
        if document is None or _is_half_over(document):
            document = self._respond(request)
            if document.until > document.since:
                self._answers[request] = document
        if document.until <= document.since:  # RFC 5019 6.2: failures are not to be kept
            return _uncached(document.content)
        return _answer(asked, document)

    def _respond(self, request: bytes) -> _Document:
        """Answer; a failure holds for no time at all."""
        now = datetime.now(UTC)
        try:
            content = self._lists.answer(request, self._open())
        except (ConfigurationError, OSError) as error:
            self._complain("OCSP is not answered", error)
            failure = ocsp.OCSPResponseBuilder.build_unsuccessful(
                ocsp.OCSPResponseStatus.TRY_LATER
            ).public_bytes(Encoding.DER)
            return _Document(failure, _OCSP_RESPONSE, now, now)
        parsed = ocsp.load_der_ocsp_response(content)
        if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return _Document(content, _OCSP_RESPONSE, now, now)
        since, until = parsed.this_update_utc, parsed.next_update_utc
        return _Document(content, _OCSP_RESPONSE, since, until or since)

    def _open(self) -> Issuer:
        """The issuing CA; its key is read again when the files change.

        Raises:
            ConfigurationError: there is no CA, or the key does not open.
            OSError: a file cannot be read.
        """
        ca = self._ca
        has_issuing = ca.issuing_path.exists()
        paths = (
            (ca.issuing_path, ca.issuing_key_path)
            if has_issuing
            else (ca.certificate_path, ca.key_path)
        )
        state = tuple((path, path.stat().st_mtime_ns) for path in paths)
        if self._issuer is None or self._issuer[0] != state:
            self._issuer = state, ca.issuer(self._passphrase)
        return self._issuer[1]

    def _complain(self, what: str, error: Exception) -> None:
        """Say it once, not with each request."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.error(what, error=self._complaint)


def _answer(asked: Asked, document: _Document) -> web.Response:
    """Send what may be kept, or say that it is the same still (RFC 9110 13.1, RFC 5019 6.2)."""
    left = (document.until - datetime.now(UTC)).total_seconds()
    headers = {
        "Cache-Control": f"max-age={max(0, min(MAX_AGE_SECONDS, int(left)))}, public, "
        "no-transform, must-revalidate",
        "ETag": f'"{hashlib.sha256(document.content).hexdigest()[:32]}"',
        "Last-Modified": format_datetime(document.since, usegmt=True),
        "Expires": format_datetime(document.until, usegmt=True),
    }
    if _has_it(asked.request, headers["ETag"], document.since):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.content, content_type=document.kind, headers=headers)


def _has_it(request: web.BaseRequest, etag: str, since: datetime) -> bool:
    """Whether the client says that it has this already; a tag says more than a date."""
    if "If-None-Match" in request.headers:
        known = request.headers["If-None-Match"].split(",")
        return any(each.strip().removeprefix("W/") in {etag, "*"} for each in known)
    modified = request.if_modified_since
    return modified is not None and modified >= since


def _uncached(content: bytes) -> web.Response:
    return web.Response(body=content, content_type=_OCSP_RESPONSE)


def _is_half_over(document: _Document) -> bool:
    return datetime.now(UTC) > document.since + (document.until - document.since) / 2
