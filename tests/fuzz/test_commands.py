"""Whatever comes, the server engine says the same however it was cut up, and raises nothing.

The commands that must stand last in a group make one exception: bytes that come together with them
are a violation, bytes that come later are not. So the input is first played byte by byte, to learn
where such a command ended; then it is played again flight by flight, whole and cut at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.events import Closed, Event
from relay.smtp.sequence import LAST_IN_GROUP
from relay.smtp.server import ServerEngine, ServerLimits
from tests.kit.fuzz import fuzz_settings, mutated, split_at
from tests.kit.smtp_server import Caller, new_engine

if TYPE_CHECKING:
    from relay.smtp.commands import Command

LIMITS = ServerLimits(
    max_message_bytes=200,
    max_line_bytes=40,
    max_command_bytes=100,
    max_recipients=3,
    max_errors=5,
    max_idle_commands=8,
)
SEEDS = [
    b"EHLO client.example\r\n",
    b"HELO [192.0.2.1]\r\n",
    b"STARTTLS\r\n",
    b"MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=a+2Bb\r\n",
    b"MAIL FROM:<>\r\n",
    b"MAIL FROM:<refused@example.org>\r\n",
    "MAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\n".encode(),
    b'RCPT TO:<"b c"@example.com> NOTIFY=NEVER ORCPT=rfc822;x@y\r\n',
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<@a.example,@b.example:c@[IPv6:::1]>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\n..\r\n.x\r\n.\r\n",
    b"BDAT 5\r\nab\r\nc",
    b"BDAT 3 LAST\r\nx\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 300\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"HELP\r\n",
    b"QUIT\r\n",
    b"GET / HTTP/1.1\r\n",
    b"closing\r\n.\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 4 LAST\r\nx\r\n\r\n",
]


class Spy(ServerEngine):
    """Tells when a command has come that must stand last in its group."""

    has_synchronized = False

    def _command(self, command: Command, argument: bytes) -> Event | None:
        self.has_synchronized |= command in LAST_IN_GROUP
        return super()._command(command, argument)


def new_caller() -> Caller:
    engine = Spy("mx.example", LIMITS, tls_required=False, reference="K7Q2")
    caller = Caller(engine)
    caller.greet()
    return caller


def play_byte_by_byte(data: bytes) -> tuple[Caller, list[bytes]]:
    """Play the input, and cut it up into flights."""
    caller = new_caller()
    flights, start = [], 0
    for place in range(1, len(data) + 1):
        caller.feed(data[place - 1 : place])
        if caller.engine.has_synchronized or place == len(data):
            caller.engine.has_synchronized = False
            flights.append(data[start:place])
            start = place
    caller.end()
    return caller, flights


@fuzz_settings()
@given(
    data=st.lists(mutated(SEEDS), min_size=1, max_size=5).map(b"".join),
    cuts=st.lists(st.integers(min_value=0, max_value=2**16), max_size=8),
)
def test_the_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    slow, flights = play_byte_by_byte(data)
    for pieces in (flights, [piece for flight in flights for piece in split_at(flight, cuts)]):
        caller = new_caller()
        for piece in pieces:
            caller.feed(piece)
        caller.end()
        assert caller.events == slow.events
        assert caller.sent == slow.sent
        assert caller.is_closed


@fuzz_settings()
@given(data=mutated(SEEDS), tls_required=st.booleans(), before=st.booleans())
def test_nothing_is_raised_and_the_end_comes(data: bytes, tls_required: bool, before: bool) -> None:
    caller = Caller(new_engine(LIMITS, tls_required=tls_required), handshake=False)
    if before:
        caller.engine.receive(data)
    caller.greet()
    caller.feed(data)
    caller.end()
    assert isinstance(caller.events[-1], Closed)
    assert caller.engine.message_bytes == 0
    for line in caller.sent.split(b"\r\n")[:-1]:
        assert len(line) <= 510
        assert line[:3].isdigit()
        assert line[3:4] in (b" ", b"-")
