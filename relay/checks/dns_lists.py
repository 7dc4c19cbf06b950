"""Block and allow lists in the DNS: asking several at once, and noticing which can't be trusted.

What `dnsbl` and `uri` share. It knows lists and names, not what the names have to do with mail.
RFC 5782: an address or a name is listed if the list's zone has an A record for it in 127.0.0.0/8.

A list is not counted, and paused for a while, if
  - it does not answer in time (three times in a row): it then delays nobody any more;
  - it lists what no list may list, or does not list what each must (RFC 5782 5): it has gone, and
    its zone answers for everything, or for nothing;
  - it answers 127.255.255.x: it tells us that it does not answer us.
The pause doubles each time. When it is over, one question goes out before the others do.
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from relay.errors import Unavailable
from relay.mail.domains import ascii_host, list_names
from relay.settings.table import Table
from relay.settings.values import Duration, is_host_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay.ports import Clock, Resolver

__all__ = ["AnswerPattern", "DnsList", "DnsLists", "Finding", "Limits", "parse_answer_pattern"]

Subject = IPv4Address | IPv6Address | str
"""What may be listed: an address, or a domain name."""


# --- settings ----------------------------------------------------------------------------------


class AnswerPattern(NamedTuple):
    """Which answers of a list count: one range set an octet, and bits of which one must be set."""

    text: str
    octets: tuple[frozenset[int], ...]
    bits: int = 0

    def matches(self, answer: IPv4Address) -> bool:
        """Whether an answer counts."""
        if self.bits and not self.bits & int(answer):
            return False
        return all(
            octet in allowed for octet, allowed in zip(answer.packed, self.octets, strict=True)
        )


_OCTET: Final = r"(?:\d{1,3}|\[[\d.;]+\])"
_PATTERN: Final = re.compile(rf"({_OCTET})\.({_OCTET})\.({_OCTET})\.({_OCTET})(?:&([\d.]+))?")


def parse_answer_pattern(value: Any) -> Any:
    """Read "127.0.0.2", "127.0.0.[2..11]", "127.0.0.[4;6]" or, for bits, "127.0.0.[0..255]&0.0.0.8"."""
    found = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None:
            octets = tuple(_octets(found[index]) for index in range(1, 5))
            return AnswerPattern(value, octets, int(IPv4Address(found[5] or "0.0.0.0")))  # noqa: S104
    except ValueError:
        pass
    raise ValueError(
        f'{value!r} is no answer of a list; write it as "127.0.0.2", "127.0.0.[2..11]", '
        '"127.0.0.[4;6]" or "127.0.0.[0..255]&0.0.0.8"'
    )


def _octets(text: str) -> frozenset[int]:
    found: set[int] = set()
    for piece in text.strip("[]").split(";"):
        first, dots, last = piece.partition("..")
        low, high = int(first), int(last if dots else first)
        if not 0 <= low <= high <= 255:
            raise ValueError(piece)
        found.update(range(low, high + 1))
    return frozenset(found)


def _parse_zone(value: Any) -> Any:
    if isinstance(value, str) and is_host_name(value) and "." in value:
        return value.lower().removesuffix(".")
    raise ValueError(f'{value!r} is no zone of a list; write it as "dnsbl.example.org"')


class DnsList(Table):
    """One list, and what it weighs. The same zone may stand several times, for several answers."""

    zone: Annotated[str, BeforeValidator(_parse_zone)]
    """The zone that is asked, as "dnsbl.example.org"."""

    weight: float = Field(default=1.0, ge=-1000, le=1000)
    """What an entry adds to the score; below 0 it is a list of those to be trusted."""

    answers: tuple[
        Annotated[
            AnswerPattern,
            BeforeValidator(parse_answer_pattern),
            PlainSerializer(lambda pattern: pattern.text),
            WithJsonSchema({"type": "string"}),
        ],
        ...,
    ] = ()
    """Which answers count, as "127.0.0.2", "127.0.0.[2..11]" or, bit by bit,
    "127.0.0.[0..255]&0.0.0.8"; empty: all but 127.0.0.1."""

    test_points: bool = True
    """Whether the list has the test entries of RFC 5782 (127.0.0.2, or TEST), by which it is seen
    that it is alive. That it does not list everything (127.0.0.1, INVALID) is looked at in any case."""


class Limits(Table):
    """How long lists are waited for; see the keys of the tables that take these over."""

    list_timeout: Duration = timedelta(seconds=3)
    """How long one list may take; after that it counts as silent. All are asked at once."""

    pause: Duration = timedelta(seconds=30)
    """How long a list is left alone that was silent three times in a row, or gives answers that
    can't be right; doubled each time, up to one hour."""


# --- one zone ----------------------------------------------------------------------------------

_SILENT_TIMES: Final = 3
_LONGEST_PAUSE_SECONDS: Final = 3600.0
_PROBE_SECONDS: Final = 3600.0
_FRESH_SECONDS: Final = 300.0  # an entry counts only if the list was sound so shortly before
_ADDRESS_POINTS: Final = ("1.0.0.127", "2.0.0.127")  # RFC 5782 5: never listed, always listed
_NAME_POINTS: Final = ("invalid", "test")
_LISTS_NOTHING: Final = IPv4Address("127.0.0.1")


class _Zone:
    """One zone, with what is remembered of how it has behaved."""

    def __init__(self, name: str, resolver: Resolver, clock: Clock, limits: Limits) -> None:
        self.name = name
        self.has_test_points = True
        self._resolver = resolver
        self._clock = clock
        self._deadline = limits.list_timeout.total_seconds()
        self._first_pause = limits.pause.total_seconds()
        self._pause = self._first_pause
        self._paused_until = 0.0
        self._silent_times = 0
        self._probed: dict[tuple[str, str], float] = {}  # when it was sound
        self.problem = ""

    async def ask(self, labels: Sequence[str], points: tuple[str, str]) -> list[IPv4Address] | None:
        """Return the list's answers to these names in it; None if it has nothing to be counted."""
        now = self._clock.monotonic()
        if now < self._paused_until:
            return None
        if self.problem:
            # The pause is over: this question is the trial, others wait for its outcome.
            self._paused_until = now + self._deadline
        try:
            async with asyncio.timeout(self._deadline):
                problem, answers = await asyncio.gather(
                    self._probe(points, _PROBE_SECONDS), self._answers(labels)
                )
                if answers and not problem:
                    problem = await self._probe(points, _FRESH_SECONDS)
        except (TimeoutError, Unavailable):
            self._note_silence()
            return None
        if any(answer.packed[1:3] == b"\xff\xff" for answer in answers):
            problem = "does not answer us"
        if problem:
            self._note_problem(problem)
            return None
        self._note_health()
        return answers

    async def text(self, label: str) -> str:
        """Return the list's reason for an entry, "" if it gives none."""
        try:
            async with asyncio.timeout(_REASON_SECONDS):
                answer = await self._resolver.resolve(f"{label}.{self.name}", "TXT")
        except (TimeoutError, Unavailable):
            return ""
        return _NOT_IN_A_REASON.sub("?", answer.records[0][:200]) if answer.records else ""

    async def _answers(self, labels: Sequence[str]) -> list[IPv4Address]:
        found = await asyncio.gather(*(self._addresses(label) for label in labels))
        return [answer for answers in found for answer in answers]

    async def _addresses(self, label: str) -> list[IPv4Address]:
        answer = await self._resolver.resolve(f"{label}.{self.name}", "A")
        return [found for record in answer.records if (found := _listing(record))]

    async def _probe(self, points: tuple[str, str], seconds: float) -> str:
        """Unless done within `seconds`, ask for what is never and what is always listed.

        Returns:
            What is wrong, "" for nothing.
        """
        now = self._clock.monotonic()
        if now < self._probed.get(points, -seconds) + seconds:
            return ""
        never, always = points
        if await self._addresses(never):
            return f"lists {_shown(never)}"
        if self.has_test_points and not await self._addresses(always):
            return f"does not list {_shown(always)}"
        self._probed[points] = now
        return ""

    def _note_health(self) -> None:
        self.problem = ""
        self._silent_times = 0
        self._pause = self._first_pause
        self._paused_until = 0.0

    def _note_silence(self) -> None:
        self._silent_times += 1
        if self._silent_times >= _SILENT_TIMES:
            self._note_problem("silent")

    def _note_problem(self, problem: str) -> None:
        now = self._clock.monotonic()
        if self.problem and now < self._paused_until - self._deadline:
            return  # another question that was under way has said so before
        self.problem = problem
        self._paused_until = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)


_REASON_SECONDS: Final = 1.0
_NOT_IN_A_REASON: Final = re.compile(r"[^ -~]")


def _listing(record: str) -> IPv4Address | None:
    """Return the answer if it says that something is listed: RFC 5782 2.1, 127.0.0.0/8."""
    try:
        answer = IPv4Address(record)
    except AddressValueError:
        return None
    return answer if answer.is_loopback else None


def _shown(point: str) -> str:
    return ".".join(reversed(point.split("."))) if point[0].isdigit() else point.upper()


# --- all of them -------------------------------------------------------------------------------


class Finding(NamedTuple):
    """What the lists say of one or several subjects.

    `listed` and `allowed` are the zones with a weight above and below 0. `unanswered` are those
    that could not be counted, each with the reason: "dnsbl.example.org: silent".
    """

    score: float = 0.0
    listed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


class DnsLists:
    """Some lists, asked together. Never raises for what they do; never waits over `list_timeout`."""

    def __init__(
        self, lists: Iterable[DnsList], resolver: Resolver, clock: Clock, limits: Limits
    ) -> None:
        self._entries = tuple(lists)
        self._zones: dict[str, _Zone] = {}
        for entry in self._entries:
            zone = self._zones.setdefault(entry.zone, _Zone(entry.zone, resolver, clock, limits))
            zone.has_test_points &= entry.test_points

    def __bool__(self) -> bool:
        return bool(self._entries)

    async def look_up(self, subjects: Sequence[Subject]) -> Finding:
        """Ask all lists for all subjects, which are all addresses or all names."""
        labels = _labels(subjects)
        if not labels or not self._entries:
            return Finding()
        points = _NAME_POINTS if isinstance(subjects[0], str) else _ADDRESS_POINTS
        zones = list(self._zones.values())
        answers = await asyncio.gather(*(zone.ask(labels, points) for zone in zones))
        return self._finding(dict(zip(self._zones, answers, strict=True)))

    async def reasons(self, subjects: Sequence[Subject], listed: Sequence[str]) -> tuple[str, ...]:
        """Return what the lists give as their reasons for these subjects: "zone: text"."""
        questions = [(zone, label) for zone in listed for label in _labels(subjects)]
        texts = await asyncio.gather(*(self._zones[zone].text(label) for zone, label in questions))
        return tuple(
            f"{zone}: {text}" for (zone, _), text in zip(questions, texts, strict=True) if text
        )

    def _finding(self, answers: dict[str, list[IPv4Address] | None]) -> Finding:
        score = 0.0
        listed: dict[str, None] = {}
        allowed: dict[str, None] = {}
        for entry in self._entries:
            if any(_counts(entry, answer) for answer in answers[entry.zone] or ()):
                score += entry.weight
                (allowed if entry.weight < 0 else listed)[entry.zone] = None
        return Finding(
            score,
            tuple(listed),
            tuple(allowed),
            tuple(
                f"{zone}: {self._zones[zone].problem or 'silent'}"
                for zone, found in answers.items()
                if found is None
            ),
        )


def _counts(entry: DnsList, answer: IPv4Address) -> bool:
    if not entry.answers:
        return answer != _LISTS_NOTHING
    return any(pattern.matches(answer) for pattern in entry.answers)


def _labels(subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Return the names below a list's zone under which the subjects would stand."""
    labels: dict[str, None] = {}
    for subject in subjects:
        if isinstance(subject, str):
            host = ascii_host(subject)
            if host and is_host_name(host):
                labels |= dict.fromkeys(list_names(host))
        else:
            # RFC 5782 2.1, 2.4: octets or nibbles reversed, as in the reverse tree
            labels[subject.reverse_pointer.removesuffix(".arpa").rpartition(".")[0]] = None
    return tuple(labels)
