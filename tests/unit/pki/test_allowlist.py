"""The allowlist: what it may hold, what every mistake says and where, and what an identity may do."""

import time
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest

from relay.errors import ConfigurationError
from relay.model import Address, Identity, Suspension, Tier
from relay.pki.allowlist import (
    Allowlist,
    may_connect_from,
    may_reach,
    may_send,
    parse_allowlist,
)

A, B, C = (f"spki:sha256:{digit * 64}" for digit in "abc")

FULL = f"""\
[[identity]]
name = "acme-billing"
pins = ["{A}", "cert:sha256:{":".join(["9F"] * 32)}"]
names = ["dns:Mail.Acme.example", "uri:spiffe://acme/billing"]
chain = "required"
senders = ["@Acme.example", "@.acme.example"]
recipients = ["@example.org"]
header_from = "any"
networks = ["192.0.2.0/24", "2001:db8::1"]
tier = "trusted"
not_before = 2026-01-01T00:00:00+01:00
not_after = 2027-01-31
contact = "postmaster@acme.example"
"""


def mistakes_in(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_allowlist(text, "allowlist.toml")
    return [str(each) for each in (caught.value, *caught.value.others)]


def identity(**values):
    return Identity(name="acme", **values)


# --- what may stand in it --------------------------------------------------------------------


def test_every_key_is_read_and_made_canonical():
    (found,) = parse_allowlist(FULL, "allowlist.toml")
    assert found == Identity(
        name="acme-billing",
        pins=(A, "cert:sha256:" + "9f" * 32),
        names=("dns:mail.acme.example", "uri:spiffe://acme/billing"),
        chain="required",
        senders=("@acme.example", "@.acme.example"),
        recipients=("@example.org",),
        header_from="any",
        networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::1")),
        tier=Tier.TRUSTED,
        not_before=datetime(2025, 12, 31, 23, tzinfo=UTC),
        not_after=datetime(2027, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
        contact="postmaster@acme.example",
    )


def test_what_is_left_out_has_its_default():
    (found,) = parse_allowlist(f'[[identity]]\nname = "acme"\npins = ["{A}"]\n', "x")
    assert found == Identity(name="acme", pins=(A,), chain="pin-only")


def test_names_need_a_chain_without_saying_so():
    (found,) = parse_allowlist('[[identity]]\nname = "acme"\nnames = ["ip:192.0.2.1"]\n', "x")
    assert found.chain == "required"


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "\ufeff# with a byte order mark\n", "identity = []"]
)
def test_an_empty_list_knows_nobody(text):
    assert len(parse_allowlist(text, "x")) == 0


def test_windows_line_ends_and_inline_tables_are_fine():
    text = f'identity = [{{ name = "acme", pins = ["{A}"] }}]\r\n'
    assert parse_allowlist(text, "x").find("acme") is not None


def test_identities_are_found_by_pin_by_name_and_by_their_own_name():
    allowlist = parse_allowlist(FULL, "x")
    (acme,) = allowlist.identities
    assert allowlist.with_pin(A) is acme
    assert allowlist.with_pin("cert:sha256:" + "9f" * 32) is acme
    assert allowlist.with_name("uri:spiffe://acme/billing") is acme
    assert allowlist.find("acme-billing") is acme
    assert allowlist.with_pin(B) is allowlist.with_name(A) is allowlist.find("acme") is None
    assert len(Allowlist()) == 0


def test_ten_thousand_identities_load_quickly():
    text = "".join(
        f'[[identity]]\nname = "id-{number}"\npins = ["spki:sha256:{number:064x}"]\nsenders = ["@d{number}.example"]\n\n'
        for number in range(10_000)
    )
    start = time.process_time()
    allowlist = parse_allowlist(text, "x")
    assert time.process_time() - start < 4  # measured: 0.35 s; under coverage thrice that
    assert allowlist.with_pin(f"spki:sha256:{9999:064x}") is allowlist.identities[-1]


def test_a_suspension_needs_its_reason_only():
    text = f'[[identity]]\nname = "acme"\npins = ["{A}"]\nsuspended = {{ reason = "stolen"%s }}\n'
    assert parse_allowlist(text % "", "x").identities[0].suspended == Suspension("stolen")
    full = text % ', by = "eve", at = 2026-11-21T12:00:00+01:00, until = 2026-11-22'
    assert parse_allowlist(full, "x").identities[0].suspended == Suspension(
        "stolen",
        "eve",
        datetime(2026, 11, 21, 11, tzinfo=UTC),
        datetime(2026, 11, 22, 23, 59, 59, 999999, UTC),
    )


# --- mistakes --------------------------------------------------------------------------------

GOOD = f'[[identity]]\nname = "acme"\npins = ["{A}"]\n'  # three lines


@pytest.mark.parametrize(
    ("text", "line", "words", "remedy"),
    [
        ("[[identity]\n", 1, "no valid TOML", "correct"),
        ("\n\nx = = 1", 3, "no valid TOML", "correct"),
        ('x = """', 1, "no valid TOML", "correct"),
        ("x = 1979-13-01", 1, "no valid TOML", "correct"),
        ("x = " + "[" * 5000, 1, "no valid TOML", "correct"),
        ("x = " + "9" * 5000, 1, "no valid TOML", "correct"),
        ('# x\nidentty = "x"', 2, "unknown key 'identty'", "did you mean [[identity]]?"),
        ("\n[server]\n", 2, "unknown key 'server'", "[[identity]]"),
        ("identity = 1", 1, "no list of tables", "[[identity]]"),
        ("[identity]\nname = 1", 1, "no list of tables", "[[identity]]"),
        ("identity = [1]", 1, "no list of tables", "[[identity]]"),
        ("[[identity]]\n\n[[identity]]", 1, "without a name", "add name"),
        (GOOD + 'sendrs = ["x"]', 4, "unknown key 'sendrs'", "did you mean senders?"),
        (GOOD + "xyz = 1", 4, "unknown key 'xyz'", "known are name, pins"),
        ('[[identity]]\nname = "a b"', 2, "cannot name an identity", "letters"),
        ('[[identity]]\nname = ""', 2, "cannot name an identity", "letters"),
        ("[[identity]]\nname = 7", 2, "cannot name an identity", "letters"),
        ('[[identity]]\nname = "a"', 1, "neither pins nor names", "pins"),
        ('[[identity]]\nname = "a"\npins = []', 3, "the list is empty", "leave the key out"),
        (f'[[identity]]\nname = "a"\npins = "{A}"', 3, "is no list", "["),
        (f'[[identity]]\nname = "a"\npins = [\n"{A}",\n"sha256:x"]', 5, "does not say what was hashed", "spki:"),
        ('[[identity]]\nname = "a"\npins = [1]', 3, "not plain text", '"..."'),
        ('[[identity]]\nname = "a"\nnames = ["dns:*.x.example"]', 3, "wildcard", "pin"),
        ('[[identity]]\nname = "a"\nnames = ["x.example"]', 3, "no certificate name", "dns:"),
        ('[[identity]]\nname = "a"\nnames = ["dns:x"]\nchain = "pin-only"', 4, "has no pins", "required"),
        (GOOD + 'chain = "off"', 4, "chain: 'off' is not known", '"required" or "pin-only"'),
        (GOOD + 'header_from = "none"', 4, "header_from: 'none' is not known", '"senders" or "any"'),
        (GOOD + 'tier = "gold"', 4, "tier: 'gold' is not known", '"new" or "verified" or "trusted"'),
        (GOOD + "tier = 1", 4, "tier: 1 is not known", "new"),
        (GOOD + 'senders = ["@a.example", "acme.example"]', 4, "no address pattern", '"@acme.example"'),
        (GOOD + 'recipients = ["*@x"]', 4, "recipients: '*@x'", '"@x"'),
        (GOOD + 'networks = ["192.0.2.1/24"]', 4, "an address, not the network", '"192.0.2.0/24"'),
        (GOOD + 'networks = ["192.0.2"]', 4, "no network", "2001:db8::/32"),
        (GOOD + "suspended = true", 4, "suspended: True gives no reason", "pin suspend"),
        (GOOD + 'suspended = { by = "eve" }', 4, "gives no reason", "pin suspend"),
        (GOOD + "suspended = { reason = 1 }", 4, "suspended: reason: 1 is not plain text", '"..."'),
        (GOOD + 'suspended = { reason = "x", til = 2027-01-01 }', 4, "unknown key 'til'", "until"),
        (GOOD + 'suspended = { reason = "x", until = "2h" }', 4, "suspended: until: '2h' is no date", "quotes"),
        (GOOD + 'not_after = "2027-01-31"', 4, "no date", "without quotes"),
        (GOOD + "not_after = 2027-01-31T00:00:00", 4, "time zone", "Z"),
        (GOOD + "not_after = 12:00:00", 4, "no date", "2027-01-31"),
        (GOOD + "not_before = 0001-01-01T00:00:00+14:00", 4, "no date", "2027-01-31"),
        (GOOD + "not_before = 2027-01-02\nnot_after = 2027-01-01", 5, "ends before it begins", "not_before"),
        (GOOD + 'contact = "a\\nb"', 4, "not plain text", '"..."'),
        (GOOD + GOOD.replace(A, B), 5, "duplicate identity 'acme'", "own name"),
        (GOOD + GOOD.replace("acme", "other"), 6, "overlapping pin", "one identity only"),
        (GOOD.replace('"]\n', f'", "{A}"]\n'), 3, "overlapping pin", "one identity only"),
        (
            '[[identity]]\nname = "a"\nnames = ["dns:X.example"]\n[[identity]]\nname = "b"\nnames = [\n  "dns:y.example",\n  "dns:x.example"]',
            8, "overlapping name", "one identity only",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_line_and_remedy(text, line, words, remedy):
    first = mistakes_in(text)[0]
    assert first.startswith(f"allowlist.toml:{line}: ")
    assert words in first
    assert remedy in first.partition("; ")[2]
    assert "\n" not in first


def test_pins_in_different_spelling_overlap_too():
    colons = "spki:sha256:" + ":".join(["AA"] * 32)
    (mistake,) = mistakes_in(GOOD + f'[[identity]]\nname = "other"\npins = ["{colons}"]\n')
    assert "identity 'acme' has it already" in mistake


def test_all_mistakes_are_told_in_the_order_of_the_file():
    text = f'[[identity]]\nname = "a"\npins = ["{B}"]\ntier = "x"\n' + GOOD + GOOD + "[other]\n"
    lines = [int(each.split(":")[1]) for each in mistakes_in(text)]
    assert lines == [4, 9, 10, 11]


def test_a_header_inside_a_string_does_not_shift_the_lines():
    text = GOOD.replace('"acme"', '"acme"\ncontact = """[[identity]]"""') + "tier = 7\n"
    assert mistakes_in(text)[0].startswith("allowlist.toml:5: tier")


# --- what an identity may do -----------------------------------------------------------------

OURS = Address("billing", "acme.example")
FOREIGN = Address("x", "other.example")


def test_an_identity_sends_as_what_its_senders_say():
    bound = identity(senders=("@acme.example",))
    assert may_send(bound, OURS)
    assert not may_send(bound, FOREIGN)
    assert may_send(identity(), FOREIGN)


def test_the_null_sender_is_always_allowed():
    assert may_send(identity(senders=("@acme.example",)), None)


def test_an_identity_reaches_what_its_recipients_say():
    bound = identity(recipients=("@acme.example",))
    assert may_reach(bound, OURS)
    assert not may_reach(bound, FOREIGN)
    assert may_reach(identity(), FOREIGN)


def test_the_bare_postmaster_is_always_reached():
    assert may_reach(identity(recipients=("@acme.example",)), Address("Postmaster", ""))


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        (None, "203.0.113.9", True),
        (["192.0.2.0/24"], "192.0.2.77", True),
        (["192.0.2.0/24"], "192.0.3.77", False),
        (["192.0.2.0/24", "2001:db8::/32"], "2001:db8::9", True),
        (["192.0.2.0/24"], "2001:db8::9", False),
        (["::/0"], "192.0.2.1", False),
        (["192.0.2.1"], "192.0.2.1", True),
    ],
)
def test_an_identity_comes_from_its_networks(networks, address, allowed):
    bound = identity(networks=networks and tuple(map(ip_network, networks)))
    assert may_connect_from(bound, ip_address(address)) is allowed
