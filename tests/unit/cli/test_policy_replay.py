"""The past decided again, through the command: the same by the same rules, and exactly what differs by others."""

import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.command_line import gatepost
from tests.kit.policy_site import write_site, write_trail

NOW = datetime.now(UTC)
RULES = """
[lists.old]
kind = "domain"
values = ["old.example"]

[[rule]]
name = "listed"
at = "sender"
when = "!identity.known && dnsbl.score >= 2.0"
then = "reject"
reply = "554 5.7.1 Listed"
on_error = "skip"

[[rule]]
name = "old_tls"
at = "sender"
when = 'tls.version == "TLSv1.2" && lists.old.has(sender.domain)'
then = "reject"
reply = "550 5.7.10 Old"

[[rule]]
name = "spf"
at = "sender"
when = '!identity.known && spf.result == "fail"'
then = "reject"
reply = "550 5.7.23 No"

[[rule]]
name = "nobody"
at = "recipient"
when = 'recipient.local == "nobody"'
then = "reject"
reply = "550 5.1.1 No such user"

[[rule]]
name = "large"
at = "message"
when = "message.size_bytes > 1000000"
then = "reject"
reply = "552 5.3.4 Too large"

[[rule]]
name = "dated"
at = "message"
when = "message.date_skew > 86400"
then = "reject"
reply = "550 5.6.0 Tomorrow"
mode = "shadow"
"""
IDENTITIES = ("", "", "acme", "globex")
DOMAINS = ("old.example", "mail.old.example", "a.example", "b.example")
SPF = ("none", "pass", "fail", {"missing": "no answer in time"})


def decide(facts, recipient):
    """The rules above in other words: rule, code, stage."""
    is_known = facts["identity.known"]
    if not is_known and not isinstance(facts["dnsbl.score"], dict) and facts["dnsbl.score"] >= 2:
        return "listed", 554, "sender"
    if facts["tls.version"] == "TLSv1.2" and facts["sender.domain"].endswith("old.example"):
        return "old_tls", 550, "sender"
    if not is_known and isinstance(facts["spf.result"], dict):
        return "spf", 451, "sender"
    if not is_known and facts["spf.result"] == "fail":
        return "spf", 550, "sender"
    if recipient.startswith("nobody@"):
        return "nobody", 550, "recipient"
    if facts["message.size_bytes"] > 1_000_000:
        return "large", 552, "message"
    return "", 0, ""


def record(number, chance):
    """One record with the decision of `decide`, as a relay writes it."""
    identity, domain = chance.choice(IDENTITIES), chance.choice(DOMAINS)
    sender = f"user{chance.randrange(500)}@{domain}"
    recipient = chance.choice(("nobody", "a", "b", "c", "d", "e")) + "@example.org"
    facts = {
        "identity.known": bool(identity),
        "identity.may_connect": True,
        "identity.may_send": True,
        "dnsbl.score": chance.choice((0.0, 0.0, 1.5, 3.0, {"missing": "silent"})),
        "tls.version": chance.choice(("TLSv1.2", "TLSv1.3")),
        "spf.result": chance.choice(SPF),
        "sender.domain": domain,
        "message.size_bytes": chance.randrange(500, 1_100_000),
        "message.date_skew": chance.choice((0, 5, 100_000)),
        "identity.may_write": True,
    }
    own = {"identity.may_reach": True, "recipient.local": recipient.partition("@")[0]}
    rule, code, stage = decide(facts, recipient)
    made = {
        "time": (NOW - timedelta(seconds=number)).isoformat(timespec="milliseconds")[:-6] + "Z",
        "listener": "partners",
        "reference": f"R{number}",
        "peer_address": f"192.0.2.{number % 250}",
        "sender": sender,
    }
    if identity:
        made["identity"] = identity
    if not rule:
        is_shadow = facts["message.date_skew"] > 86400
        return made | {
            "kind": "transaction",
            "recipients": [recipient],
            "facts": facts,
            "recipient_facts": [own],
            "reply": "250 2.0.0 Ok",
            **({"shadow": ["dated"]} if is_shadow else {}),
        }
    known = {n: v for n, v in facts.items() if stage == "message" or not n.startswith("message.")}
    if stage == "recipient":
        known |= own
        made["recipient"] = recipient
    if stage == "message":
        known |= {"identity.may_write": True}
    return made | {
        "kind": "refusal",
        "rule": rule,
        "stage": stage,
        "reply": f"{code} 5.7.1 No (ref R{number})",
        "facts": known,
    }


@pytest.fixture(scope="module")
def records():
    chance = random.Random(1)
    return [record(number, chance) for number in range(100_000)]


@pytest.fixture(scope="module")
def site(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("site")
    write_trail(folder, records)
    return write_site(folder, {"policy/rules.toml": RULES})


def test_every_one_of_100_000_decisions_is_the_same_again(site, records):
    begun = time.process_time()
    found = gatepost("policy", "replay", "--config", site, "--json")
    assert time.process_time() - begun < 30
    assert found.code == 0, found.output[:2000]
    said = found.json
    assert (said["decisions"], said["same"]) == (100_000, 100_000)
    shadow = sum("shadow" in each for each in records)
    assert said["shadow"] == {"dated": {"before": shadow, "after": shadow}}


def test_a_changed_policy_is_found_out_exactly(site, records, tmp_path):
    changed = tmp_path / "rules.toml"
    changed.write_text(
        RULES.replace("score >= 2.0", "score >= 1.0").replace('== "TLSv1.2" &&', '== "TLSv1.1" &&')
        .replace('mode = "shadow"', "")
    )  # fmt: skip
    found = gatepost("policy", "replay", "--config", site, "--policy", changed, "--json")
    assert found.code == 1
    breaks = {
        each["reference"] for each in records if breaks_by_date(each) or breaks_by_score(each)
    }
    seen = [each for each in found.json["differences"] if each["effect"] == "breaks"]
    assert sum(each["count"] for each in seen) == len(breaks) > 0
    assert {each["after"] for each in seen} == {"listed", "dated"}
    assert {each["example"] for each in seen} <= breaks
    freed = [each for each in found.json["differences"] if each["before"] == "old_tls"]
    assert sum(each["count"] for each in freed) == sum(r.get("rule") == "old_tls" for r in records)


def breaks_by_date(each):
    return "shadow" in each


def breaks_by_score(each):
    score = each["facts"].get("dnsbl.score")
    return each["kind"] == "transaction" and "identity" not in each and score == 1.5


# --- what is said of a few records ----------------------------------------------------------------


def passed(reference, sender, **fields):
    return {
        "time": NOW.isoformat(timespec="milliseconds")[:-6] + "Z",
        "kind": "transaction",
        "listener": "partners",
        "reference": reference,
        "peer_address": "192.0.2.1",
        "tls_version": "TLSv1.3",
        "sender": sender,
        "recipients": ["a@example.org", "b@example.org"],
        "size_bytes": 1000,
        "facts": {"identity.may_connect": True, "identity.may_send": True, "identity.may_write": True},
        "recipient_facts": [{"identity.may_reach": True}] * 2,
        **fields,
    }  # fmt: skip


def rule(name, at, when, then='"reject"\nreply = "550 5.7.1 No"'):
    return f"[[rule]]\nname = \"{name}\"\nat = \"{at}\"\nwhen = '''{when}'''\nthen = {then}\n"


FEW = [
    passed("A", "x@a.example", identity="acme"),
    passed("B", "x@a.example", identity="acme"),
    passed("C", "", helo="MX.c.example."),
    passed("D", "y@d.example", tls_version="TLSv1.2"),
]
KNOWN = [
    ("sender", "sender.domain == 'a.example'", {"acme": 2}),
    ("sender", "sender.is_null && hello.name == 'mx.c.example'", {"": 1}),
    ("hello", "identity.name == 'acme'", {"acme": 2}),
    ("sender", "sender.local == 'y' && tls.version == 'TLSv1.2'", {"": 1}),
    ("connect", "peer.network == '192.0.2.0/24' && !peer.is_local", {"acme": 2, "": 2}),
    ("recipient", "recipient.address == 'b@example.org' && recipient.earlier == 1", {"acme": 2, "": 2}),
    ("message", "recipient.count == 2 && message.size_bytes == 1000", {"acme": 2, "": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("at", "when", "broken"), KNOWN, ids=[case[1] for case in KNOWN])
def test_what_follows_from_a_record_needs_no_recorded_fact(at, when, broken, tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(tmp_path, {"rules.toml": rule("new", at, when)})
    found = gatepost("policy", "replay", "-c", config, "--json").json
    counts = {}
    for each in found["differences"]:
        counts[each["identity"]] = counts.get(each["identity"], 0) + each["count"]
    assert counts == broken
    assert found["undecided"] == 0


def test_what_no_record_holds_is_said_and_not_guessed(tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(
        tmp_path, {"rules.toml": rule("new", "sender", "!identity.known && dnsbl.score > 1.0")}
    )
    found = gatepost("policy", "replay", "-c", config, "--json")
    assert found.code == 1
    assert (found.json["same"], found.json["undecided"]) == (2, 2)
    assert found.json["facts_undecided"] == [{"facts": ["dnsbl.score"], "count": 2}]
    assert "2 can't be said" in gatepost("policy", "replay", "-c", config).output


@pytest.mark.parametrize(
    "then", ['"reject"\nreply = "550 5.7.1 No"\nmode = "shadow"', '"tag"\nheader = "X-A"\nvalue = "1"']
)  # fmt: skip
def test_shadow_rules_and_tags_that_can_t_be_said_decide_nothing(then, tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(tmp_path, {"rules.toml": rule("new", "sender", "dnsbl.score > 1.0", then)})
    found = gatepost("policy", "replay", "-c", config, "--json")
    assert (found.code, found.json["same"]) == (0, 4)
    assert found.json["facts_unknown_to_shadow_rules_and_tags"] == {"dnsbl.score": 4}


def test_who_would_break_is_named(tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(tmp_path, {"rules.toml": rule("old", "hello", "false")})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "rules.toml").write_text(
        rule("old", "hello", "false") + rule("tight", "sender", "sender.domain != 'd.example'")
    )
    found = gatepost("policy", "diff", "current", tmp_path / "new", "-c", config)
    assert found.code == 1
    lines = found.output.splitlines()
    assert lines[0] == "4 decisions since 7d: 1 are the same"
    assert "2 sender(s) would break, 3 decision(s):" in lines
    (acme,) = [line.split() for line in lines if "acme" in line]
    assert acme == ["acme", "x@a.example", "2", "tight", "550", "B"]
    back = gatepost("policy", "diff", tmp_path / "new", "current", "-c", config, "--json").json
    assert (back["senders_that_pass"], back["senders_that_break"]) == (2, 0)
    same = gatepost("policy", "diff", "current", "current", "-c", config)
    assert same.code == 0


def test_a_new_file_is_put_over_all_others(tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(tmp_path, {"rules.toml": rule("old", "hello", "false")})
    more = tmp_path / "more.toml"
    more.write_text('[[rule]]\nname = "old"\nwhen = "true"\n')
    found = gatepost("policy", "replay", "-c", config, "--policy", more, "--json").json
    assert found["different"] == 4


def test_a_list_s_file_stays_where_it_is_if_only_the_policy_is_another(tmp_path):
    write_trail(tmp_path, FEW)
    text = '[lists.bad]\nfile = "bad.txt"\n' + rule(
        "bad", "sender", "lists.bad.has(sender.address)"
    )
    config = write_site(tmp_path, {"policy/rules.toml": text})
    (tmp_path / "policy" / "bad.txt").write_text("y@d.example\n")
    other = tmp_path / "rules.toml"
    other.write_text(text.replace("bad.has(", "bad.has('x' + "))
    assert gatepost("policy", "replay", "-c", config, "--json").json["different"] == 1
    changed = gatepost("policy", "replay", "-c", config, "--policy", other, "--json")
    assert changed.json["different"] == 0


def test_a_refusal_from_before_stages_were_recorded_is_found_by_its_rule(tmp_path):
    refused = passed("E", "x@a.example") | {
        "kind": "refusal", "rule": "old", "reply": "550 5.7.1 No (ref E)", "recipient": "a@example.org",
    }  # fmt: skip
    strange = refused | {"rule": "of_somebody_else"}
    no_rule = {n: v for n, v in refused.items() if n != "facts"} | {"rule": "next_hop"}
    write_trail(tmp_path, [refused, strange, no_rule])
    config = write_site(tmp_path, {"rules.toml": rule("old", "sender", "sender.local == 'x'")})
    found = gatepost("policy", "replay", "-c", config, "--json").json
    assert (found["decisions"], found["same"]) == (1, 1)


def test_a_listener_that_is_gone_and_an_identity_s_own_rules(tmp_path):
    write_trail(tmp_path, [*FEW, passed("F", "x@f.example", listener="gone")])
    allowlist = (
        '[[identity]]\nname = "acme"\npins = ["spki:sha256:'
        + "ab" * 32
        + '"]\npolicy = ["own.toml"]\n'
    )
    config = write_site(tmp_path, {"rules.toml": rule("old", "hello", "false")}, allowlist)
    (tmp_path / "own.toml").write_text(rule("own", "sender", "true"))
    found = gatepost("policy", "replay", "-c", config, "--json").json
    assert [(each["identity"], each["after"], each["count"]) for each in found["differences"]] == [
        ("acme", "own", 2)
    ]
    assert found["facts_undecided"] == [{"facts": [], "count": 1}]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--since", "yesterday"], "--since yesterday is no time"),
        (["--since", "2999-01-01"], "no decision is on record since 2999-01-01"),
        (["--policy", "missing.toml"], "is not there"),
    ],
)
def test_mistakes_are_one_line(arguments, problem, tmp_path):
    write_trail(tmp_path, FEW)
    config = write_site(tmp_path, {"rules.toml": rule("old", "hello", "false")})
    found = gatepost("policy", "replay", "-c", config, *arguments)
    assert found.code in {1, 2}
    assert problem in found.errors
    assert found.errors.count("\n") == 1


def test_files_that_could_stand_in_for_several_or_for_none_are_refused(tmp_path):
    write_trail(tmp_path, FEW)
    old = rule("old", "hello", "false")
    config = write_site(tmp_path, {"a/rules.toml": old, "b/rules.toml": old})
    (tmp_path / "rules.toml").write_text(old)
    found = gatepost("policy", "replay", "-c", config, "--policy", tmp_path / "rules.toml")
    assert (found.code, "could stand in for" in found.errors) == (2, True)
    (tmp_path / "new" / "b").mkdir(parents=True)
    (tmp_path / "new" / "b" / "rules.toml").write_text(old.replace("false", "true"))
    found = gatepost("policy", "replay", "-c", config, "--policy", tmp_path / "new", "--json")
    assert found.json["different"] == 4
    (tmp_path / "empty").mkdir()
    assert gatepost("policy", "replay", "-c", config, "--policy", tmp_path / "empty").code == 2
