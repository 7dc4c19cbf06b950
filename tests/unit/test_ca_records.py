"""The index of our CA's records: read on as they grow, never read twice."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from relay.ca_records import CaRecords, RecordIndex, append_record

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def records(tmp_path):
    return CaRecords(tmp_path)


def issue(records, serial, end="\n", *, name="acme", spki="spki:sha256:aa", days=30):
    record = {
        "serial": serial,
        "name": name,
        "spki": spki,
        "not_before": "2026-01-01T00:00:00+00:00",
        "not_after": (NOW + timedelta(days=days)).isoformat(),
        "pem": f"certificate {serial}",
    }
    with records.issued_path.open("a") as file:
        file.write(json.dumps(record) + end)


def revoke(records, serial, reason="keyCompromise"):
    record = {"serial": serial, "at": datetime.now(UTC).isoformat(), "reason": reason}
    with records.revoked_path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def serials(found):
    return [each.serial for each in found]


def test_before_the_first_record_nothing_is_known(records):
    index = RecordIndex(records)
    assert index.find("1") is None
    assert index.revocation_of("1") is None
    assert index.with_key("spki:sha256:aa") == index.with_name("acme") == ()
    assert index.end_of("spki:sha256:aa") is None
    assert index.version() == (0, 0)


def test_what_is_appended_is_known_at_the_next_question(records):
    index = RecordIndex(records)
    issue(records, "1a")
    assert index.find("1a").name == "acme"
    before = index.version()
    issue(records, "2b")
    revoke(records, "1a")
    assert index.find("2b")
    assert index.revocation_of("1a").reason is x509.ReasonFlags.key_compromise
    assert index.version() != before


def test_certificates_are_found_by_key_and_by_name(records):
    issue(records, "1", spki="spki:sha256:aa", days=30)
    issue(records, "2", spki="spki:sha256:bb", days=20)
    issue(records, "3", spki="spki:sha256:aa", days=10, name="other")
    index = RecordIndex(records)
    assert serials(index.with_key("spki:sha256:aa")) == ["1", "3"]
    assert serials(index.with_name("acme")) == ["1", "2"]
    assert index.end_of("spki:sha256:aa") == NOW + timedelta(days=30)


def test_half_a_record_waits_for_its_other_half(records):
    index = RecordIndex(records)
    issue(records, "1a", end="")
    assert index.find("1a") is None
    with records.issued_path.open("a") as file:
        file.write("\n")
    assert index.find("1a")


def test_the_first_revocation_counts(records):
    index = RecordIndex(records)
    revoke(records, "1a")
    revoke(records, "1a", "superseded")
    assert index.revocation_of("1a").reason is x509.ReasonFlags.key_compromise


def test_several_threads_read_each_record_once(records):
    for number in range(500):
        issue(records, f"{number:x}")
    index = RecordIndex(records)
    threads = [threading.Thread(target=index.version) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert len(index.with_name("acme")) == 500


def test_half_a_record_that_a_full_disk_has_left_spoils_none_after_it(records):
    issue(records, "1")
    index = RecordIndex(records)
    with records.issued_path.open("a") as file:
        file.write('{"name": "half')
    assert [each["serial"] for each in records.issued()] == ["1"]
    append_record(records.issued_path, records.issued()[0] | {"serial": "2"})
    assert [each["serial"] for each in records.issued()] == ["1", "2"]
    assert index.find("2").serial == "2"
