"""`gatepost policy show | check | explain`: what is in force, whether it is sound, what it does with a message."""

import pytest

from tests.kit.command_line import gatepost
from tests.kit.policy_site import write_site

PIN = "spki:sha256:" + "ab" * 32
ALLOWLIST = (
    f'[[identity]]\nname = "acme"\npins = ["{PIN}"]\nsenders = ["@acme.example"]\n'
    'policy = ["own.toml"]\n'
)
RULES = """
[[rule]]
name = "hello_ours"
enabled = false

[[rule]]
name = "word"
at = "sender"
when = 'sender.local == "casino"'
then = "reject"
reply = "550 5.7.1 No {sender.local}"

[[rule]]
name = "hold"
at = "message"
when = "message.size_bytes > 100000"
then = "tag"
header = "X-Large"
value = "{message.size_bytes}"
mode = "shadow"
"""
OWN = """
[[rule]]
name = "word"
mode = "shadow"
"""
MESSAGE = b"From: a@strange.example\nTo: x@example.org\nSubject: Hi\n\nHello\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    return write_site(tmp_path, {"defaults": "", "policy/rules.toml": RULES}, ALLOWLIST)


# --- show -------------------------------------------------------------------------------------------


def test_rules_are_shown_in_their_order_with_file_and_line(config, tmp_path):
    (shown,) = gatepost("policy", "show", "-c", config, "--json").json
    assert shown["listener"] == "partners"
    rules = {each["name"]: each for each in shown["rules"]}
    names = [each["name"] for each in shown["rules"] if each.get("at") == "sender"]
    assert names[:2] == ["identity_network", "identity_sender"]
    assert names[-1] == "word"
    assert "hello_ours" in names, "switched off, and where"
    path = f"{tmp_path}/policy/rules.toml"
    assert rules["word"]["places"]["when"] == f"{path}:9"
    assert rules["hello_ours"]["place"].startswith("defaults:")
    assert rules["hello_ours"]["places"]["enabled"] == f"{path}:4"


def test_the_text_tells_what_is_off_in_shadow_and_changed_elsewhere(config, tmp_path):
    lines = [line.split() for line in gatepost("policy", "show", "-c", config).output.splitlines()]
    path = f"{tmp_path}/policy/rules.toml"
    assert ["sender", "hello_ours", "reject", "off"] in [line[:4] for line in lines]
    assert ["enabled", "False", f"({path}:4)"] in lines
    assert ["message", "hold", "tag", "shadow", f"{path}:13"] in lines


def test_an_identity_s_own_rules_are_shown_over_the_others(config, tmp_path):
    (shown,) = gatepost("policy", "show", "-c", config, "--identity", "acme", "--json").json
    (word,) = [each for each in shown["rules"] if each["name"] == "word"]
    assert (word["mode"], word["places"]["mode"]) == ("shadow", f"{tmp_path}/own.toml:4")


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [("--listener", "x", "there are: partners"), ("--identity", "x", "`gatepost pin list` shows")],
)
def test_names_that_are_not_there(option, value, remedy, config):
    found = gatepost("policy", "show", "-c", config, option, value)
    assert (found.code, remedy in found.errors) == (2, True)


# --- check ------------------------------------------------------------------------------------------


def test_sound_files_are_counted(config, tmp_path):
    alone = gatepost("policy", "check", tmp_path / "policy" / "rules.toml", "--json")
    assert (alone.code, alone.json["mistakes"]) == (0, [])
    assert alone.json["rules"] > 6
    assert "no mistakes" in gatepost("policy", "check", "-c", config).output


def test_a_mistake_has_its_line_and_a_caret(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(RULES.replace("sender.local ==", "sender.locale =="))
    found = gatepost("policy", "check", file)
    assert found.code == 2
    assert f"{file}:9: " in found.errors
    place, caret = found.errors.splitlines()[-2:]
    assert place[caret.index("^") :].startswith("sender.locale")
    (mistake,) = gatepost("policy", "check", file, "--json").json["mistakes"]
    assert (mistake["line"], "did you mean `sender.local`?" in mistake["remedy"]) == (9, True)


def test_a_rule_of_the_defaults_is_there_unless_they_are_left_out(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    assert gatepost("policy", "check", file).code == 0
    found = gatepost("policy", "check", file, "--alone")
    assert (found.code, "there is no such rule to switch off" in found.errors) == (2, True)


# --- explain ----------------------------------------------------------------------------------------


@pytest.fixture
def explain(config, tmp_path):
    (tmp_path / "message.eml").write_bytes(MESSAGE)

    def run(*arguments):
        place = ("-c", config, "--to", "x@example.org", "--json")
        return gatepost("policy", "explain", tmp_path / "message.eml", *place, *arguments)

    return run


def test_a_message_that_passes_with_its_facts_and_rules(explain):
    found = explain("--as", "acme", "--from", "a@acme.example", "--hello", "mx.acme.example")
    # the author is another's: the allowlist entry says senders, and header_from is not "any"
    assert (found.code, found.json["rule"]) == (1, "identity_author")
    stages = {each["stage"]: each for each in found.json["stages"]}
    assert list(stages) == ["connect", "hello", "sender", "recipient", "message"]
    assert stages["sender"]["facts"]["identity.may_send"] is True
    results = {each["name"]: each["result"] for each in stages["sender"]["rules"]}
    assert results["identity_sender"] == "does not hold"
    assert found.json["check_ms"]["identity"] >= 0


def test_a_stranger_s_message_passes_and_nothing_is_left_behind(explain, tmp_path):
    found = explain(
        "--policy", tmp_path / "policy" / "rules.toml", "--identity", "acme", "--from", ""
    )
    assert found.json["stages"][2]["facts"]["identity.may_send"] is True
    assert not (tmp_path / "state").exists()


def test_the_rule_that_refuses_ends_it(explain):
    found = explain("--from", "casino@acme.example", "--hello", "printer")
    assert found.code == 1
    assert found.json["rule"] == "hello_not_full"
    assert found.json["reply"].startswith("504 5.5.2 EHLO with the full name")
    last = found.json["stages"][-1]
    assert (last["stage"], last["rule"]) == ("sender", "hello_not_full")


def test_changed_files_can_be_tried(explain, tmp_path):
    changed = tmp_path / "rules.toml"
    changed.write_text(RULES + '\n[[rule]]\nname = "hello_not_full"\nwhen = "false"\n')
    found = explain("--from", "casino@acme.example", "--hello", "printer", "--policy", changed)
    assert (found.json["rule"], found.json["reply"]) == ("word", "550 5.7.1 No casino")


def test_shadow_rules_show_and_do_nothing(explain):
    found = explain("--identity", "acme", "--from", "casino@acme.example")
    sender = found.json["stages"][2]
    assert (sender["rule"], sender["shadow"]) == ("", ["word"])


def test_the_text_has_facts_rules_and_verdict(config, tmp_path):
    (tmp_path / "message.eml").write_bytes(MESSAGE)
    said = gatepost(
        "policy", "explain", tmp_path / "message.eml", "-c", config, "--to", "x@example.org", "--from",
        "casino@x.example", "--as", "acme",
    ).output  # fmt: skip
    assert "    identity.may_send = False\n" in said
    assert "    rule identity_sender: holds\n" in said
    assert "    => identity_sender: 550 5.7.1 acme may not send as <casino@x.example>\n" in said
    assert said.splitlines()[-1].startswith("Refused by identity_sender: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--peer", "here"], "'here' is no address"),
        (["--from", "me"], "'me' is no address"),
        (["--as", "nobody"], 'there is no identity "nobody"'),
        (["--listener", "x"], 'there is no listener "x"'),
    ],
)
def test_explain_s_mistakes_are_one_line(arguments, problem, explain):
    found = explain(*arguments)
    assert (found.code, problem in found.errors, found.errors.count("\n")) == (2, True, 1)
