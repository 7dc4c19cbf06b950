"""What a worker knows from OCSP responders, and how it comes to know more.

Implements `pki.revocation.RevocationSource`. What is not known is asked: the keeper does that for all
workers together, and its news come by way of the supervisor. Whoever wants to wait for them can, until the
deadline and no longer. Makes no request itself, decides nothing. RFC 6960.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from relay.pki.revocation import Answer, Outcome
from relay.revocation.ocsp_news import News, OcspUrls, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, timedelta

    from relay.pki.certificate import Certificate

    Ask = Callable[[str, Certificate, Certificate], None]

__all__ = ["OcspView"]

_MAX_KNOWN: Final = 20_000
_NOTHING: Final = Answer(Outcome.NO_SOURCE, "it names no OCSP responder")


class OcspView:
    """The answers in this process; `learn` adds to them.

    Args:
        urls: where to ask.
        timeout: how long a question may take.
        ask: called with a key, a certificate and its CA: to have it asked about, or, once a day, to have
            its answer kept new.
    """

    def __init__(self, urls: OcspUrls, timeout: timedelta, ask: Ask) -> None:
        self._urls = urls
        self._timeout = timeout.total_seconds()
        self._ask = ask
        self._answers: dict[str, News] = {}
        self._failures: dict[str, News] = {}
        self._ends: list[float] = []
        self._told: dict[str, date] = {}
        self._open: dict[str, asyncio.Future[None]] = {}

    @property
    def name(self) -> str:
        """The word for it."""
        return "ocsp"

    @property
    def ends(self) -> Sequence[float]:
        """The moments, as seconds since 1970 and in order, when answers cease to count."""
        return self._ends

    # --- questions --------------------------------------------------------------------------

    def status(self, certificate: Certificate, issuer: Certificate, now: datetime) -> Answer:
        """Say what is known of a certificate. Raises MalformedCertificate."""
        if not self._urls.about(certificate, issuer):
            return _NOTHING
        key, moment = key_of(certificate, issuer), now.timestamp()
        found = self._answers.get(key)
        counts = found is not None and (
            found.outcome is Outcome.REVOKED or moment <= found.until
        )  # however old: only a newer answer takes a revocation back
        question = "" if counts or self._is_in_vain(key, moment) else key
        if question or self._told.get(key) != now.date():
            self._tell(key, certificate, issuer, now.date(), is_question=bool(question))
        if found is None:
            failure = self._failures.get(key)
            reason = failure.reason if failure else "the responder has not answered yet"
            return Answer(Outcome.UNREACHABLE, reason, question=question)
        if not counts:
            until = f"{datetime.fromtimestamp(found.until, UTC):%Y-%m-%d %H:%M} UTC"
            reason = f"the responder's answer counted until {until}"
            return Answer(Outcome.STALE, reason, question=question)
        return Answer(found.outcome, found.reason)

    def _is_in_vain(self, key: str, moment: float) -> bool:
        failure = self._failures.get(key)
        return failure is not None and moment < failure.until

    def _tell(
        self,
        key: str,
        certificate: Certificate,
        issuer: Certificate,
        today: date,
        *,
        is_question: bool,
    ) -> None:
        if is_question and key in self._open:
            return
        if len(self._told) >= _MAX_KNOWN:
            self._told.clear()
        self._told[key] = today
        if is_question:
            loop = asyncio.get_running_loop()
            self._open[key] = loop.create_future()
            loop.call_later(self._timeout, self._give_up, key, self._open[key])
        self._ask(key, certificate, issuer)

    async def answered(self, questions: Sequence[str]) -> None:
        """Wait until questions are answered, each as long as it may take."""
        waiting = [self._open[key] for key in questions if key in self._open]
        if waiting:
            await asyncio.wait(waiting)

    def _give_up(self, key: str, question: asyncio.Future[None]) -> None:
        if not question.done():
            question.set_result(None)
            self._open.pop(key, None)

    # --- answers ----------------------------------------------------------------------------

    def learn(self, news: Iterable[News]) -> bool:
        """Take news; return whether decisions made before may be others now."""
        has_changed = False
        for each in news:
            if each.outcome is Outcome.UNREACHABLE:
                self._failures[each.key] = each
                _limit(self._failures)
            else:
                has_changed |= self._replace(each)
            question = self._open.pop(each.key, None)
            if question is not None:
                question.set_result(None)
        return has_changed

    def _replace(self, news: News) -> bool:
        """Put an answer in the place of the one before."""
        before = self._answers.pop(news.key, None)
        if before is not None:
            del self._ends[bisect_left(self._ends, before.until)]
        self._failures.pop(news.key, None)
        self._answers[news.key] = news
        insort(self._ends, news.until)
        if len(self._answers) > _MAX_KNOWN:
            oldest = self._answers.pop(next(iter(self._answers)))
            del self._ends[bisect_left(self._ends, oldest.until)]
        # Who comes first is waiting for it, and nobody has been decided by it yet: no reason to ask
        # all live sessions again.
        was = Outcome.GOOD if before is None else before.outcome
        return news.outcome is not was


def _limit(known: dict[str, News]) -> None:
    if len(known) > _MAX_KNOWN:
        del known[next(iter(known))]
