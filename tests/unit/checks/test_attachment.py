"""What is said of the files of a message (looking into them has tests of its own)."""

from __future__ import annotations

import pytest

from relay.checks.attachment import FACTS, Settings, build
from relay.mail.files import FileLimits
from relay.mail.magic import ARCHIVES, PROGRAMS, UNLISTABLE
from relay.policy.facts import Stage
from tests.kit.checks import Offloading, ask, message_case, tools
from tests.kit.files import ELF, PE, message_with, zipped

NAMES = tuple(fact.name.removeprefix("attachment.") for fact in FACTS)


def facts(message, *names, settings=None, offload=None):
    check = build(settings or Settings(), tools(offload=offload))
    found = ask(
        check,
        message_case(message),
        Stage.MESSAGE,
        *(f"attachment.{name}" for name in names or NAMES),
    )
    return {name.removeprefix("attachment."): value for name, value in found.items()}


def fact(name, files, **settings):
    return facts(message_with(files), name, settings=Settings(**settings))[name]


NOTHING = {
    "count": 0,
    "names": (),
    "extensions": (),
    "types": (),
    "has_executable": False,
    "has_disguised": False,
    "has_encrypted": False,
    "has_macro": False,
    "is_bomb": False,
    "unlistable": (),
}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"Subject: x\r\n\r\nHello\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>Hello",
    ],
)
def test_a_text_has_no_files_and_never_leaves_the_event_loop(message):
    offload = Offloading()
    assert facts(message, offload=offload) == NOTHING
    assert offload.times == 0


@pytest.mark.parametrize(("size", "times"), [(15 * 1024, 0), (16 * 1024, 1)])
def test_a_large_message_leaves_the_event_loop_even_without_files(size, times):
    offload = Offloading()
    assert facts(message_with({}, text=b"x" * size), offload=offload) == NOTHING
    assert offload.times == times


def test_an_archive_with_a_program():
    offload = Offloading()
    message = message_with({"invoice.zip": zipped({"Invoice.PDF.exe": PE, "readme.txt": b"x"})})
    assert facts(message, offload=offload) == NOTHING | {
        "count": 1,
        "names": ("invoice.zip", "Invoice.PDF.exe", "readme.txt"),
        "extensions": ("zip", "exe", "txt"),
        "types": ("zip", "pe"),
        "has_executable": True,
        "has_disguised": True,
    }
    assert offload.times == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.exe": b"no program at all"}, True),
        ({"a.pdf": PE}, True),
        ({"a": ELF}, True),
        ({"a.JS": b"x"}, True),
        ({"a.exe.": b"x"}, True),
        ({"a.pdf": b"%PDF-1.7"}, False),
        ({"a.zip": zipped({"b.vbs": b"x"})}, True),
        ({"exe": b"x"}, False),
    ],
)
def test_programs(files, expected):
    assert fact("has_executable", files) is expected


def test_the_operator_says_which_extensions_are_programs():
    assert fact("has_executable", {"a.foo": b"x"}, executable_extensions=["foo"])
    assert not fact("has_executable", {"a.exe": b"x"}, executable_extensions=["foo"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"invoice.pdf.exe": PE}, True),
        ({"invoice.pdf .exe": PE}, True),
        ({"invoice.pdf": PE}, True),
        ({"invoice          .exe": PE}, True),
        ({"invoice\u202efdp.exe": PE}, True),
        ({"a.zip": zipped({"photo.jpg.scr": PE})}, True),
        ({"setup.exe": PE}, False),
        ({"setup-1.2.exe": PE}, False),
        ({"backup.tar.gz": b"x"}, False),
        ({"invoice.2026.pdf": b"%PDF-1.7"}, False),
        ({"letter.doc.pdf": b"%PDF-1.7"}, False),
    ],
)
def test_disguises(files, expected):
    assert fact("has_disguised", files) is expected


def test_names_are_made_harmless_and_limited():
    message = message_with({"x": b""}).replace(
        b'filename="x"', b"filename*=utf-8''a%0D%0Ab%00%1B%E2%80%AEc" + b"d" * 300
    )
    (name,) = facts(message, "names")["names"]
    assert name.startswith("a??b???cddd")
    assert len(name) == 255
    many = zipped({f"{number}.txt": b"" for number in range(500)})
    assert len(fact("names", {"a.zip": many})) == 100


def test_limits_come_from_the_settings():
    nested = {"a.zip": zipped({"b.zip": zipped({"c.exe": b"x"})})}
    assert fact("unlistable", nested) == ()
    assert fact("unlistable", nested, max_depth=1) == ("b.zip",)
    assert fact("unlistable", nested, max_entries=1) == ("b.zip",)
    assert fact("is_bomb", {"a.zip": zipped({"0": b"\0" * 99_999})}, bomb_size="10kB", bomb_ratio=9)


def test_every_type_is_documented():
    (doc,) = (fact.doc for fact in FACTS if fact.name == "attachment.types")
    assert {*PROGRAMS, *ARCHIVES, *UNLISTABLE, "ooxml", "odf", "ole"} <= set(doc.split('"')[1::2])


def test_the_settings_are_the_limits():
    limits = FileLimits()
    settings = Settings()
    assert (settings.max_depth, settings.max_entries) == (limits.depth, limits.entries)
    assert settings.max_unpacked == limits.unpacked_bytes
    assert (settings.bomb_ratio, settings.bomb_size) == (limits.bomb_ratio, limits.bomb_bytes)
