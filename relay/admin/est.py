"""Enrolment over Secure Transport: HTTPS in front of `relay.enrolment`, and every outcome on record.

A token travels as the password of HTTP's Basic authentication, a current certificate in the TLS
handshake. What may be granted is not decided here. RFC 7030 3 and 4, RFC 8951.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ssl
import time
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from relay.admin.attempts import Attempts
from relay.admin.server import answer_text
from relay.audit.log import AuditLog
from relay.enrolment import Denial, Denied, Enrolled, Enrolment
from relay.errors import ConfigurationError, GatepostError, Unavailable
from relay.pki.certificate import Certificate
from relay.pki.est import CSR_ATTRIBUTES, encode_certificates, parse_credentials, parse_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.admin.server import Asked, Routes
    from relay.ca_folder import CaFolder
    from relay.policy.restrictions import Restrictions
    from relay.settings import Settings
    from relay.settings.table import CertificateFiles

__all__ = ["MAX_BODY_BYTES", "Est", "server_context"]

log = structlog.get_logger("gatepost")

MAX_BODY_BYTES: Final = 16_384
"""A request with an RSA key of 8192 bits and many names takes 4 kB in base64."""
MAX_REFUSALS: Final = 5
"""Of one address in a window: nobody guesses tokens for long, or fills the audit trail."""
WINDOW_SECONDS: Final = 60.0

_ROOT = "/.well-known/est"
_PKCS7 = "application/pkcs7-mime"
_STATUS: Final = {Denial.CREDENTIALS: 401, Denial.REQUEST: 400, Denial.FORBIDDEN: 403}
_CHALLENGE: Final = 'Basic realm="enrolment", charset="UTF-8"'  # RFC 7617 2.1


class Est:
    """The operations of EST.

    Args:
        settings: of the lifetime, the allowlist and the audit trail.
        ca: our CA.
        passphrase: of its key.
        restrictions: who is suspended, and which keys are revoked; kept up to date by others.
    """

    def __init__(
        self, settings: Settings, ca: CaFolder, passphrase: bytes | None, restrictions: Restrictions
    ) -> None:
        self._enrolment = Enrolment(
            ca, settings.allowlist, settings.est.lifetime, passphrase, restrictions
        )
        self._audit = AuditLog(
            settings.audit.path, sync=settings.audit.sync, node=settings.hostname
        )
        self._refused = Attempts(MAX_REFUSALS, WINDOW_SECONDS)
        self._one_at_a_time = asyncio.Lock()

    async def close(self) -> None:
        """Bring the audit trail to disk."""
        await self._audit.close()

    def reopen(self) -> None:
        """Go on in a new audit file, once the old one has been moved away."""
        self._audit.reopen()

    @property
    def routes(self) -> Routes:
        """The paths of RFC 7030 3.2.2 that are served."""
        return {
            f"{_ROOT}/cacerts": {"GET": self._cacerts},
            f"{_ROOT}/csrattrs": {"GET": self._csrattrs},
            f"{_ROOT}/simpleenroll": {"POST": self._enroll},
            f"{_ROOT}/simplereenroll": {"POST": self._reenroll},
        }

    async def _cacerts(self, _: Asked) -> web.Response:
        try:
            return _certificates(await asyncio.to_thread(self._enrolment.ca_certificates))
        except (ConfigurationError, OSError) as error:
            log.error("no certificates of our CA", error=str(error))
            return answer_text(503, "no certificates can be told now", Retry_After="300")

    async def _csrattrs(self, _: Asked) -> web.Response:
        return web.Response(body=CSR_ATTRIBUTES, content_type="application/csrattrs")

    async def _enroll(self, asked: Asked) -> web.Response:
        credentials = parse_credentials(asked.request.headers.get("Authorization", ""))
        if credentials is None:  # RFC 7030 3.2.3: a client may ask first what is wanted
            return answer_text(401, "a token is needed", WWW_Authenticate=_CHALLENGE)
        name, secret = credentials
        response = await self._sign(
            asked, "cert.enroll", lambda: self._enrolment.enrol(name, secret, asked.body), name
        )
        if response.status == 401:
            response.headers["WWW-Authenticate"] = _CHALLENGE
        return response

    async def _reenroll(self, asked: Asked) -> web.Response:
        current = _client_certificate(asked)
        if current is None:
            return answer_text(403, "the current certificate is needed in the TLS handshake")
        return await self._sign(
            asked,
            "cert.reenroll",
            lambda: self._enrolment.reenrol(current, asked.body),
            current.common_name,
        )

    async def _sign(
        self, asked: Asked, action: str, sign: Callable[[], Enrolled | Denied], name: str
    ) -> web.Response:
        """Sign in a thread, put the outcome on record, and answer."""
        if not _is_bound(asked):
            return answer_text(400, "the request is bound to another connection")
        async with self._one_at_a_time:
            now = time.monotonic()
            if self._refused.is_blocked(asked.address, now):
                wait = str(self._refused.seconds_left(now))
                return answer_text(429, "refused too often", Retry_After=wait)
            try:
                outcome = await asyncio.to_thread(sign)
            except (GatepostError, OSError) as error:
                log.error("enrolment failed", action=action, error=str(error))
                return answer_text(503, "no certificate can be signed now", Retry_After="300")
            if isinstance(outcome, Denied):
                self._refused.failed(asked.address, now)
        response = _answer(outcome)
        try:
            self._record(action, asked.address, name, outcome, response.status)
            await self._audit.flushed()
        except Unavailable as error:
            log.error("enrolment not recorded", action=action, error=str(error))
        return response

    def _record(
        self, action: str, address: str, name: str, outcome: Enrolled | Denied, status: int
    ) -> None:
        who = {"action": action, "peer_address": address}
        if isinstance(outcome, Denied):
            reason = f"{outcome.reason} ({outcome.detail})" if outcome.detail else outcome.reason
            # What was given as a name may be anything.
            asked_for = name[:64].encode("ascii", "backslashreplace").decode()
            self._audit.record(
                "refusal",
                {
                    **who,
                    "target": asked_for,
                    "reason": reason,
                    "reply": f"{status} {outcome.reason}",
                },
            )
            log.info("enrolment refused", **who, target=asked_for, reason=reason)
            return
        leaf = outcome.chain[0]
        self._audit.record(
            "admin",
            {
                **who,
                "user": outcome.identity,
                "target": leaf.common_name,
                "pins": [outcome.pin],
                "serial": leaf.serial,
                "not_after": leaf.not_after.isoformat(),
            },
        )
        log.info("enrolled", **who, identity=outcome.identity, serial=leaf.serial)


def server_context(files: CertificateFiles, ca: CaFolder) -> ssl.SSLContext:
    """Make the TLS context: our certificate, and that of a client of our CA if it shows one.

    Raises:
        ConfigurationError: there is no CA.
        OSError: a file cannot be read or is no certificate with its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # RFC 9325 4.2
    context.load_cert_chain(files.chain, files.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    for certificate in (ca.certificate(), *ca.intermediates()):
        context.load_verify_locations(cadata=certificate.der)
    context.num_tickets = 0  # each connection shows its certificate anew
    context.options |= ssl.OP_NO_TICKET
    return context


def _answer(outcome: Enrolled | Denied) -> web.Response:
    if isinstance(outcome, Denied):
        return answer_text(_STATUS[outcome.denial], outcome.reason)
    return _certificates(outcome.chain[:1])  # RFC 7030 4.2.3: the certificate alone


def _certificates(certificates: tuple[Certificate, ...]) -> web.Response:
    return web.Response(
        body=encode_certificates(certificates),
        headers={"Content-Type": f"{_PKCS7}; smime-type=certs-only"},
    )


def _client_certificate(asked: Asked) -> Certificate | None:
    """The certificate that TLS has verified to be of our CA."""
    connection = _connection(asked)
    der = connection.getpeercert(binary_form=True) if connection else None
    return Certificate(der) if der else None


def _is_bound(asked: Asked) -> bool:
    """Whether a request that names a connection names this one (RFC 7030 3.5); TLS 1.3 has no names."""
    connection = _connection(asked)
    unique = connection.get_channel_binding("tls-unique") if connection else None
    if unique is None or connection is None or connection.version() != "TLSv1.2":
        return True
    try:
        challenge = parse_request(asked.body).challenge
    except ConfigurationError:
        return True  # that is said elsewhere
    return challenge is None or hmac.compare_digest(challenge, base64.b64encode(unique))


def _connection(asked: Asked) -> ssl.SSLObject | None:
    transport = asked.request.transport
    return transport.get_extra_info("ssl_object") if transport else None
