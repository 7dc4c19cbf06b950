"""Serial numbers: read on as the records grow, never read twice."""

import json
from datetime import UTC, datetime

import pytest
from cryptography import x509

from relay.ca_records import CaRecords, SerialNumbers


@pytest.fixture
def records(tmp_path):
    return CaRecords(tmp_path)


def issue(records, serial, end="\n"):
    with records.issued_path.open("a") as file:
        file.write(json.dumps({"serial": serial}) + end)


def revoke(records, serial, reason="keyCompromise"):
    record = {"serial": serial, "at": datetime.now(UTC).isoformat(), "reason": reason}
    with records.revoked_path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_before_the_first_record_nothing_is_known(records):
    numbers = SerialNumbers(records)
    assert not numbers.is_issued("1")
    assert numbers.revocation_of("1") is None
    assert numbers.version == (0, 0)


def test_what_is_appended_is_known_at_the_next_question(records):
    numbers = SerialNumbers(records)
    issue(records, "1a")
    assert numbers.is_issued("1a")
    before = numbers.version
    issue(records, "2b")
    revoke(records, "1a")
    assert numbers.is_issued("2b")
    assert numbers.revocation_of("1a").reason is x509.ReasonFlags.key_compromise
    assert numbers.version != before


def test_half_a_record_waits_for_its_other_half(records):
    numbers = SerialNumbers(records)
    issue(records, "1a", end="")
    assert not numbers.is_issued("1a")
    with records.issued_path.open("a") as file:
        file.write("\n")
    assert numbers.is_issued("1a")


def test_the_first_revocation_counts(records):
    numbers = SerialNumbers(records)
    revoke(records, "1a")
    revoke(records, "1a", "superseded")
    assert numbers.revocation_of("1a").reason is x509.ReasonFlags.key_compromise
