"""`gatepost limits suggest`: proposals from what is on record, which are valid policy and fit that mail."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from relay.policy.facts import Stage
from relay.policy.limits import Rate
from tests.kit.command_line import gatepost
from tests.kit.policy import engine_of

NOW = datetime.now(UTC)
IDENTITY = '[[identity]]\nname = "{name}"\npins = ["spki:sha256:{digit:064x}"]\ntier = "{tier}"\n\n'


@pytest.fixture
def site(site):
    """With two identities on the allowlist, of different tiers."""
    listed = [("acme", "verified"), ("globex", "new")]
    site.allowlist.write_text(
        "".join(
            IDENTITY.format(name=name, digit=number, tier=tier)
            for number, (name, tier) in enumerate(listed, 1)
        )
    )
    return site


def message(at, identity="", recipients=2, **fields):
    record = {
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "kind": "transaction",
        "peer_address": "192.0.2.7",
        "recipients": ["a@x.example"] * recipients,
        "size_bytes": 1000,
        "outcome": "delivered",
    }
    return record | ({"identity": identity} if identity else {}) | fields


def put_on_record(site, *records):
    lines = [json.dumps(each) for each in records]
    (site.folder / "state/audit.jsonl").write_text("\n".join(lines) + "\n")


def suggest(site, *arguments):
    return gatepost("limits", "suggest", *arguments, "--config", site.configuration)


def busy_day(identity, each_hour, *, hours=24, **fields):
    begin = NOW - timedelta(days=2)
    return [
        message(
            begin + timedelta(hours=hour, seconds=number * 3600 / each_hour), identity, **fields
        )
        for hour in range(hours)
        for number in range(each_hour)
    ]


def test_limits_for_each_tier_that_was_met(site):
    put_on_record(site, *busy_day("acme", 30), *busy_day("globex", 7), *busy_day("", 12))
    found = suggest(site, "--json").json
    assert found["messages"] == 24 * (30 + 7 + 12)
    limits = {(each["name"], each["tier"]): each for each in found["limits"]}
    verified = limits["messages", "verified"]
    assert 60 <= int(verified["rate"][0].partition("/")[0]) <= 64, "30 an hour, twice"
    assert verified["clients"] == 1
    assert limits["messages", "new"]["count"] == "messages"
    assert limits["network_messages", "unknown"]["rate"][1].endswith("/1d")
    assert limits["bytes", "verified"]["rate"][0] == "10MB/1h", "no less than is of use"
    assert all(each["would_wait"] == 0 for each in found["limits"])


def test_what_is_printed_is_valid_policy_and_keeps_the_tiers_that_were_not_met(site):
    put_on_record(site, *busy_day("acme", 30))
    engine = engine_of.__wrapped__(suggest(site).output)
    (messages,) = engine.limits[Stage.SENDER]
    assert messages.rates_for("new") == (Rate(100, 3600), Rate(500, 86_400)), "as in the defaults"
    assert messages.rates_for("verified")[0].limit >= 60
    assert messages.rates_for("trusted") == ()


def test_who_would_have_had_to_wait_is_told(site):
    usual = busy_day("acme", 10, hours=40)
    rush = [message(NOW - timedelta(hours=3, seconds=-number), "acme") for number in range(300)]
    put_on_record(site, *usual, *rush)
    found = suggest(site, "--json", "--percentile", "90").json
    (messages,) = [each for each in found["limits"] if each["name"] == "messages"]
    assert messages["would_wait"] > 200
    assert messages["busiest"]["hour"] >= 150
    assert "would have had to wait" in suggest(site).output


def test_other_records_and_old_mail_do_not_count(site):
    put_on_record(
        site,
        message(NOW - timedelta(days=40), "acme"),
        message(NOW, "acme", kind="refusal"),
        {"kind": "transaction", "time": "soon"},
        message(NOW, "gone"),
    )
    found = suggest(site, "--json").json
    assert found["messages"] == 1
    assert {each["tier"] for each in found["limits"]} == {"verified"}, "who is listed no more"


def test_no_mail_is_exit_code_1(site):
    put_on_record(site, message(NOW - timedelta(days=40), "acme"))
    outcome = suggest(site)
    assert outcome.code == 1
    assert "no mail is on record since" in outcome.errors


def test_a_time_that_is_none_is_told(site):
    outcome = suggest(site, "--since", "tuesday")
    assert outcome.code == 2
    assert "write 7d, 12h or 2026-01-31" in outcome.errors
