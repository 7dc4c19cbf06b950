"""`gatepost pin`: the allowlist is edited as a careful person would."""

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest

from relay.allowlist_file import add_identity, read_allowlist
from relay.audit.record import FIELDS
from relay.cli.operator_acts import operator
from tests.kit.command_line import gatepost
from tests.kit.pki import Authority, self_signed

A, B, C = (f"spki:sha256:{digit * 64}" for digit in "abc")

BY_HAND = f"""\
# Our partners.

[[identity]]   # since 2024
name    = "acme"
pins    = [
  "{A}",  # the old mail server
]
senders = ["@acme.example"]

# The printer on the second floor
[[identity]]
name = "printer"
pins = ["SPKI:SHA256:{":".join(["BB"] * 32)}"]
names = ["dns:printer.example"]
senders = ["printer@example.org"]
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "allowlist.toml").write_text(BY_HAND)
    return tmp_path


def pin(site, command, *arguments):
    return gatepost("pin", command, *arguments, "--config", site / "gatepost.toml")


def identities(site):
    return {each.name: each for each in read_allowlist(site / "allowlist.toml")}


def text(site):
    return (site / "allowlist.toml").read_text()


# --- add -------------------------------------------------------------------------------------


def test_a_new_identity_is_added_and_all_else_stays_as_it_was(site):
    outcome = pin(site, "add", "branch", "--pin", C, "--senders", "@branch.example", "--json")
    assert outcome.code == 0, outcome.errors
    assert text(site).startswith(BY_HAND)
    assert identities(site)["branch"].pins == (C,)
    assert outcome.json["name"] == "branch"
    assert outcome.json["pins"][0]["hex"] == C


def test_the_first_identity_makes_the_file(tmp_path):
    assert pin(tmp_path, "add", "acme", "--pin", A, "--senders", "@acme.example").code == 0
    assert text(tmp_path).startswith("# Who may send")
    assert list(identities(tmp_path)) == ["acme"]


def test_a_first_pin_stands_behind_the_other_keys(site):
    by_name = '[[identity]]\nname = "a"\nnames = ["dns:a.example"]\n\n# About the next one\n'
    (site / "allowlist.toml").write_text(by_name + BY_HAND)
    assert pin(site, "add", "a", "--pin", C).code == 0
    assert f'names = ["dns:a.example"]\npins = ["{C}"]\n\n# About the next one' in text(site)


def test_a_successor_is_added_and_comments_stay(site):
    assert pin(site, "add", "acme", "--pin", C).code == 0
    assert identities(site)["acme"].pins == (A, C)
    for comment in ("# Our partners.", "# since 2024", "# the old mail server", "# The printer"):
        assert comment in text(site)


def test_every_option_becomes_its_key(site):
    outcome = pin(
        site, "add", "branch", "--pin", C, "--names", "dns:mx.branch.example", "--senders", "@branch.example",
        "--recipients", "@example.org", "--networks", "2001:db8::/32", "--tier", "new",
        "--chain", "required", "--not-after", "2099-01-31", "--contact", "her@branch.example",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    found = identities(site)["branch"]
    assert found.names == ("dns:mx.branch.example",)
    assert (found.chain, found.tier, found.contact) == ("required", "new", "her@branch.example")
    assert (found.senders, found.recipients) == (("@branch.example",), ("@example.org",))
    assert f"{found.not_after:%F}" == "2099-01-31"
    assert "not_after = 2099-01-31\n" in text(site)


def test_an_identity_may_be_known_by_name_only(site):
    assert pin(site, "add", "branch", "--names", "dns:mx.branch.example").code == 0
    assert identities(site)["branch"].chain == "required"


def test_the_first_pin_of_an_identity_known_by_name(site):
    pin(site, "add", "branch", "--names", "dns:mx.branch.example")
    assert pin(site, "add", "branch", "--pin", C).code == 0
    assert identities(site)["branch"].pins == (C,)


@pytest.mark.parametrize(("kind", "attribute"), [("spki", "pin"), ("cert", "cert_pin")])
def test_a_file_is_pinned(site, kind, attribute):
    issued = Authority().issue()
    (site / "new.pem").write_bytes(issued.chain_pem)
    assert pin(site, "add", "branch", "--cert", site / "new.pem", "--kind", kind).code == 0
    assert identities(site)["branch"].pins == (getattr(issued, attribute),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["branch"], "nothing to know it by; give --pin, --cert FILE or --names"),
        (["branch", "--pin", "sha256:" + "a" * 64], "does not say what was hashed"),
        (["branch", "--pin", "acme"], "is no pin"),
        (["br anch", "--pin", C], "cannot name an identity"),
        (["branch", "--pin", A], f"overlapping pin {A}: identity 'acme' has it already"),
        (["acme", "--pin", A], "identity 'acme' has it already"),
        (["branch", "--pin", B], "identity 'printer' has it already"),
        (["acme", "--pin", C, "--tier", "trusted"], "identity 'acme' is there already; leave out --tier"),
        (["branch", "--pin", C, "--senders", "branch.example"], '--senders: \'branch.example\' is no address pattern; for a whole domain write "@branch.example"'),
        (["branch", "--names", "dns:x.example", "--chain", "pin-only"], "pin-only and has no pins"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_changes_nothing(site, arguments, words):
    outcome = pin(site, "add", *arguments)
    assert outcome.code == 2
    assert words in outcome.errors
    assert outcome.errors.count("\n") == 1
    assert text(site) == BY_HAND


def test_a_file_without_a_pin_is_named(site):
    (site / "junk.pem").write_text("junk")
    outcome = pin(site, "add", "branch", "--cert", site / "junk.pem")
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)
    assert outcome.errors.startswith(f"{site / 'junk.pem'}: it is no PEM file")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[[identity]]\nname = 7\n", ":2: "),
        (b"# \xe9\n", ":1: not UTF-8"),
        (b"\n[[x", ":2: no valid TOML"),
    ],
)
def test_a_list_with_mistakes_is_not_edited(site, content, place):
    path = site / "allowlist.toml"
    path.write_bytes(content)
    outcome = pin(site, "add", "branch", "--pin", C)
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{path}{place}")
    assert path.read_bytes() == content


# --- remove ----------------------------------------------------------------------------------


def test_an_identity_is_removed_and_the_others_stay(site):
    outcome = pin(site, "remove", "acme")
    assert outcome.code == 0, outcome.errors
    assert list(identities(site)) == ["printer"]
    assert "# Our partners." in text(site)
    assert "identity acme removed" in outcome.output


def test_one_pin_is_removed_however_it_is_spelled(site):
    pin(site, "add", "acme", "--pin", C)
    colons = "spki:sha256:" + ":".join(["AA"] * 32)
    assert pin(site, "remove", "acme", "--pin", colons).code == 0
    assert identities(site)["acme"].pins == (C,)


def test_the_last_pin_may_go_where_a_name_is_left(site):
    assert pin(site, "remove", "printer", "--pin", B).code == 0
    assert identities(site)["printer"].pins == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no identity is called nobody"),
        (["acme", "--pin", C], f"acme has no pin {C}"),
        (["acme", "--pin", A], "it is the only pin of acme"),
        (["acme", "--pin", "x"], "is no pin"),
    ],
)
def test_what_cannot_be_removed_is_one_line_and_changes_nothing(site, arguments, words):
    outcome = pin(site, "remove", *arguments)
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)
    assert words in outcome.errors
    assert text(site) == BY_HAND


def test_identities_in_one_line_are_left_to_their_author(site):
    (site / "allowlist.toml").write_text(f'identity = [{{ name = "acme", pins = ["{A}"] }}]\n')
    outcome = pin(site, "remove", "acme")
    assert outcome.code == 2
    assert "edit it by hand" in outcome.errors


# --- suspend and restore ---------------------------------------------------------------------


def test_a_suspension_stands_behind_the_keys_and_goes_without_a_trace(site):
    outcome = pin(site, "suspend", "acme", "--reason", 'key "stolen"', "--json")
    assert outcome.code == 0, outcome.errors
    found = identities(site)["acme"].suspended
    assert (found.reason, found.by, found.until) == ('key "stolen"', operator(), None)
    assert datetime.now(UTC) - found.at < timedelta(minutes=5)
    assert outcome.json["suspended"]["reason"] == 'key "stolen"'
    lines = text(site).splitlines()
    before = lines.index('senders = ["@acme.example"]')
    assert lines[before + 1].startswith("suspended = {reason")
    assert lines[before + 2 : before + 4] == ["", "# The printer on the second floor"]
    assert pin(site, "restore", "acme").code == 0
    assert text(site) == BY_HAND


def test_a_suspension_may_have_an_end_and_a_later_one_counts(site):
    assert pin(site, "suspend", "printer", "--reason", "x").code == 0
    assert pin(site, "suspend", "printer", "--reason", "y", "--for", "1h30m").code == 0
    found = identities(site)["printer"].suspended
    assert found.reason == "y"
    assert found.until - found.at == timedelta(minutes=90)


@pytest.mark.parametrize("duration", ["2", "soon", "0s", "-2h", "99999999999w"])
def test_a_duration_is_checked_before_anything_is_done(site, duration):
    outcome = pin(site, "suspend", "acme", "--reason", "x", "--for", duration)
    assert outcome.code == 2
    assert "2h" in outcome.errors
    assert text(site) == BY_HAND


def test_only_who_is_suspended_can_be_restored(site):
    outcome = pin(site, "restore", "acme")
    assert outcome.code == 2
    assert "acme is not suspended" in outcome.errors
    assert pin(site, "restore", "nobody").code == 2
    assert pin(site, "suspend", "nobody", "--reason", "x").code == 2
    assert pin(site, "suspend", "acme").code == 2
    assert text(site) == BY_HAND


def test_list_and_show_say_who_is_suspended(site):
    pin(site, "suspend", "acme", "--reason", "key stolen", "--for", "2h")
    until = identities(site)["acme"].suspended.until
    for command in (("list",), ("show", "acme")):
        assert f"suspended until {until:%Y-%m-%d %H:%M} UTC" in pin(site, *command).output
    assert f"by {operator()} at" in pin(site, "show", "acme").output
    assert "key stolen" in pin(site, "show", "acme").output
    acme, printer = pin(site, "list", "--json").json
    assert acme["suspended"]["until"] == until.isoformat()
    assert printer["suspended"] is None


def test_a_suspension_that_is_over_is_no_state_any_more(site):
    over = 'suspended = { reason = "x", until = 2020-01-01 }\n'
    (site / "allowlist.toml").write_text(BY_HAND + over)
    assert "suspended" not in pin(site, "list").output
    assert "over" in pin(site, "show", "printer").output


# --- on record -------------------------------------------------------------------------------

CONFIGURATION = """\
hostname = "edge.example.org"
[[listener]]
name = "partners"
address = "127.0.0.1:2525"
certificate = [{ chain = "edge.pem", key = "edge.key" }]
[route."example.org"]
hosts = ["127.0.0.1:10025"]
tls = "off"
"""


@pytest.fixture
def configured(site):
    (site / "gatepost.toml").write_text(CONFIGURATION)
    (site / "state").mkdir()
    return site


def acts(site):
    return [json.loads(line) for line in (site / "state" / "audit.jsonl").read_text().splitlines()]


def test_who_did_what_to_whom_is_on_record(configured):
    for words in (
        ("add", "branch", "--pin", C),
        ("suspend", "acme", "--reason", "key stolen", "--for", "2h"),
        ("restore", "acme"),
        ("remove", "branch"),
    ):
        assert pin(configured, *words).code == 0
    add, suspend, restore, remove = acts(configured)
    for act in (add, suspend, restore, remove):
        assert (act["kind"], act["node"], act["user"]) == ("admin", "edge.example.org", operator())
        assert act.keys() <= FIELDS.keys()
    assert (add["action"], add["target"], add["pins"]) == ("pin.add", "branch", [C])
    assert (suspend["action"], suspend["reason"]) == ("pin.suspend", "key stolen")
    assert datetime.fromisoformat(suspend["until"]) > datetime.now(UTC) + timedelta(minutes=110)
    assert (restore["action"], restore["target"]) == ("pin.restore", "acme")
    assert (remove["action"], remove["pins"]) == ("pin.remove", [C])


def test_a_certificate_made_with_its_pin_is_on_record_too(configured):
    config = ("--config", configured / "gatepost.toml")
    assert gatepost("ca", "init", *config).code == 0
    assert gatepost("cert", "issue", "branch", "--pin", *config).code == 0
    (act,) = [act for act in acts(configured) if act["action"] == "pin.add"]
    assert (act["target"], act["pins"]) == ("branch", list(identities(configured)["branch"].pins))


def test_what_was_not_done_is_not_on_record(configured):
    assert pin(configured, "remove", "nobody").code == 2
    assert pin(configured, "restore", "acme").code == 2
    assert not (configured / "state" / "audit.jsonl").exists()


def test_an_act_that_cannot_be_recorded_is_done_all_the_same(configured):
    (configured / "state" / "audit.jsonl").mkdir()
    outcome = pin(configured, "suspend", "acme", "--reason", "x")
    assert outcome.code == 0
    assert "not on record" in outcome.errors
    assert identities(configured)["acme"].suspended


def test_before_the_first_start_there_is_no_trail(configured):
    (configured / "state").rmdir()
    outcome = pin(configured, "suspend", "acme", "--reason", "x")
    assert (outcome.code, outcome.errors) == (0, "")
    assert not (configured / "state").exists()


@pytest.mark.parametrize(
    ("user", "environment", "name"),
    [(0, {"SUDO_USER": "eve"}, "eve"), (0, {}, "root"), (4711, {"SUDO_USER": "eve"}, "4711")],
)
def test_the_operator_is_named_also_behind_sudo(monkeypatch, user, environment, name):
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.delenv("SUDO_USER", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert operator() == name


# --- list and show ---------------------------------------------------------------------------


def test_the_list_shows_everybody(site):
    acme, printer = pin(site, "list", "--json").json
    assert (acme["name"], acme["pins"], acme["senders"]) == ("acme", [A], ["@acme.example"])
    assert (printer["names"], printer["chain"]) == (["dns:printer.example"], "pin-only")
    shown = pin(site, "list").output
    assert "@acme.example" in shown
    assert "dns:printer.example" in shown


def test_a_missing_list_is_an_empty_one(tmp_path):
    assert pin(tmp_path, "list", "--json").json == []


def test_an_identity_is_shown_with_all_spellings_of_its_pins(site):
    value = pin(site, "show", "acme", "--json").json
    assert set(value["pins"][0]) == {"base64", "hex", "colons"}
    shown = pin(site, "show", "acme").output
    assert all(form in shown for form in value["pins"][0].values())
    assert "@acme.example" in shown
    assert pin(site, "show", "nobody").code == 2


# --- the file --------------------------------------------------------------------------------


def test_mode_link_and_line_ends_stay(site):
    path = site / "allowlist.toml"
    real = site / "real.toml"
    real.write_bytes(BY_HAND.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    path.unlink()
    path.symlink_to(real)
    assert pin(site, "add", "acme", "--pin", C).code == 0
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert b"# since 2024\r\n" in real.read_bytes()
    assert sorted(each.name for each in site.iterdir()) == ["allowlist.toml", "real.toml"]


def test_a_list_that_cannot_be_written_leaves_no_traces(site, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device", "allowlist.toml")

    monkeypatch.setattr(os, "fsync", full)
    outcome = pin(site, "add", "acme", "--pin", C)
    assert outcome.code == 2
    assert "No space left" in outcome.errors
    assert [each.name for each in site.iterdir()] == ["allowlist.toml"]
    assert text(site) == BY_HAND


def test_edits_at_the_same_time_all_arrive(tmp_path):
    path = tmp_path / "allowlist.toml"
    threads = [
        threading.Thread(target=add_identity, args=(path, {"name": f"id-{number}", "pins": [f"spki:sha256:{number:064x}"]}))
        for number in range(8)
    ]  # fmt: skip
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=30)
    assert sorted(identities(tmp_path)) == [f"id-{number}" for number in range(8)]


def test_pinned_keys_may_be_of_self_signed_certificates(site):
    (site / "own.pem").write_bytes(self_signed().pem)
    assert pin(site, "add", "device", "--cert", site / "own.pem").code == 0
