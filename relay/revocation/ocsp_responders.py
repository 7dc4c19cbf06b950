"""Asking OCSP responders over HTTP: one after the other, within one deadline, until an answer counts.

Never raises for what a responder does: that is an answer too, and says why it is none. When to ask, and
what is done with answers, is not known here. RFC 6960 appendix A, RFC 5019 (GET where it fits, for
caches; POST where it does not, and where what came by GET is of no use), RFC 9654 (nonces).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from relay.errors import Unavailable
from relay.pki.certificate import MalformedCertificate
from relay.pki.ocsp import build_request, judge_response, request_url
from relay.pki.revocation import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.net.fetcher import Fetcher
    from relay.pki.certificate import Certificate
    from relay.ports import Clock
    from relay.settings.revocation import Revocation

    InLists = Callable[[Certificate, Certificate], Answer]

__all__ = ["Exchange", "Responders"]

_NONCE_BYTES: Final = 32
"""RFC 9654 2.1."""
_MAX_AT_A_TIME: Final = 4
"""Requests at one responder; a slow one holds up its own questions only."""
_USELESS: Final = frozenset({Outcome.UNREACHABLE, Outcome.STALE})


class Exchange(NamedTuple):
    """What came of asking: the answer in DER, b"" if there was none, and what it is worth."""

    answer: Answer
    response: bytes = b""


class Responders:
    """All responders there are.

    Args:
        fetcher: makes the requests.
        settings: deadline, nonce, skew.
        clock: the time to judge answers by.
        make_nonce: gives so many random bytes.
        in_lists: says what the lists at hand say of a responder's certificate; given with its CA.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        settings: Revocation,
        clock: Clock,
        make_nonce: Callable[[int], bytes],
        in_lists: InLists,
    ) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._clock = clock
        self._make_nonce = make_nonce
        self._in_lists = in_lists
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def ask(
        self, certificate: Certificate, issuer: Certificate, urls: Sequence[str]
    ) -> Exchange:
        """Ask about a certificate; whatever happens, return within the deadline."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.ocsp_timeout.total_seconds()
        best = Exchange(Answer(Outcome.UNREACHABLE, "nothing says where to ask about it"))
        for position, url in enumerate(urls):
            share = (end - loop.time()) / (len(urls) - position)
            try:
                async with asyncio.timeout(share):
                    found = await self._ask_one(certificate, issuer, url)
            except TimeoutError:
                found = _failed(f"no whole answer within {share:.2g} s")
            except MalformedCertificate:
                return _failed("a certificate cannot be read")
            if found.answer.outcome not in _USELESS:
                return found
            if found.answer.outcome is Outcome.STALE or not best.response:
                best = found
        return best

    def judge(self, response: bytes, certificate: Certificate, issuer: Certificate) -> Exchange:
        """Say what an answer that was kept is worth now. Raises MalformedCertificate."""
        return self._judge(response, certificate, issuer, None)

    async def _ask_one(self, certificate: Certificate, issuer: Certificate, url: str) -> Exchange:
        host = urlsplit(url).netloc
        slots = self._slots.get(host)
        if slots is None:
            slots = self._slots[host] = asyncio.Semaphore(_MAX_AT_A_TIME)
        async with slots:
            nonce = None
            if self._settings.ocsp_nonce != "off":
                nonce = self._make_nonce(_NONCE_BYTES)
            request = build_request(certificate, issuer, nonce=nonce)
            found = None
            # An answer made for our nonce is of no use to any cache.
            if nonce is None and (address := request_url(url, request)) is not None:
                found = await self._exchange(address, None, certificate, issuer, None)
            if found is None or found.answer.outcome in _USELESS:
                found = await self._exchange(url, request, certificate, issuer, nonce)
            return found

    async def _exchange(
        self,
        url: str,
        request: bytes | None,
        certificate: Certificate,
        issuer: Certificate,
        nonce: bytes | None,
    ) -> Exchange:
        try:
            if request is None:
                fetched = await self._fetcher.get(url)
            else:
                fetched = await self._fetcher.post(url, request, "application/ocsp-request")
        except Unavailable as error:
            return _failed(str(error))
        return self._judge(fetched.body, certificate, issuer, nonce)

    def _judge(
        self, response: bytes, certificate: Certificate, issuer: Certificate, nonce: bytes | None
    ) -> Exchange:
        settings = self._settings
        found = judge_response(
            response,
            certificate,
            issuer,
            self._clock.now(),
            nonce=nonce,
            is_nonce_required=settings.ocsp_nonce == "require",
            skew=settings.ocsp_clock_skew,
            lifetime=settings.refresh,
        )
        if found.delegate is not None:
            listed = self._in_lists(found.delegate, issuer)
            if listed.outcome is Outcome.REVOKED:  # then its key may be anybody's, whatever it says
                return _failed(f"the responder's own certificate is in a CRL: {listed.reason}")
        return Exchange(found.answer, response)


def _failed(reason: str) -> Exchange:
    return Exchange(Answer(Outcome.UNREACHABLE, reason))
