"""Archives as the standard library writes them, and broken ones."""

from __future__ import annotations

import struct
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.archives import (
    Allowance,
    list_gzip,
    list_tar,
    list_zip,
    unpack,
    unpack_gzip,
)
from tests.kit.files import gzipped, overlapping_zip, tarred, with_encryption_flags, zipped

FILES = {"a.txt": b"Hello", "folder/ü.exe": b"x" * 10_000, "empty": b""}
LIMIT = 1_000_000


def allowance(entries=1000):
    return Allowance(entries, LIMIT)


def unpacked(data, lister):
    found = lister(data, allowance())
    assert found.is_whole
    return {member.name: unpack(data, member, LIMIT) for member in found.members}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(method):
    assert unpacked(zipped(FILES, method=method), list_zip) == FILES


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.exe", "ü" * 40 + ".exe", "d/" * 40 + "a" * 60 + ".exe"])
def test_tar(form, name):
    files = {"first.txt": b"1", name: b"x" * 1000, "last.txt": b""}
    assert unpacked(tarred(files, form=form), list_tar) == files


@given(st.dictionaries(st.text("abcdef/.", min_size=1, max_size=9), st.binary(max_size=50)))
def test_archives_of_any_files(files):
    assert unpacked(zipped(files), list_zip) == files
    names = {name: data for name, data in files.items() if not name.endswith("/")}
    assert unpacked(tarred(names), list_tar) == names


@pytest.mark.parametrize(
    ("data", "outer", "name"),
    [
        (gzipped(b"Hello", "inner.txt"), "outer.gz", "inner.txt"),
        (gzipped(b"Hello"), "outer.txt.gz", "outer.txt"),
        (gzipped(b"Hello"), "outer.tgz", "outer.tar"),
        (gzipped(b"Hello"), "outer.bin", "outer.bin"),
        (gzipped(b"Hello"), "", ""),
    ],
)
def test_gzip(data, outer, name):
    member = list_gzip(data, outer)
    assert (member.name, member.size_bytes) == (name, 5)
    assert unpack_gzip(data, LIMIT) == b"Hello"


def test_nothing_is_unpacked_beyond_the_allowance():
    data = zipped({"zeros": b"\0" * 10_000_000})
    (member,) = list_zip(data, allowance()).members
    assert len(unpack(data, member, 5000)) == 5000
    assert unpack(data, member, 0) == b""
    assert len(unpack_gzip(gzipped(b"\0" * 10_000_000), 5000)) == 5000


# --- broken and hostile archives -----------------------------------------------------------------


def test_encrypted_files_are_named_and_not_unpacked():
    data = with_encryption_flags(zipped({"secret.exe": b"MZ"}))
    (member,) = list_zip(data, allowance()).members
    assert (member.name, member.is_encrypted, unpack(data, member, 9)) == ("secret.exe", True, b"")


def test_an_archive_behind_a_program_is_read():
    assert unpacked(b"MZ" + b"\0" * 5000 + zipped(FILES), list_zip) == FILES


def test_an_archive_with_a_comment_is_read():
    data = zipped(FILES)
    assert unpacked(data[:-2] + struct.pack("<H", 300) + b"c" * 300, list_zip) == FILES


def test_a_cut_off_archive_is_listed_by_the_headers_of_its_files():
    data = zipped(FILES)
    found = list_zip(data[: data.index(b"PK\x01\x02")], allowance())
    assert not found.is_whole
    assert [member.name for member in found.members] == list(FILES)
    assert unpack(data, found.members[0], 99) == b"Hello"


def test_a_file_with_two_names_is_listed_under_both():
    data = zipped({"harmless.txt": b"x"})
    data = data.replace(b"harmless.txt", b"hostile1.exe", 1)
    found = list_zip(data, allowance())
    assert [member.name for member in found.members] == ["harmless.txt", "hostile1.exe"]


def test_files_that_share_their_bytes_are_noticed():
    found = list_zip(overlapping_zip(50, b"\0" * 100_000), allowance())
    assert found.has_overlaps
    assert not list_zip(zipped(FILES), allowance()).has_overlaps


@pytest.mark.parametrize(("data", "lister"), [(zipped, list_zip), (tarred, list_tar)])
def test_entries_beyond_the_allowance_are_not_listed(data, lister):
    archive = data({f"{number}.txt": b"" for number in range(50)})
    limited = allowance(entries=10)
    found = lister(archive, limited)
    assert (len(found.members), found.is_whole, limited.entries) == (10, False, 0)


def test_a_tar_archive_without_end_is_not_whole():
    data = tarred({"a": b"x" * 600})
    assert not list_tar(data[:1024], allowance()).is_whole
    assert [member.name for member in list_tar(data[:1024], allowance()).members] == ["a"]


def test_sizes_beyond_measure_end_the_list():
    data = bytearray(tarred({"a": b"x"}))
    data[124:136] = b"\x80" + b"\xff" * 11
    found = list_tar(bytes(data), allowance())
    assert not found.is_whole


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\xff" * 18, b"\x1f\x8b\x08"]
)
def test_beginnings_of_archives(data):
    assert list_zip(data, allowance()).members == []
    assert list_tar(data, allowance()).members == []
    assert unpack_gzip(data, LIMIT) == b""


def zip64() -> bytes:
    """An archive whose lengths stand in the extra fields, as for files over 4 GiB."""
    name, data = b"big.exe", b"Hello"
    extra = struct.pack("<HHQQ", 1, 16, len(data), len(data))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF,
                        len(name), len(extra)) + name + extra + data  # fmt: skip
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, 0xFFFFFFFF,
                        0xFFFFFFFF, len(name), len(extra), 0, 0, 0, 0, 0) + name + extra  # fmt: skip
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), len(local)
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(entry), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + entry + record + locator + end


def test_zip64():
    assert unpacked(zip64(), list_zip) == {"big.exe": b"Hello"}


def test_zip64_behind_another_extra_field():
    data = zip64()
    longer = struct.pack("<HHL", 0x5455, 4, 0)
    entry_at = data.index(b"PK\x01\x02")
    name_end = entry_at + 46 + len(b"big.exe")
    changed = bytearray(data[:name_end] + longer + data[name_end:])
    changed[entry_at + 30 : entry_at + 32] = struct.pack("<H", 20 + len(longer))
    record_at = changed.index(b"PK\x06\x06")
    size = struct.unpack_from("<Q", changed, record_at + 40)[0] + len(longer)
    changed[record_at + 40 : record_at + 48] = struct.pack("<Q", size)
    assert unpacked(bytes(changed), list_zip) == {"big.exe": b"Hello"}


def test_lengths_that_stand_nowhere_stay_unknown():
    data = bytearray(zipped({"a": b"Hello"}, method=zipfile.ZIP_STORED))
    entry_at = data.index(b"PK\x01\x02")
    data[entry_at + 24 : entry_at + 28] = b"\xff" * 4
    (member,) = list_zip(bytes(data), allowance()).members
    assert (member.name, member.size_bytes) == ("a", 0xFFFFFFFF)


def test_a_broken_entry_ends_the_directory():
    data = zipped({"a": b"1", "b": b"2"})
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    found = list_zip(data[:second] + b"XX" + data[second + 2 :], allowance())
    assert ([member.name for member in found.members], found.is_whole) == (["a"], False)


def test_what_is_packed_in_another_way_is_listed_and_not_unpacked():
    data = zipped({"a": b"x" * 100}, method=zipfile.ZIP_LZMA)
    (member,) = list_zip(data, allowance()).members
    assert (member.name, unpack(data, member, LIMIT)) == ("a", b"")


def test_a_size_that_is_no_number_ends_the_list():
    data = bytearray(tarred({"a": b"x"}))
    data[124:136] = b"nonsense\0\0\0\0"
    found = list_tar(bytes(data), allowance())
    assert (found.members, found.is_whole) == ([], False)
