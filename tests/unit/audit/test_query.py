"""Finding records by their reference, across rotated and packed files."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest

from relay.audit.query import files, find, records
from relay.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "7K3M9QX2WZ4A"


def line(number: int, **fields: str) -> bytes:
    return json.dumps({"number": number, **fields}).encode() + b"\n"


def test_records_come_oldest_first_from_all_files(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    (tmp_path / "audit.jsonl.2.gz").write_bytes(gzip.compress(line(1, session=REFERENCE)))
    (tmp_path / "audit.jsonl.1").write_bytes(line(2, reference=REFERENCE) + line(9, session="X"))
    path.write_bytes(line(3, session=REFERENCE))
    for age, name in enumerate(["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2.gz"]):
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    assert [record["number"] for record in find(path, REFERENCE)] == [1, 2, 3]


def test_a_reference_may_be_typed_in_lower_case_with_blanks(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(line(1, reference=REFERENCE))
    assert len(list(find(path, f" {REFERENCE.lower()} "))) == 1


def test_a_reference_in_another_field_is_no_hit(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(line(1, reference="OTHER", helo=REFERENCE))
    assert list(find(path, REFERENCE)) == []


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    torn = line(1, reference=REFERENCE)[:-5] + b"\n"
    path.write_bytes(torn + f'["{REFERENCE}"]\n'.encode() + line(2, reference=REFERENCE))
    assert [record["number"] for record in find(path, REFERENCE)] == [2]


def test_only_rotations_of_this_file_count(tmp_path: Path) -> None:
    for name in ("audit.jsonl", "audit.jsonl-20260131.gz", "audit.jsonl.bak", "audit.jsonl.1~"):
        (tmp_path / name).touch()
    names = {file.name for file in files(tmp_path / "audit.jsonl")}
    assert names == {"audit.jsonl", "audit.jsonl-20260131.gz"}


def test_no_trail_has_no_records(tmp_path: Path) -> None:
    assert list(find(tmp_path / "audit.jsonl", REFERENCE)) == []


def test_a_broken_archive_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl.1.gz").write_bytes(gzip.compress(line(1, a="b" * 999))[:-9])
    with pytest.raises(Unavailable, match=r"audit\.jsonl\.1\.gz"):
        list(find(tmp_path / "audit.jsonl", REFERENCE))


def test_all_records_come_in_order(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl.1").write_bytes(line(1) + b"torn\n")
    (tmp_path / "audit.jsonl").write_bytes(line(2) + line(3))
    assert [each["number"] for each in records(tmp_path / "audit.jsonl")] == [1, 2, 3]
