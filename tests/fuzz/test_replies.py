"""Any bytes of a next hop: replies or Unavailable, and the same however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.errors import Unavailable
from relay.smtp.replies import Reply
from relay.smtp.reply_parser import ReplyParser
from tests.kit.fuzz import fuzz_settings, mutated, split_at

SEEDS = [
    b"220 mx.example.org ESMTP\r\n",
    b"250-mx.example.org\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
    b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n",
    b"550-5.7.1 No\r\n550 5.7.1 Never\r\n",
    b"421 4.3.2 Closing\r\n",
    b"250\r\n",
]


def outcome(pieces: list[bytes]) -> list[Reply | str]:
    """What a parser makes of bytes: its replies, and "broken" where it gave up."""
    parser = ReplyParser()
    found: list[Reply | str] = []
    for piece in pieces:
        parser.receive(piece)
        try:
            while (reply := parser.next_reply()) is not None:
                found.append(reply)
        except Unavailable:
            return [*found, "broken"]
    return found


@fuzz_settings()
@given(mutated(SEEDS), st.lists(st.integers(min_value=0), max_size=8))
def test_any_cut_gives_the_same(data: bytes, places: list[int]) -> None:
    whole = outcome([data])
    assert outcome([data[place : place + 1] for place in range(len(data))]) == whole
    assert outcome(split_at(data, places)) == whole


@fuzz_settings()
@given(st.binary(max_size=200))
def test_noise_is_no_reply(data: bytes) -> None:
    for found in outcome([data]):
        if isinstance(found, Reply):
            assert 200 <= found.code < 600
            assert all("\n" not in line and "\r" not in line for line in found.lines)
            assert str(found.code).encode() in data
