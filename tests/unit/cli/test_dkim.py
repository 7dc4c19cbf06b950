"""`gatepost dkim`: a key is made, published, put in use and retired, and nobody sees it."""

from __future__ import annotations

import re
import stat

import pytest

from relay.config import load
from relay.dkim_file import new_selector
from relay.mailauth.key_record import parse_key_record
from tests.kit.clock import FakeClock
from tests.kit.command_line import gatepost
from tests.kit.dns_server import DnsServer, Fault

DOMAIN = "example.org"


@pytest.fixture
def name_server():
    with DnsServer() as running:
        running.negative_ttl = 0
        yield running


@pytest.fixture
def site(tmp_path, name_server):
    (tmp_path / "gatepost.toml").write_text(
        'hostname = "edge.example.org"\n'
        "# Ours.\n"
        f'[dns]\nservers = ["{name_server.address}"]\n'
        '[route."*"]\nhosts = ["mx.example.org"]\n'
        '[[listener]]\nname = "partners"\naddress = "127.0.0.1:2525"\n'
        'certificate = [{ chain = "edge.pem", key = "edge.key" }]\n'
    )
    (tmp_path / "state").mkdir()
    return tmp_path


def dkim(site, command, *arguments):
    return gatepost("dkim", command, *arguments, "--config", site / "gatepost.toml")


def keys(site):
    return {key.selector: key for key in load(site / "gatepost.toml", {}).settings.dkim.key}


def states(site):
    return {selector: key.state for selector, key in keys(site).items()}


def publish(name_server, outcome):
    for each in outcome.json:
        name_server.zones[each["record_name"]] = {"TXT": each["record"]}


def new(site, *options):
    outcome = dkim(site, "new", DOMAIN, *options, "--json")
    assert outcome.code == 0, outcome
    return outcome


# --- new -------------------------------------------------------------------------------------


def test_a_new_key_is_readable_by_its_owner_only_and_does_not_sign_yet(site):
    outcome = new(site, "--selector", "s1")
    (made,) = keys(site).values()
    assert (made.domain, made.selector, made.state, made.use) == (DOMAIN, "s1", "next", ("author",))
    assert made.key == site / "conf.d" / ".." / "dkim" / "example.org.s1.pem"
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700
    (told,) = outcome.json
    assert told["record_name"] == "s1._domainkey.example.org"
    assert parse_key_record(told["record"]).bits == 2048


def test_the_record_is_shown_as_zone_files_have_it_and_the_key_is_not_shown(site):
    outcome = dkim(site, "new", DOMAIN, "--selector", "s1")
    found = re.search(
        r"^s1\._domainkey\.example\.org\. 3600 IN TXT \( (.+) \)$", outcome.output, re.MULTILINE
    )
    strings = re.findall(r'"([^"]*)"', found[1])
    assert max(map(len, strings)) <= 255
    assert parse_key_record("".join(strings)).algorithm == "rsa-sha256"
    assert "PRIVATE" not in outcome.output
    assert "gatepost dkim rotate example.org" in outcome.output


def test_two_kinds_at_once_for_two_signatures(site):
    outcome = new(site, "--kind", "both", "--use", "identity", "--use", "seal")
    assert [each["kind"] for each in outcome.json] == ["rsa", "ed25519"]
    assert [key.use for key in keys(site).values()] == [("identity", "seal")] * 2
    assert len(keys(site)) == 2


def test_domains_in_other_scripts_have_their_record_where_the_dns_has_it(site):
    outcome = dkim(site, "new", "bücher.example", "--selector", "s1", "--kind", "ed25519", "--json")
    (told,) = outcome.json
    assert told["record_name"] == "s1._domainkey.xn--bcher-kva.example"
    assert len(told["record"]) == len("v=DKIM1; k=ed25519; p=") + 44


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["not a domain"], "is no domain"),
        (["example.org."], "is no domain"),
        (["../../etc"], "is no domain"),
        ([DOMAIN, "--use", "everything"], 'nothing is signed as "everything"'),
        ([DOMAIN, "--selector", "../x"], "is no selector"),
        ([DOMAIN, "--kind", "both", "--selector", "s1"], "two keys need two selectors"),
        ([DOMAIN, "--selector", "taken"], "has a key taken already"),
    ],
)
def test_mistakes(site, arguments, problem):
    new(site, "--selector", "taken", "--kind", "ed25519")
    outcome = dkim(site, "new", *arguments)
    assert outcome.code == 2
    assert problem in outcome.errors
    assert list(keys(site)) == ["taken"]


def test_selectors_tell_the_month_and_never_meet():
    now = FakeClock().now()
    first = new_selector("rsa", (), now)
    assert first == f"g{now:%Y%m}"
    assert new_selector("ed25519", (first,), now) == f"{first}e"
    assert new_selector("rsa", (first, f"{first}-2"), now) == f"{first}-3"


# --- rotate and retire -----------------------------------------------------------------------


def test_a_key_signs_once_the_world_can_verify_it(site, name_server):
    made = new(site, "--selector", "s1", "--kind", "ed25519")
    early = dkim(site, "rotate", DOMAIN)
    assert early.code == 1
    assert "s1._domainkey.example.org: there is no key" in early.errors
    assert states(site) == {"s1": "next"}
    publish(name_server, made)
    assert dkim(site, "rotate", DOMAIN).code == 0
    assert states(site) == {"s1": "active"}


def test_a_successor_takes_over_and_the_old_key_goes(site, name_server):
    publish(name_server, new(site, "--selector", "s1", "--kind", "ed25519"))
    dkim(site, "rotate", DOMAIN)
    successor = dkim(site, "rotate", DOMAIN, "--json")
    (told,) = successor.json
    assert (told["kind"], told["state"]) == ("ed25519", "next")
    assert states(site) == {"s1": "active", told["selector"]: "next"}

    publish(name_server, successor)
    switched = dkim(site, "rotate", DOMAIN)
    assert "s1: signs no more; keep s1._domainkey.example.org for a week" in switched.output
    assert states(site) == {"s1": "retired", told["selector"]: "active"}

    old = keys(site)["s1"].key
    outcome = dkim(site, "retire", DOMAIN)
    assert "take s1._domainkey.example.org out of the DNS" in outcome.output
    assert states(site) == {told["selector"]: "active"}
    assert not old.exists()
    assert "no key of example.org is retired" in dkim(site, "retire", DOMAIN).output


def test_keys_for_another_use_go_on(site, name_server):
    publish(name_server, new(site, "--selector", "mail", "--kind", "ed25519"))
    publish(name_server, new(site, "--selector", "edge", "--kind", "ed25519", "--use", "identity"))
    dkim(site, "rotate", DOMAIN)
    assert states(site) == {"mail": "active", "edge": "active"}
    publish(name_server, new(site, "--selector", "edge2", "--kind", "ed25519", "--use", "identity"))
    dkim(site, "rotate", DOMAIN)
    assert states(site) == {"mail": "active", "edge": "retired", "edge2": "active"}


def test_another_key_in_the_dns_is_not_ours(site, name_server):
    first = new(site, "--selector", "s1", "--kind", "ed25519")
    (other,) = dkim(site, "new", "example.net", "--kind", "ed25519", "--json").json
    publish(name_server, first)
    name_server.zones["s1._domainkey.example.org"] = {"TXT": other["record"]}
    outcome = dkim(site, "rotate", DOMAIN)
    assert "another key is published" in outcome.errors
    assert outcome.code == 1


def test_without_an_answer_nothing_changes_unless_it_is_forced(site, name_server):
    name_server.faults["s1._domainkey.example.org"] = (Fault.REFUSED,)
    new(site, "--selector", "s1", "--kind", "ed25519")
    outcome = dkim(site, "rotate", DOMAIN)
    assert outcome.code == 1
    assert "the DNS did not give the key" in outcome.errors
    assert dkim(site, "rotate", DOMAIN, "--force").code == 0
    assert states(site) == {"s1": "active"}


def test_entries_of_the_operators_are_changed_where_they_stand(site, name_server):
    new(site, "--selector", "s1", "--kind", "ed25519")
    drop_in = site / "conf.d" / "dkim.toml"
    main = site / "gatepost.toml"
    entry = drop_in.read_text().partition("[[dkim.key]]\n")[2].replace("../dkim", "dkim")
    main.write_text(main.read_text() + f"# The mail key\n[[dkim.key]]  # by hand\n{entry}")
    drop_in.unlink()
    dkim(site, "rotate", DOMAIN, "--force")
    assert states(site) == {"s1": "active"}
    assert "# The mail key\n[[dkim.key]]  # by hand\n" in main.read_text()
    assert not drop_in.exists()


def test_a_domain_without_keys(site):
    outcome = dkim(site, "rotate", DOMAIN)
    assert outcome.code == 2
    assert "gatepost dkim new example.org" in outcome.errors


def test_what_is_done_is_on_record(site, name_server):
    publish(name_server, new(site, "--selector", "s1", "--kind", "ed25519"))
    dkim(site, "rotate", DOMAIN)
    trail = (site / "state" / "audit.jsonl").read_text()
    assert re.findall(r'"action":"(dkim\.\w+)"', trail) == ["dkim.new", "dkim.rotate"]
    assert "PRIVATE" not in trail


# --- list ------------------------------------------------------------------------------------


def test_the_list_says_what_the_world_can_verify(site, name_server):
    publish(name_server, new(site, "--selector", "s1", "--kind", "ed25519"))
    dkim(site, "rotate", DOMAIN)
    plain = dkim(site, "list")
    assert plain.code == 0
    assert re.search(r"example\.org +s1 +ed25519 +author +active", plain.output)
    asked = dkim(site, "list", "--dns", "--json")
    assert (asked.code, asked.json[0]["published"]) == (0, "yes")
    name_server.zones.clear()
    gone = dkim(site, "list", "--dns", "--json")
    assert (gone.code, gone.json[0]["published"]) == (1, "there is no key")


def test_without_keys_the_list_is_empty(site):
    assert dkim(site, "list", "--dns", "--json").json == []


def test_a_key_that_others_can_read_is_said_with_its_line(site):
    new(site, "--selector", "s1", "--kind", "ed25519")
    keys(site)["s1"].key.chmod(0o644)
    outcome = dkim(site, "list")
    assert outcome.code == 2
    assert re.match(
        r".*dkim\.toml:\d+: .* is open to other users .mode 0644.; close it", outcome.errors
    )
