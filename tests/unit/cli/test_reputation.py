"""`gatepost reputation`: whose score a key is about, what it is made of, who asks for it; forgotten on demand."""

import asyncio
import json
import time
from datetime import timedelta

import pytest

from relay.audit.record import FIELDS
from relay.cli.operator_acts import operator
from relay.model import Score
from relay.state.sqlite import SqliteStore
from tests.kit.command_line import gatepost

JA4 = "t13d1516h2_8daaf6152771_b186095e22b6"
HOUR, DAY = 3600.0, 86_400.0


def reputation(site, command, *arguments):
    return gatepost("reputation", command, *arguments, "--config", site.configuration)


def shown(site, key):
    outcome = reputation(site, "show", key, "--json")
    assert (outcome.code, outcome.errors) == (0, "")
    return outcome.json


def note(site, *sums):
    """Note something of somebody: (name of the sum, weight, half-life)."""

    async def put():
        store = SqliteStore.open(site.folder / "state", timedelta(seconds=5))
        await store.add_scores([Score(*each) for each in sums], time.time())
        await store.close()

    asyncio.run(put())


def name_an_identity(site, name):
    text = site.allowlist.read_text()
    site.allowlist.write_text(text.replace('name = "first"', f'name = "{name}"'))


# --- whose score ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind", "name"),
    [
        ("192.0.2.7", "network", "192.0.2.0/24"),
        ("192.0.2.0/24", "network", "192.0.2.0/24"),
        ("192.0.2.128/25", "network", "192.0.2.0/24"),
        ("2001:DB8::1", "network", "2001:db8::/64"),
        ("2001:db8::/64", "network", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "network", "192.0.2.0/24"),
        ("first", "identity", "first"),
        ("removed-last-year", "identity", "removed-last-year"),
        ("Acme.EXAMPLE.", "sender", "acme.example"),
        ("@acme.example", "sender", "acme.example"),
        ("billing@acme.example", "sender", "acme.example"),
        ("xn--strae-oqa.example", "sender", "straße.example"),
        (JA4, "ja4", JA4),
    ],
)
def test_a_key_says_by_its_form_whose_score_is_meant(site, key, kind, name):
    note(site, (f"debit/{kind}/{name}", 12.3, DAY))
    (found,) = shown(site, key)
    assert (found["kind"], found["name"]) == (kind, name)
    assert found["score"] == -12.3


def test_an_identity_may_be_called_as_a_domain_is(site):
    name_an_identity(site, "acme.example")
    note(site, ("debit/identity/acme.example", 5.0, DAY), ("credit/sender/acme.example", 2.0, DAY))
    found = {each["kind"]: each["score"] for each in shown(site, "acme.example")}
    assert found == {"identity": -5.0, "sender": 2.0}


@pytest.mark.parametrize("network", ["192.0.0.0/16", "2001:db8::/48"])
def test_a_network_larger_than_what_answers_has_no_score(site, network):
    outcome = reputation(site, "show", network)
    assert outcome.code == 2
    assert f"{network} has no score: each /" in outcome.errors
    assert len(outcome.errors.splitlines()) == 1


# --- what it is made of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credit", "debit", "score"),
    [(0, 0, 0.0), (7.5, 20, -12.5), (250, 0, 100.0), (250, 30, 70.0), (0, 400, -100.0)],
)
def test_what_speaks_for_and_against_one_is_shown_as_rules_see_it(site, credit, debit, score):
    note(site, ("credit/identity/first", credit, DAY), ("debit/identity/first", debit, DAY))
    (found,) = shown(site, "first")
    assert (found["credit"], found["debit"], found["score"]) == (credit, debit, score)


@pytest.mark.parametrize(("key", "half_life"), [("192.0.2.7", "2h"), ("first", "1d")])
def test_the_half_life_is_that_of_the_settings(site, key, half_life):
    with site.configuration.open("a") as file:
        file.write('\n[checks.reputation.half_life]\nnetwork = "2h"\n')
    assert shown(site, key)[0]["half_life"] == half_life


def test_of_whom_nothing_is_noted_that_is_said(site):
    outcome = reputation(site, "show", "192.0.2.7")
    assert outcome.code == 0
    assert outcome.output.startswith("network 192.0.2.0/24: 0.0\nNothing is noted")


# --- who asks for it ------------------------------------------------------------------------


def test_the_rules_that_ask_for_it_are_named(site):
    (network,), (identity,) = shown(site, "192.0.2.7"), shown(site, "first")
    assert network["rules"] == [
        {
            "rule": "reputation_network", "at": "connect", "then": "defer", "mode": "enforce",
            "listeners": ["edge"],
        }
    ]  # fmt: skip
    assert [(each["rule"], each["mode"]) for each in identity["rules"]] == [
        ("reputation_identity", "shadow")
    ]
    assert shown(site, "acme.example")[0]["rules"] == []
    assert "No rule asks for it (reputation.sender)" in reputation(site, "show", "a.example").output


def test_rules_that_ask_for_whoever_answers_ask_for_both(site):
    (site.folder / "own.toml").write_text(
        '[[rule]]\nname = "marked"\nat = "message"\nthen = "tag"\nheader = "X-Score"\n'
        'value = "{reputation.score}"\n'
    )
    text = site.configuration.read_text()
    listener = '[[listener]]\npolicy = ["defaults", "own.toml"]\n'
    site.configuration.write_text(text.replace("[[listener]]\n", listener, 1))

    def asking(key):
        return {rule["rule"] for each in shown(site, key) for rule in each["rules"]}

    assert "marked" in asking("first") & asking("192.0.2.7")
    assert "marked" not in asking("acme.example") | asking(JA4)


# --- a clean slate --------------------------------------------------------------------------


def test_what_is_cleared_is_forgotten_and_on_record(site):
    note(site, ("credit/network/192.0.2.0/24", 7, HOUR), ("debit/network/192.0.2.0/24", 90, HOUR))
    note(site, ("debit/network/192.0.3.0/24", 5, HOUR))
    outcome = reputation(site, "clear", "192.0.2.7")
    assert (outcome.code, outcome.output) == (0, "network 192.0.2.0/24: cleared\n")
    (found,) = shown(site, "192.0.2.7")
    assert (found["credit"], found["debit"], found["score"]) == (0, 0, 0)
    assert shown(site, "192.0.3.7")[0]["score"] == -5.0, "another one's"
    (record,) = map(json.loads, (site.folder / "state/audit.jsonl").read_text().splitlines())
    assert (record["kind"], record["action"], record["user"]) == (
        "admin", "reputation.clear", operator(),
    )  # fmt: skip
    assert record["target"] == "network 192.0.2.0/24"
    assert record["reason"].startswith("score -8")
    assert FIELDS.keys() >= record.keys()


def test_what_is_noted_afterwards_counts(site):
    note(site, ("debit/identity/first", 90, DAY))
    assert reputation(site, "clear", "first", "--json").json == [
        {"kind": "identity", "name": "first", "cleared": True}
    ]
    note(site, ("debit/identity/first", 3, DAY))
    assert shown(site, "first")[0]["score"] == -3.0


def test_where_nothing_is_noted_there_is_nothing_to_clear(site):
    outcome = reputation(site, "clear", "192.0.2.7")
    assert (outcome.code, outcome.errors) == (1, "nothing is noted of 192.0.2.7\n")


# --- the store ---------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "clear"])
def test_a_store_that_nobody_shares_is_a_mistake(site, command):
    with site.configuration.open("a") as file:
        file.write('\n[state]\nkind = "memory"\n')
    outcome = reputation(site, command, "first")
    assert outcome.code == 2
    assert "each worker keeps its state to itself" in outcome.errors
