"""What was counted is kept by day and domain, over restarts, and does not grow without end."""

import json

import pytest

from relay.dmarc_reports import ledger as module
from relay.dmarc_reports.ledger import Ledger
from relay.mailauth.dmarc_report import Observation, Published

POLICY = Published("example.org", "reject", "", "", "r", "r", "n", "0", (("d@example.org", None),))
ROW = Observation(
    "192.0.2.1", "none", "pass", "fail", "", "example.org", "", "", "none",
    (("example.org", "s1", "pass"),),
)  # fmt: skip


def counted(*each):
    """As it comes over the wire."""
    return json.loads(json.dumps(each))


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "reports.sqlite")
    yield made
    made.close()


def test_what_goes_in_comes_out(ledger):
    other = ROW._replace(source_ip="2001:db8::1")
    ledger.add(10, counted((POLICY, ROW, 2), (POLICY, other, 1)))
    ledger.add(10, counted((POLICY, ROW, 3)))
    assert ledger.read(10, "example.org") == (POLICY, {ROW: 5, other: 1})


def test_days_that_are_over_are_due(ledger):
    ledger.add(10, counted((POLICY, ROW, 1)))
    ledger.add(11, counted((POLICY._replace(domain="a.example"), ROW, 1), (POLICY, ROW, 1)))
    assert ledger.due(10) == []
    assert ledger.due(11) == [(10, "example.org")]
    assert ledger.due(12) == [(10, "example.org"), (11, "a.example"), (11, "example.org")]
    ledger.forget(10, "example.org")
    assert ledger.due(12) == [(11, "a.example"), (11, "example.org")]


def test_the_policy_seen_last_is_told(ledger):
    ledger.add(10, counted((POLICY, ROW, 1), (POLICY._replace(p="none"), ROW, 1)))
    policy, rows = ledger.read(10, "example.org")
    assert (policy.p, rows) == ("none", {ROW: 2})


def test_it_outlives_its_process(tmp_path):
    for _ in range(2):
        made = Ledger(tmp_path / "reports.sqlite")
        made.add(10, counted((POLICY, ROW, 1)))
        made.close()
    again = Ledger(tmp_path / "reports.sqlite")
    assert again.read(10, "example.org")[1] == {ROW: 2}
    again.close()


def test_nobody_fills_it(ledger, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS_OF_A_DOMAIN", 3)
    monkeypatch.setattr(module, "MAX_DOMAINS_OF_A_DAY", 2)
    for number in range(9):
        ledger.add(10, counted((POLICY, ROW._replace(envelope_from=f"{number}.example"), 1)))
        ledger.add(10, counted((POLICY._replace(domain=f"{number}.example"), ROW, 1)))
    ledger.add(10, counted((POLICY, ROW._replace(envelope_from="0.example"), 1)))
    assert sum(ledger.read(10, "example.org")[1].values()) == 4
    assert [domain for _, domain in ledger.due(11)] == ["0.example", "example.org"]
