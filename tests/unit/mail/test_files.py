"""What is found in the files of a message, and that bombs cost little."""

from __future__ import annotations

import struct
import time

import pytest

from relay.mail.files import FileLimits, extension_of, files_of
from relay.mail.mime import read_structure
from tests.kit.files import (
    ELF,
    OLE,
    PE,
    gzipped,
    message_with,
    overlapping_zip,
    tarred,
    with_encryption_flags,
    zipped,
)

OOXML = {"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}
VBA = "_VBA_PROJECT".encode("utf-16-le")
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def look(message, **limits):
    return files_of(message, read_structure(message), FileLimits(**limits))


def found_in(data, name="a.bin", **limits):
    return look(message_with({name: data}), **limits)


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.exe", "exe"),
        ("A.EXE", "exe"),
        ("a.pdf.exe", "exe"),
        ("a.exe. .", "exe"),
        ("a.exe\0", "exe"),
        ("a.exe   ", "exe"),
        ("a. exe", "exe"),
        ("folder.d/a", ""),
        ("folder\\a.exe", "exe"),
        (".profile", ""),
        ("a", ""),
        ("", ""),
        ("a.", ""),
    ],
)
def test_extensions(name, extension):
    assert extension_of(name) == extension


def test_a_message_of_text_has_no_files():
    found = look(b"Subject: x\r\n\r\nHello\r\n")
    assert (found.count, found.names, found.kinds) == (0, {}, {})


def test_files_are_counted_and_named():
    found = look(message_with({"a.exe": PE, "b.txt": b"text"}))
    assert (found.count, list(found.names), list(found.kinds)) == (2, ["a.exe", "b.txt"], ["pe"])


@pytest.mark.parametrize(
    ("data", "names", "kinds"),
    [
        (zipped({"x.exe": PE, "y.txt": b"y"}), ["x.exe", "y.txt"], ["zip", "pe"]),
        (tarred({"x.exe": PE}), ["x.exe"], ["tar", "pe"]),
        (gzipped(ELF, "x"), ["x"], ["gzip", "elf"]),
        (gzipped(tarred({"x.exe": PE})), ["x.exe"], ["gzip", "tar", "pe"]),
        (zipped({"in.zip": zipped({"x.exe": PE})}), ["in.zip", "x.exe"], ["zip", "pe"]),
        (zipped({"x.doc": OLE}), ["x.doc"], ["zip", "ole"]),
        (zipped(OOXML), [], ["ooxml"]),
        (zipped(OOXML | {"word/x.exe": PE}), ["word/x.exe"], ["ooxml", "pe"]),
        (zipped(OOXML | {"word/media/image.png": PE}), [], ["ooxml", "pe"]),
        (zipped({"META-INF/MANIFEST.MF": b"", "A.class": b"\xca\xfe\xba\xbe\0\0\0\x34"}),
         ["META-INF/MANIFEST.MF", "A.class"], ["jar", "java"]),
    ],
)  # fmt: skip
def test_archives_are_looked_into(data, names, kinds):
    found = found_in(data)
    assert list(found.names) == ["a.bin", *names]
    assert list(found.kinds) == kinds
    assert not found.is_bomb
    assert not found.unlistable


@pytest.mark.parametrize(
    ("data", "has_macro"),
    [
        (OLE, False),
        (OLE + VBA, True),
        (zipped(OOXML), False),
        (zipped(OOXML | {"word/vbaProject.bin": b"x"}), True),
        (zipped(OOXML | {"xl/macrosheets/sheet1.xml": b"x"}), True),
        (zipped({"mimetype": b"application/vnd.oasis.opendocument.text",
                 "Basic/Standard/Module1.xml": b"x"}, method=0), True),
        (zipped({"report.docm": zipped(OOXML | {"word/VBAPROJECT.BIN": b"x"})}), True),
        (zipped({"report.doc": OLE + VBA}), True),
        (zipped({"vbaProject.bin.txt": b"x"}), False),
        (zipped({"Basic/course.txt": b"x"}), False),
    ],
)  # fmt: skip
def test_macros(data, has_macro):
    assert found_in(data).has_macro is has_macro


@pytest.mark.parametrize(
    "data", [with_encryption_flags(zipped({"x": b"x"})), OLE + ENCRYPTED,
             zipped({"in.zip": with_encryption_flags(zipped({"x": b"x"}))})]
)  # fmt: skip
def test_encrypted_files(data):
    assert found_in(data).has_encrypted


@pytest.mark.parametrize(
    ("data", "unlistable"),
    [
        (b"Rar!\x1a\x07\x01\0", ["a.bin"]),
        (b"7z\xbc\xaf\x27\x1c\0\x04", ["a.bin"]),
        (zipped({"b.rar": b"Rar!\x1a\x07\x01\0"}), ["b.rar"]),
        (zipped({"x": b"x"})[:-30], ["a.bin"]),
        (b"\x1f\x8b\x08broken", ["a.bin"]),
        (
            zipped({"liar": b"x" * 300}).replace(struct.pack("<L", 300), struct.pack("<L", 2)),
            ["liar"],
        ),
        (zipped({"1.zip": zipped({"2.zip": zipped({"3.zip": zipped({"x": b"x"})})})}), ["3.zip"]),
    ],
)
def test_what_could_not_be_looked_into_is_named(data, unlistable):
    assert list(found_in(data).unlistable) == unlistable


def test_an_encoded_message_is_looked_into_as_readers_do():
    inner = message_with({"x.exe": PE})
    message = message_with({"mail.eml": inner}).replace(
        b"application/octet-stream", b"message/rfc822"
    )
    assert list(look(message).names) == ["mail.eml", "x.exe"]


# --- bombs -----------------------------------------------------------------------------------------

ZEROS = b"\0" * 30_000_000
INNER = zipped({"0": ZEROS})
BOMBS = {
    "one file of zeros in a zip": zipped({"0": ZEROS * 4}),
    "one file of zeros in a gzip": gzipped(ZEROS * 4),
    "files that share their bytes": overlapping_zip(2000, ZEROS),
    "bombs in a zip": zipped({f"{number}.zip": INNER for number in range(10)}),
    "zips in zips in zips": zipped({f"{number}.zip": zipped({f"{other}.zip": INNER for other in range(5)})
                                    for number in range(5)}),
    "a gzip in a gzip": gzipped(gzipped(ZEROS * 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_found_and_cost_little(name):
    message = message_with({"bomb.zip": BOMBS[name]})
    structure = read_structure(message)
    begun = time.process_time()
    found = files_of(message, structure, FileLimits())
    assert time.process_time() - begun < 1.5, "measured: below 0.3 s"
    assert found.is_bomb or found.unlistable


def test_a_hundred_thousand_entries_cost_little():
    begun = time.process_time()
    found = found_in(overlapping_zip(100_000, b"x"))
    assert time.process_time() - begun < 1.5
    assert list(found.unlistable) == ["a.bin"]


def test_a_file_that_packs_well_is_no_bomb():
    assert not found_in(zipped({"log.txt": b"the same line again\n" * 1_000_000})).is_bomb
