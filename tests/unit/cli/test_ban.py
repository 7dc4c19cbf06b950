"""`gatepost ban`: bans are put in force, listed and taken back, and all of it is on record."""

import asyncio
import json
import time
from datetime import timedelta

import pytest

from relay.audit.record import FIELDS
from relay.cli.operator_acts import operator
from relay.model import Restriction, RestrictionKind
from relay.state.sqlite import SqliteStore
from tests.kit.command_line import gatepost


def ban(site, command, *arguments):
    return gatepost("ban", command, *arguments, "--config", site.configuration)


def listed(site, *arguments):
    return ban(site, "list", "--json", *arguments).json


def records(site):
    lines = (site.folder / "state/audit.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def put_in_force(site, *restrictions):
    async def put():
        store = SqliteStore.open(site.folder / "state", timedelta(seconds=5))
        for each in restrictions:
            await store.restrict(each)
        await store.close()

    asyncio.run(put())


@pytest.mark.parametrize(
    ("written", "subject"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8::/64", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::1/128"),
    ],
)
def test_a_ban_is_in_force_and_can_be_taken_back_in_any_spelling(site, written, subject):
    outcome = ban(site, "add", written, "--reason", "spam")
    assert (outcome.code, outcome.errors) == (0, "")
    assert subject in outcome.output
    (found,) = listed(site)
    assert (found["kind"], found["subject"], found["reason"], found["until"]) == (
        "ban", subject, "spam", None,
    )  # fmt: skip
    assert found["by"] == operator()
    assert ban(site, "remove", written).code == 0
    assert listed(site) == []


def test_a_ban_ends_when_its_time_has_passed(site):
    found = ban(site, "add", "192.0.2.7", "--reason", "spam", "--for", "2h", "--json").json
    assert found["until"] > found["since"]
    now = time.time()
    over = Restriction(RestrictionKind.BAN, "192.0.2.9/32", "x", "rule", now - 60, now - 30)
    put_in_force(site, over)
    assert [each["subject"] for each in listed(site)] == ["192.0.2.7/32"]
    assert {each["subject"] for each in listed(site, "--all")} == {"192.0.2.7/32", "192.0.2.9/32"}


def test_the_next_ban_of_the_same_network_is_counted(site):
    for _ in range(3):
        found = ban(site, "add", "192.0.2.7", "--reason", "again", "--json").json
    assert found["times"] == 3
    assert len(listed(site)) == 1


def test_a_suspension_by_a_rule_is_listed_and_taken_back(site):
    put_in_force(
        site,
        Restriction(RestrictionKind.SUSPENSION, "acme-billing", "too much", "rate", time.time()),
    )
    (found,) = listed(site)
    assert (found["kind"], found["subject"]) == ("suspension", "acme-billing")
    assert "acme-billing" in ban(site, "list").output
    assert ban(site, "remove", "acme-billing").code == 0
    assert listed(site) == []


def test_acts_are_on_record_with_who_and_why(site):
    ban(site, "add", "192.0.2.7", "--reason", "spam wave", "--for", "1h")
    ban(site, "remove", "192.0.2.7")
    ban(site, "remove", "192.0.2.7")
    added, removed = records(site)
    assert added["kind"] == removed["kind"] == "admin"
    assert (added["action"], added["target"], added["reason"], added["user"]) == (
        "ban.add", "192.0.2.7/32", "spam wave", operator(),
    )  # fmt: skip
    assert "until" in added
    assert (removed["action"], removed["target"]) == ("ban.remove", "192.0.2.7/32")
    assert FIELDS.keys() >= added.keys() | removed.keys()


def test_what_is_not_there_cannot_be_taken_back(site):
    outcome = ban(site, "remove", "192.0.2.7")
    assert (outcome.code, outcome.errors) == (1, "192.0.2.7/32 is not under a ban\n")
    assert ban(site, "remove", "acme").errors == "acme is not under a suspension\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("192.0.2.1/24", "--reason", "x"), "'192.0.2.1/24' is no network; write it as"),
        (("acme", "--reason", "x"), "'acme' is no network; write it as"),
        (("192.0.2.1", "--reason", "x", "--for", "soon"), "--for: 'soon' is no duration; write it"),
        (("192.0.2.1", "--reason", "x", "--for", "0s"), "--for: '0s' is no duration; write it"),
        (("192.0.2.1", "--reason", "x", "--for", "999999999d"), "is no duration; write it"),
    ],
)
def test_mistakes_are_a_line_with_a_remedy(site, arguments, words):
    outcome = ban(site, "add", *arguments)
    assert outcome.code == 2
    assert words in outcome.errors
    assert outcome.errors.count("\n") == 1


def test_a_store_that_is_nobody_elses_cannot_be_asked(site):
    site.configuration.write_text(site.configuration.read_text() + '\n[state]\nkind = "memory"\n')
    outcome = ban(site, "list")
    assert outcome.code == 2
    assert outcome.errors.startswith("each worker keeps its state to itself; use ")


def test_without_a_state_folder_nothing_is_made(site):
    (site.folder / "state").rmdir()
    outcome = ban(site, "list")
    assert outcome.code == 2
    assert "is not there; start the relay once" in outcome.errors
    assert not (site.folder / "state").exists()


def test_a_store_that_is_away_is_told_in_a_line(site):
    text = '\n[state]\nkind = "redis"\nurl = ["redis://127.0.0.1:1"]\ntimeout = "200ms"\n'
    site.configuration.write_text(site.configuration.read_text() + text)
    outcome = ban(site, "add", "192.0.2.7", "--reason", "spam")
    assert outcome.code == 1
    assert outcome.errors.startswith("redis://127.0.0.1:1: ")
    assert outcome.errors.count("\n") == 1
    assert not (site.folder / "state/audit.jsonl").exists()
