"""Replies on the wire."""

from __future__ import annotations

import pytest

from relay.smtp.replies import Reply, format_reply


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250, "2.1.0", ("Ok",)), b"250 2.1.0 Ok\r\n"),
        (Reply(354, "", ("Go ahead",)), b"354 Go ahead\r\n"),
        (Reply(250, "", ("mx", "DSN", "SIZE 0")), b"250-mx\r\n250-DSN\r\n250 SIZE 0\r\n"),
        # RFC 2034 4: the enhanced code stands on every line.
        (Reply(550, "5.7.1", ("No", "never")), b"550-5.7.1 No\r\n550 5.7.1 never\r\n"),
        (Reply(250, "", ()), b"250 \r\n"),
        (Reply(250, "", ("",)), b"250 \r\n"),
    ],
)
def test_format(reply: Reply, wire: bytes) -> None:
    assert format_reply(reply) == wire


@pytest.mark.parametrize(
    "evil", ["a\r\n250 b", "a\nb", "a\0b", "a\x1b[2Jb", "a\u2028b", "a\tb", "a\x7fb"]
)
def test_text_from_elsewhere_can_not_add_a_line(evil: str) -> None:
    wire = format_reply(Reply(550, "5.1.1", (evil,)))
    assert wire.count(b"\n") == 1
    assert wire.endswith(b"b\r\n")
    assert all(0x20 <= byte <= 0x7E for byte in wire[:-2])
    assert b"?" in wire


def test_letters_beyond_ascii_become_question_marks() -> None:
    assert format_reply(Reply(550, "", ("für",))) == b"550 f?r\r\n"


def test_a_line_is_cut_at_the_length_that_the_rfc_allows() -> None:
    lines = format_reply(Reply(550, "5.1.1", ("x" * 600, "y" * 600))).splitlines(keepends=True)
    assert [len(line) for line in lines] == [512, 512]
    assert all(line.endswith(b"\r\n") for line in lines)


def test_what_a_code_means() -> None:
    seen = [
        (Reply(code, "", ("x",)).is_positive, Reply(code, "", ("x",)).is_transient,
         Reply(code, "", ("x",)).is_permanent)
        for code in (250, 354, 421, 452, 500, 554)
    ]  # fmt: skip
    assert (
        seen == [(True, False, False)] * 2 + [(False, True, False)] * 2 + [(False, False, True)] * 2
    )


def test_a_reply_on_one_line_for_the_log() -> None:
    assert str(Reply(550, "5.7.1", ("No,", "never"))) == "550 5.7.1 No, never"
    assert str(Reply(354, "", ("Go",))) == "354 Go"
    assert Reply(550, "5.7.1", ("No,", "never")).text == "No, never"
