"""What is said of the structure of a message (the walker has tests of its own)."""

from __future__ import annotations

import pytest

from relay.checks.mime import FACTS, Settings, build
from relay.mail.headers import split
from relay.mail.mime import read_structure
from relay.policy.facts import Stage
from tests.fuzz.test_mime import DEFECTS
from tests.kit.checks import Offloading, ask, message_case, tools

MESSAGE = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
)


def test_what_a_message_consists_of():
    found = ask(
        build(Settings(), tools()), message_case(MESSAGE), Stage.MESSAGE, *(f.name for f in FACTS)
    )
    assert found == {
        "mime.parts": 2,
        "mime.depth": 1,
        "mime.types": ("multipart/mixed", "text/html"),
        "mime.defects": ("duplicate_field",),
    }


@pytest.mark.parametrize(("size", "times"), [(10, 0), (15 * 1024, 0), (16 * 1024, 1)])
def test_a_large_message_leaves_the_event_loop(size, times):
    offload = Offloading()
    check = build(Settings(), tools(offload=offload))
    ask(check, message_case(MESSAGE + b"x" * size), Stage.MESSAGE, "mime.parts")
    assert offload.times == times


def test_what_is_found_is_kept_for_the_other_checks():
    case = message_case(MESSAGE)
    ask(build(Settings(), tools()), case, Stage.MESSAGE, "mime.parts")
    assert case.header.structure == read_structure(MESSAGE)
    assert split(MESSAGE).structure is None


def test_every_defect_is_documented():
    (doc,) = (fact.doc for fact in FACTS if fact.name == "mime.defects")
    assert set(doc.split('"')[1::2]) == DEFECTS
