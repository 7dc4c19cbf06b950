"""Kinds of files by their first bytes."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.magic import HEAD_BYTES, kind_of
from tests.kit.files import ELF, LNK, OLE, PE, gzipped, tarred, zipped


def old_tar(name: bytes) -> bytes:
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + b"0" * 12 + b"0" * 12
    block = block.ljust(512, b"\0")
    checksum = sum(block) + 8 * 32
    return block[:148] + b"%06o\0 " % checksum + block[156:]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ""),
        (b"Hello", ""),
        (b"\0" * 512, ""),
        (PE, "pe"),
        (b"MZ" + b"\0" * 100, "dos"),
        (b"MZ\x90\0", "dos"),
        (b"MZ is how this text begins", ""),
        (ELF, "elf"),
        (b"\xca\xfe\xba\xbe\0\0\0\x02", "macho"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", "java"),
        (b"\xcf\xfa\xed\xfe", "macho"),
        (b"#!/bin/sh\n", "script"),
        (LNK, "lnk"),
        (b"ITSF\x03", "chm"),
        (zipped({"a": b"b"}), "zip"),
        (zipped({}), "zip"),
        (gzipped(b"x"), "gzip"),
        (tarred({"a": b"b"}), "tar"),
        (tarred({"a": b"b"}, form=tarfile.USTAR_FORMAT), "tar"),
        (old_tar(b"old"), "tar"),
        (b"Rar!\x1a\x07\x01\0", "rar"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"MSCF\0\0", "cab"),
        (b"x\x9f\x3e\x22", "tnef"),
        (b"ab-lh5-", "lzh"),
        (b"\0" * 7 + b"**ACE**", "ace"),
        (b"\0" * 32769 + b"CD001", "iso"),
        (OLE, "ole"),
        (b"{\\rtf1", "rtf"),
        (b"%PDF-1.7", "pdf"),
        (b"junk before\n%PDF-1.7", "pdf"),
        (b"  <!DOCTYPE html><html>", "html"),
        (b"<script>alert(1)</script>", "html"),
        (b"<p>not much", ""),
        (b"\x89PNG\r\n\x1a\n", "png"),
    ],
)  # fmt: skip
def test_kinds(data, kind):
    assert kind_of(data) == kind


@given(st.binary(max_size=600))
def test_whatever_comes_has_a_kind_or_none(data):
    assert kind_of(data).isalnum() or kind_of(data) == ""


def test_a_head_is_enough_for_an_image():
    assert HEAD_BYTES > 32769 + 5
