"""Damaged archives in messages: nothing may escape, and no limit may be passed."""

from __future__ import annotations

from hypothesis import given

from relay.mail.files import FileLimits, files_of
from relay.mail.mime import read_structure
from tests.kit.files import (
    ELF,
    OLE,
    PE,
    gzipped,
    message_with,
    tarred,
    with_encryption_flags,
    zipped,
)
from tests.kit.fuzz import fuzz_settings, mutated

SEEDS = [
    zipped({"a.txt": b"Hello", "b.exe": PE}),
    zipped({"in.zip": zipped({"x.exe": PE}), "y.tar": tarred({"z": ELF})}),
    with_encryption_flags(zipped({"a.txt": b"Hello"})),
    tarred({"d/" * 60 + "a.exe": PE, "b": OLE}),
    gzipped(tarred({"a": b"x" * 600}), "a.tar"),
    gzipped(b"x" * 5000),
    OLE,
]
LIMITS = FileLimits(depth=2, entries=20, unpacked_bytes=50_000)


@fuzz_settings()
@given(data=mutated(SEEDS))
def test_whatever_an_archive_is_it_is_looked_at_within_the_limits(data: bytes) -> None:
    message = message_with({"archive": data})
    found = files_of(message, read_structure(message), LIMITS)
    assert found.count == 1
    assert len(found.names) <= 1 + 2 * LIMITS.entries
