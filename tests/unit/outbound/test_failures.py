"""What the client hears of the next hop."""

from __future__ import annotations

import pytest

from relay.errors import ConnectionLost, DeadlinePassed, GatepostError, HandshakeFailed, Unavailable
from relay.outbound.failures import passed_on, reply_to
from relay.smtp.client import SessionRefused
from relay.smtp.replies import Reply

SECRET = "mx7.internal 10.1.2.3"


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (Unavailable(SECRET), (451, "4.4.1")),
        (SessionRefused(SECRET, Reply(554, "5.3.2", (SECRET,))), (451, "4.4.1")),
        (ConnectionLost(SECRET), (451, "4.4.2")),
        (DeadlinePassed(SECRET), (451, "4.4.2")),
        (HandshakeFailed(SECRET), (451, "4.7.5")),
    ],
)
def test_a_failure_is_temporary_and_tells_nothing_of_the_inside(
    error: GatepostError, codes: tuple[int, str]
) -> None:
    reply = reply_to(error)
    assert (reply.code, reply.enhanced) == codes
    assert "internal" not in reply.text
    assert "10.1" not in reply.text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (Reply(250, "2.0.0", ("Ok",)), Reply(250, "2.0.0", ("Ok",))),
        (Reply(250, "", ("Ok",)), Reply(250, "2.0.0", ("Ok",))),
        (Reply(251, "2.1.5", ("Forwarded",)), Reply(250, "2.1.5", ("Forwarded",))),
        (Reply(421, "4.3.2", ("Bye",)), Reply(451, "4.3.2", ("Bye",))),
        (Reply(421, "", ("Bye",)), Reply(451, "4.0.0", ("Bye",))),
        (Reply(452, "4.2.2", ("a", "b")), Reply(452, "4.2.2", ("a", "b"))),
        (Reply(550, "", ("No",)), Reply(550, "5.0.0", ("No",))),
    ],
)  # fmt: skip
def test_an_answer_is_passed_on_with_its_words(theirs: Reply, ours: Reply) -> None:
    assert passed_on(theirs) == ours
