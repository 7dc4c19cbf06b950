"""What is asked of OCSP responders, and what they answered last: as records, and as files.

An answer is kept as it came, signature and all, and judged again when it is read: a restart needs no network,
and a file that was meddled with proves nothing. Asks nobody itself. RFC 6960.
"""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from relay.pki.certificate import Certificate, MalformedCertificate
from relay.pki.revocation import Outcome
from relay.revocation.folder import write_atomically
from relay.revocation.ocsp_news import News, key_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from relay.pki.revocation import Answer

__all__ = ["Question", "QuestionFolder"]

_SUFFIX: Final = ".json"


@dataclass
class Question:
    """One certificate that is asked about.

    `wanted` is the day when it was last shown by a client, None if it is our own. `response` is the last
    answer as it came, `answer` what it was worth then; `problem` says why there has been no newer one
    since. `again_at` is when it is asked next, in seconds since 1970.
    """

    certificate: Certificate
    issuer: Certificate
    wanted: date | None
    response: bytes = b""
    answer: Answer | None = None
    problem: str = ""
    failures: int = 0
    again_at: float = 0.0
    timer: asyncio.TimerHandle | None = None
    is_asked: bool = False

    @property
    def key(self) -> str:
        """Its name everywhere."""
        return key_of(self.certificate, self.issuer)

    def counts(self, now: float, skew: timedelta) -> bool:
        """Whether the last answer still says something."""
        return self.answer is not None and (
            self.answer.outcome is Outcome.REVOKED or now <= self.end + skew.total_seconds()
        )

    @property
    def end(self) -> float:
        """When the last answer ceases to count; 0 if there is none."""
        if self.answer is None or self.answer.next_update is None:
            return 0.0
        return self.answer.next_update.timestamp()

    def news(self, skew: timedelta, timeout: timedelta) -> Iterator[News]:
        """What there is to tell of it, given how far clocks are apart and how long asking takes."""
        if self.answer is not None:
            end = self.end + skew.total_seconds()
            yield News(self.key, self.answer.outcome, self.answer.reason, end)
        if self.problem:
            # Nobody need wait for the next attempt either: if it succeeds, that is told.
            until = self.again_at + timeout.total_seconds()
            yield News(self.key, Outcome.UNREACHABLE, self.problem, until)


class QuestionFolder:
    """The files of questions about clients' and our own certificates, one a question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Question]:
        """Return all that is kept, answers not yet judged; remove what cannot be read. Raises OSError."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for path in sorted(self._path.iterdir()):
            with contextlib.suppress(ValueError, TypeError, KeyError, MalformedCertificate):
                question = _parse(json.loads(path.read_bytes()))
                if path.name == question.key + _SUFFIX:
                    found.append(question)
                    continue
            path.unlink()
        return found

    def write(self, question: Question) -> None:
        """Keep a question with its answer. Raises OSError."""
        kept = {
            "certificate": base64.b64encode(question.certificate.der).decode(),
            "issuer": base64.b64encode(question.issuer.der).decode(),
            "wanted": question.wanted.isoformat() if question.wanted else None,
            "response": base64.b64encode(question.response).decode(),
        }
        write_atomically(self._path / (question.key + _SUFFIX), json.dumps(kept).encode())

    def remove(self, question: Question) -> None:
        """Forget a question. Raises OSError."""
        (self._path / (question.key + _SUFFIX)).unlink(missing_ok=True)


def _parse(kept: dict[str, Any]) -> Question:
    certificate, issuer, response = (
        base64.b64decode(kept[name]) for name in ("certificate", "issuer", "response")
    )
    wanted = date.fromisoformat(kept["wanted"]) if kept["wanted"] else None
    return Question(Certificate(certificate), Certificate(issuer), wanted, response)
