"""Keeps OCSP answers new: asks before they end, and after a failure again and again, ever more rarely.

Lives in the process that keeps the lists, so that each certificate is asked about once a host, however
many workers want to know. Of clients' certificates the outcome is told to all workers; of our own the
answer itself, to be stapled. What either means for a session is not known here. RFC 6960, RFC 6066 8.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from relay.pki.certificate import MalformedCertificate
from relay.pki.revocation import Answer, Outcome
from relay.revocation.ocsp_news import News, OcspUrls, Staple, key_of
from relay.revocation.ocsp_questions import Question, QuestionFolder
from relay.revocation.ocsp_responders import Exchange
from relay.revocation.tasks import Tasks
from relay.revocation.waiting import next_look, next_try

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from relay.pki.certificate import Certificate
    from relay.ports import Clock
    from relay.revocation.ocsp_responders import Responders
    from relay.settings.revocation import Revocation

__all__ = ["MAX_QUESTIONS", "OcspKeeper", "Own"]

log = structlog.get_logger("gatepost")

MAX_QUESTIONS: Final = 20_000
_FORGOTTEN_AFTER: Final = timedelta(days=7)
"""A client that has not come for so long is asked about when it comes."""


class Own(NamedTuple):
    """A certificate of ours with its CA; `is_needed` if it may not be shown without an answer."""

    certificate: Certificate
    issuer: Certificate
    is_needed: bool = False


class OcspKeeper:
    """Keeps the answers of one folder.

    Args:
        folder: where they are kept.
        settings: how often, how long.
        urls: where to ask about which certificate.
        clock: the time.
        responders: make the requests.
        own: our own certificates.
        tell: called with news for all workers.
        show: called with each answer about a certificate of our own.
        chance: a number from 0 to 1, so that many relays do not all come at the same time.
    """

    def __init__(
        self,
        folder: Path,
        settings: Revocation,
        urls: OcspUrls,
        clock: Clock,
        responders: Responders,
        *,
        own: Iterable[Own] = (),
        tell: Callable[[Sequence[News]], None],
        show: Callable[[Staple], None],
        chance: Callable[[], float],
    ) -> None:
        self._folder = QuestionFolder(folder)
        self._settings = settings
        self._urls = urls
        self._own = {key_of(each.certificate, each.issuer): each for each in own}
        self._clock = clock
        self._responders = responders
        self._tell = tell
        self._show = show
        self._chance = chance
        self._questions: dict[str, Question] = {}
        self._tasks = Tasks("asking an OCSP responder failed")
        self._failing: dict[str, set[str]] = {}

    # --- life ---------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Tell what is kept; ask about those of our own certificates that are of no use without."""
        now = self._now()
        for question in self._folder.read():
            if self._take_up(question):
                self._questions[question.key] = question
            await asyncio.sleep(0)
        self._tell([news for each in self._questions.values() for news in self._news(each)])
        for key, each in self._own.items():
            question = self._questions.setdefault(
                key, Question(each.certificate, each.issuer, None)
            )
            self._staple(question)
            if self._settings.fetch and each.is_needed and question.end <= now:
                await self._ask(question)

    def start(self) -> None:
        """Begin to keep the answers new."""
        for question in self._questions.values():
            if self._settings.fetch and question.timer is None:
                self._ask_in(question, self._first_wait(question))

    def stop(self) -> None:
        """End all that was begun."""
        for question in self._questions.values():
            if question.timer is not None:
                question.timer.cancel()
        self._tasks.stop()

    def _take_up(self, question: Question) -> bool:
        """Judge a kept answer anew; return whether the question is still one."""
        is_ours = question.key in self._own
        if (question.wanted is None and not is_ours) or self._is_forgotten(question):
            self._folder.remove(question)
            return False
        if is_ours:
            question.wanted = None
        found = self._responders.judge(question.response, question.certificate, question.issuer)
        if found.answer.outcome not in {Outcome.UNREACHABLE, Outcome.STALE}:
            question.answer = found.answer
        return True

    def _is_forgotten(self, question: Question) -> bool:
        now = self._clock.now()
        return question.wanted is not None and (
            now.date() - question.wanted > _FORGOTTEN_AFTER or now > question.certificate.not_after
        )

    # --- what workers want --------------------------------------------------------------------

    def ask(self, certificate: Certificate, issuer: Certificate) -> None:
        """A worker wants to know: tell what is known, and ask if that is nothing. Never raises."""
        try:
            key = key_of(certificate, issuer)
            urls = self._urls.about(certificate, issuer)
        except MalformedCertificate:
            return
        question = self._questions.get(key)
        if question is None:
            if not urls or not self._settings.fetch:
                return
            self._make_room()
            question = self._questions[key] = Question(certificate, issuer, None)
        if key not in self._own:
            question.wanted = self._clock.now().date()
        if question.is_asked:
            return  # the news will come
        if question.counts(self._now(), self._settings.ocsp_clock_skew) or (
            question.problem and self._now() < question.again_at
        ):
            self._tell(self._news(question))
        else:
            self._start(question)

    def _make_room(self) -> None:
        """Forget whoever has not come for longest."""
        if len(self._questions) >= MAX_QUESTIONS:
            clients = [each for each in self._questions.values() if each.wanted is not None]
            self._forget(min(clients, key=lambda each: (each.wanted, each.again_at)))

    def _forget(self, question: Question) -> None:
        if question.timer is not None:
            question.timer.cancel()
        self._questions.pop(question.key, None)
        try:
            self._folder.remove(question)
        except OSError as error:
            log.error("OCSP answer not removed", error=str(error))

    # --- asking -------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _first_wait(self, question: Question) -> float:
        """How long a question that was taken up can wait, in seconds."""
        if question.answer is None:
            return 0.0
        until = question.answer.next_update or self._clock.now()
        wait = next_look(self._clock.now(), until, self._settings, self._chance())
        return wait * self._chance()

    def _ask_in(self, question: Question, seconds: float) -> None:
        question.again_at = self._now() + seconds
        loop = asyncio.get_running_loop()
        question.timer = loop.call_later(seconds, self._start, question)

    def _start(self, question: Question) -> None:
        if self._is_forgotten(question):
            self._forget(question)
        elif not question.is_asked:
            question.is_asked = True  # from now on: the task begins later
            self._tasks.start(self._ask(question))

    async def _ask(self, question: Question) -> None:
        """Ask once, take the answer, and set the time for the next."""
        if question.timer is not None:
            question.timer.cancel()
        question.is_asked = True
        urls: Sequence[str] = ()
        try:
            urls = self._urls.about(question.certificate, question.issuer)
            exchange = await self._responders.ask(question.certificate, question.issuer, urls)
        except Exception:  # whatever it is, the question stays, and is asked again
            log.exception("OCSP responder not asked")
            exchange = Exchange(Answer(Outcome.UNREACHABLE, "an error of our own, see the log"))
        finally:
            question.is_asked = False
        if question.key not in self._questions:
            return  # room was needed
        self._take(question, exchange)
        self._report(question, urls[0] if urls else "")
        self._tell(self._news(question))

    def _take(self, question: Question, exchange: Exchange) -> None:
        """Put an answer in the place of the one before, if it is a better one."""
        answer, before = exchange.answer, question.answer
        question.problem = ""
        if answer.outcome in {Outcome.UNREACHABLE, Outcome.STALE}:
            question.problem = answer.reason
        elif before is not None and _is_older(answer, before):
            # Whoever is in between may have kept it from before a revocation.
            question.problem = "the answer is older than the one in use"
        else:
            question.answer, question.response = answer, exchange.response
            self._keep(question)
            self._staple(question)
        if question.problem or answer.outcome is Outcome.UNKNOWN:
            self._put_off(question)
            return
        question.failures = 0
        until = answer.next_update or self._clock.now()
        now = self._clock.now()
        self._ask_in(question, next_look(now, until, self._settings, self._chance()))

    def _put_off(self, question: Question) -> None:
        wait = next_try(question.failures, self._settings, self._chance())
        question.failures += 1
        self._ask_in(question, wait)

    def _keep(self, question: Question) -> None:
        try:
            self._folder.write(question)
        except OSError as error:
            log.error("OCSP answer not kept", error=str(error))

    def _news(self, question: Question) -> list[News]:
        settings = self._settings
        return list(question.news(settings.ocsp_clock_skew, settings.ocsp_timeout))

    # --- our own ------------------------------------------------------------------------------

    def _staple(self, question: Question) -> None:
        """Have an answer about ourselves shown; one that says anything but good helps nobody."""
        if question.key not in self._own or question.answer is None:
            return
        name = question.certificate.subject
        if question.answer.outcome is not Outcome.GOOD:
            log.error("our own certificate", certificate=name, problem=question.answer.reason)
            self._show(Staple(question.certificate.sha256, b"", 0.0))
            return
        self._show(Staple(question.certificate.sha256, question.response, question.end))

    # --- the log ------------------------------------------------------------------------------

    def _report(self, question: Question, url: str) -> None:
        """Say when a responder begins to fail, and when it is back: not for each certificate."""
        failing = self._failing.setdefault(url, set())
        if question.problem:
            if not failing:
                log.warning(
                    "OCSP responder fails",
                    url=url,
                    certificate=question.certificate.subject,
                    problem=question.problem,
                )
            failing.add(question.key)
            return
        if question.key in failing and len(failing) == 1:
            log.info("OCSP responder is back", url=url)
        failing.discard(question.key)
        if not failing:
            del self._failing[url]


def _is_older(answer: Answer, before: Answer) -> bool:
    made, made_before = answer.this_update, before.this_update
    return made is not None and made_before is not None and made < made_before
