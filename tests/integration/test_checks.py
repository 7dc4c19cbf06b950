"""Checks through the real binary, with a name server whose lists are sound, dead or lying."""

import json
import smtplib
import time

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE, Proxied
from tests.kit.country_database import country_database
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.files import PE, message_with, zipped
from tests.kit.relay_process import RelayProcess
from tests.kit.site import RECIPIENT, with_public_listener

LISTED, ALLOWED, CLEAN = "198.51.100.66", "198.51.100.67", "198.51.100.1"
LISTED_6 = "2001:db8::66"
NIBBLES = "6.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
ZONES = {
    "2.0.0.127.ip.example": {"A": "127.0.0.2"},
    "66.100.51.198.ip.example": {"A": "127.0.0.2", "TXT": "open proxy"},
    "67.100.51.198.ip.example": {"A": "127.0.0.2"},
    f"{NIBBLES}.ip.example": {"A": "127.0.0.2"},
    "2.0.0.127.white.example": {"A": "127.0.0.2"},
    "67.100.51.198.white.example": {"A": "127.0.5.1"},
    "test.names.example": {"A": "127.0.0.2"},
    "spam.example.names.example": {"A": "127.0.1.2"},
    # a zone that has gone, and answers everything it is asked in these tests
    **{
        f"{label}.lying.example": {"A": "127.0.0.2"}
        for label in ("1.0.0.127", "2.0.0.127", "1.100.51.198", "66.100.51.198")
    },
    "1.100.51.198.in-addr.arpa": {"PTR": "mx.clean.example"},
    "mx.clean.example": {"A": CLEAN},
    "68.100.51.198.in-addr.arpa": {"PTR": "pool-198-51-100-68.isp.example"},
}
COUNTRIES = {
    "198.51.100.200/32": {"country": {"iso_code": "AQ"}},
    "2001:db8:aa::/48": {"country": {"iso_code": "AQ"}},
}
RULES = """
[[rule]]
name = "far_away"
at = "sender"
when = 'peer.country in ["AQ", "BV"]'
then = "reject"
reply = "550 5.7.1 Nobody writes from {peer.country}"

[[rule]]
name = "hello_listed"
at = "sender"
when = 'dnsbl.hello_listed'
then = "reject"
reply = "550 5.7.1 {hello.name} is listed"

[[rule]]
name = "sender_listed"
at = "sender"
when = 'dnsbl.sender_score > 1.0'
then = "reject"
reply = "550 5.7.1 {sender.domain} is listed ({dnsbl.sender_score})"

[[rule]]
name = "dynamic"
at = "sender"
when = 'sender.local == "dynamic" && (peer.looks_dynamic || !peer.reverse_confirmed)'
then = "reject"
reply = "550 5.7.25 {peer.reverse_name} is no mail server"

[[rule]]
name = "hello_foreign"
at = "sender"
when = 'sender.local == "hello" && !hello.matches'
then = "reject"
reply = "550 5.7.1 {hello.name} is not at {peer.address}"

[[rule]]
name = "listed_silent"
at = "sender"
when = 'sender.local == "unanswered" && size(dnsbl.unanswered) > 0'
then = "reject"
reply = "550 5.7.1 Not counted: {dnsbl.unanswered}"
"""
LIST_SECONDS = 1.0


def lists(*zones):
    return {"dnsbl": {"list": list(zones), "list_timeout": f"{int(LIST_SECONDS * 1000)}ms"}}


@pytest.fixture(scope="module")
def dns():
    with DnsServer(ZONES) as running:
        yield running


@pytest.fixture(scope="module")
def public(site, upstream, dns, tmp_path_factory):
    """A relay for strangers whose connections tell their address, with lists that can be believed."""
    folder = tmp_path_factory.mktemp("public")
    checks = lists(
        {"zone": "ip.example", "weight": 2},
        {"zone": "white.example", "weight": -1},
        {"zone": "names.example", "about": "hello"},
        {"zone": "names.example", "about": "sender", "weight": 1.5},
    )
    checks["uri"] = {"list": [{"zone": "names.example"}]}
    with RelayProcess(folder, settings(site, upstream, dns, folder, checks), "") as running:
        yield running


def settings(site, upstream, dns, folder, checks):
    (folder / "rules.toml").write_text(RULES)
    (folder / "countries.mmdb").write_bytes(country_database(COUNTRIES))
    checks = checks | {"country_database": "countries.mmdb"}
    made = site.settings(upstream.port, workers=1, dns={"servers": [dns.address]}, checks=checks)
    return with_public_listener(made, client_certificate="off", policy=["defaults", "rules.toml"])


def send(relay, site, *, peer=CLEAN, hello="mx.clean.example", sender="a@clean.example",
         content=MESSAGE):  # fmt: skip
    try:
        smtp = Proxied(relay.ports["public"], peer)
    except smtplib.SMTPConnectError as refused:
        return clients.Answer(refused.smtp_code, refused.smtp_error.decode())
    with smtp:
        smtp.ehlo(hello)
        smtp.starttls(context=site.context())
        smtp.ehlo(hello)
        return clients.transact(smtp, content, sender, [RECIPIENT])


def html(link):
    return b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n" + MESSAGE + link + b"\r\n"


CASES = [
    ("nothing against it", {}, 250, "2.0.0 ", None),
    ("a listed address", {"peer": LISTED}, 554, "5.7.1 198.51.100.66 is listed: ip.example: open proxy", "dnsbl_listed"),
    ("a listed IPv6 address", {"peer": LISTED_6}, 554, "5.7.1 2001:db8::66 is listed", "dnsbl_listed"),
    ("listed and allowed", {"peer": ALLOWED}, 250, "2.0.0 ", None),
    ("a listed EHLO name", {"hello": "mx.spam.example"}, 550, "5.7.1 mx.spam.example is listed", "hello_listed"),
    ("a listed sender", {"sender": "a@spam.example"}, 550, "5.7.1 spam.example is listed (1.5)", "sender_listed"),
    ("a confirmed name", {"sender": "dynamic@clean.example"}, 250, "2.0.0 ", None),
    ("a dynamic name", {"sender": "dynamic@clean.example", "peer": "198.51.100.68"}, 550, "5.7.25 pool-198-51-100-68.isp.example is no mail server", "dynamic"),
    ("a name of its own", {"sender": "hello@clean.example"}, 250, "2.0.0 ", None),
    ("another's name", {"sender": "hello@clean.example", "hello": "mx.other.example"}, 550, "5.7.1 mx.other.example is not at 198.51.100.1", "hello_foreign"),
    ("a country", {"peer": "198.51.100.200"}, 550, "5.7.1 Nobody writes from AQ", "far_away"),
    ("a country by IPv6", {"peer": "2001:db8:aa::1"}, 550, "5.7.1 Nobody writes from AQ", "far_away"),
    ("a program", {"content": message_with({"setup.exe": PE})}, 554, "5.7.1 No programs by mail, in archives neither: setup.exe", "attachment_executable"),
    ("a program in an archive", {"content": message_with({"a.zip": zipped({"b.scr": PE})})}, 554, "5.7.1 No programs by mail, in archives neither: a.zip", "attachment_executable"),
    ("an archive bomb", {"content": message_with({"a.zip": zipped({"0": b"\0" * 150_000_000})})}, 554, "5.7.1 An archive unpacks to more", "attachment_bomb"),
    ("a document", {"content": message_with({"a.pdf": b"%PDF-1.7"})}, 250, "2.0.0 ", None),
    ("10,000 parts", {"content": message_with({}).replace(b"--frontier--", b"--frontier\r\n\r\nx\r\n" * 10_000 + b"--frontier--")}, 554, "5.6.0 The message has more parts", "mime_too_much"),
    ("200 messages in one another", {"content": b"Content-Type: message/rfc822\r\n" + MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 200}, 554, "5.6.0 The message has more parts", "mime_too_much"),
    ("a header of 1 MB", {"content": b"X: y\r\n" * 180_000 + MESSAGE}, 552, "5.3.4 ", "header_too_long"),
    ("a link to a listed place", {"content": html(b'<a href="https://www.spam.example/">x</a>')}, 554, "5.7.1 The message leads to a place that is listed: names.example", "uri_listed"),
    ("a link to another place", {"content": html(b'<a href="https://www.clean.example/">x</a>')}, 250, "2.0.0 ", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "code", "text", "rule"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_found_out_decides(how, code, text, rule, public, site):  # noqa: PLR0917  a table
    answer = send(public, site, **how)
    assert (answer.code, answer.text[: len(text)]) == (code, text)
    if rule is not None:
        record = public.wait_for_audit(kind="refusal", reference=answer.reference)
        assert record["rule"] == rule


def test_facts_are_on_record(public, site):
    answer = send(public, site, peer=LISTED)
    facts = public.wait_for_audit(kind="refusal", reference=answer.reference)["facts"]
    assert facts["dnsbl.score"] == 2.0
    assert facts["dnsbl.reasons"] == ["ip.example: open proxy"]


def test_what_was_found_out_decides_the_same_again(public, site):
    """`gatepost policy replay` on the relay's own trail: nobody is asked, and nothing is another."""
    send(public, site, peer=LISTED)
    send(public, site)
    found = public.command("policy", "replay", "--since", "1h", "--json")
    said = json.loads(found.stdout)
    decided = [each for each in public.audit() if "facts" in each]
    assert (said["same"], said["decisions"], found.returncode) == (len(decided), len(decided), 0)


def test_a_list_that_lies_is_not_believed(site, upstream, dns, tmp_path):
    checks = lists({"zone": "lying.example", "weight": 5}, {"zone": "ip.example", "weight": 2})
    with RelayProcess(tmp_path, settings(site, upstream, dns, tmp_path, checks), "") as relay:
        assert send(relay, site).code == 250
        answer = send(relay, site, sender="unanswered@clean.example")
        assert answer.text.startswith("5.7.1 Not counted: lying.example: lists 127.0.0.1")
        listed = send(relay, site, peer=LISTED)
        assert (listed.code, "ip.example" in listed.text) == (554, True)


def test_a_dead_list_costs_its_deadline_three_times_and_no_more(site, upstream, tmp_path):
    with DnsServer(ZONES) as own:
        silent = [
            label for peer in (1, 2, 3, 4, 5) for label in [f"{peer}.100.51.198.dead.example"]
        ]
        for name in (*silent, "1.0.0.127.dead.example", "2.0.0.127.dead.example"):
            own.faults[name] = (Fault.SILENT,)
        checks = lists({"zone": "dead.example", "weight": 5}, {"zone": "ip.example", "weight": 2})
        made = settings(site, upstream, own, tmp_path, checks)
        with RelayProcess(tmp_path, made, "") as relay:
            waits = [seconds_to_send(relay, site, f"198.51.100.{peer}") for peer in range(1, 6)]
            assert all(wait < LIST_SECONDS + 1.0 for wait in waits)
            assert sum(wait > LIST_SECONDS for wait in waits) == 3
            assert max(waits[3:]) < LIST_SECONDS, "it is paused"
            assert send(relay, site, peer=LISTED).code == 554, "the others are counted"


def seconds_to_send(relay, site, peer):
    begun = time.monotonic()
    assert send(relay, site, peer=peer).code == 250
    return time.monotonic() - begun
