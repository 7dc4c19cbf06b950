"""The operator's rules, case by case, through the real binary: reply, action, and what the audit trail knows."""

import smtplib

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE, Answer, Proxied
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.site import RECIPIENT, SENDER, with_public_listener

RULES = """
[lists.partners]
kind = "domain"
values = ["partner.example"]

[lists.offices]
kind = "network"
values = ["198.51.100.0/24", "2001:db8:5::/48"]

[lists.spam_words]
values = ["Lottery", "casino"]
file = "words.txt"

[[rule]]
name = "connect_network"
at = "connect"
when = 'lists.offices.has(peer.address)'
then = "reject"
reply = "554 5.7.1 Nobody writes from {peer.network}"

[[rule]]
name = "connect_busy"
at = "connect"
when = 'peer.address == "203.0.113.9"'
then = "defer"
reply = "421 4.7.0 Not now, {peer.address}"

[[rule]]
name = "hello_word"
at = "hello"
when = 'hello.name == "casino.example"'
then = "reject"
reply = "550 5.7.1 No games, {hello.name}"

[[rule]]
name = "old_tls"
at = "sender"
when = 'sender.local == "tls" && tls.version != "TLSv1.2"'
then = "defer"
reply = "451 4.7.5 Not with {tls.version}, resumed: {tls.resumed}"

[[rule]]
name = "tier"
at = "sender"
when = 'sender.local == "tier" && identity.tier == "verified" && identity.status == "pinned"'
then = "reject"
reply = "550 5.7.1 {identity.name} is {identity.tier}, {identity.age_days} days old"

[[rule]]
name = "friends"
at = "sender"
when = 'lists.partners.has(sender.domain)'
then = "accept"

[[rule]]
name = "words"
at = "sender"
when = 'lists.spam_words.has(sender.local)'
then = "reject"
reply = "550 5.7.1 {sender.local} is no good word"

[[rule]]
name = "pattern"
at = "sender"
when = 'sender.local.matches("^[0-9]{6,}$") && !sender.is_null'
then = "reject"
reply = "550 5.7.1 {sender.address}: too many digits"

[[rule]]
name = "announced"
at = "sender"
when = "sender.size_bytes > 1000000"
then = "reject"
reply = "552 5.3.4 {sender.size_bytes} bytes are too many"

[[rule]]
name = "tried_out"
at = "sender"
when = 'sender.local == "shadow"'
then = "reject"
reply = "550 5.7.1 Never said"
mode = "shadow"

[[rule]]
name = "unknown_defers"
at = "sender"
when = 'sender.local == "unknown" && peer.reverse_name == "x"'
then = "reject"
reply = "550 5.7.1 Never said"

[[rule]]
name = "unknown_skips"
at = "sender"
when = 'sender.local == "skip" && peer.reverse_name == "x"'
then = "reject"
reply = "550 5.7.1 Never said"
on_error = "skip"

[[rule]]
name = "unknown_breaks"
at = "sender"
when = 'sender.local == "break" && peer.reverse_name == "x"'
then = "reject"
reply = "550 5.7.1 Nothing is known of {peer.reverse_name}"
on_error = "break"

[[rule]]
name = "injection"
at = "sender"
when = 'sender.local.contains("{")'
then = "reject"
reply = "550 5.7.1 {{{sender.local}}}"

[[rule]]
name = "mailbox"
at = "recipient"
when = 'recipient.local == "nobody"'
then = "reject"
reply = "550 5.1.1 There is no {recipient.address}"

[[rule]]
name = "many"
at = "recipient"
when = "recipient.earlier >= 2"
then = "defer"
reply = "452 4.5.3 That makes {recipient.earlier}, and one more is too many"

[[rule]]
name = "subject_tag"
at = "recipient"
when = 'recipient.local == "tagged"'
then = "tag"
header = "X-Tag"
value = "for {recipient.domain}"

[[rule]]
name = "size_tag"
at = "message"
when = "message.size_bytes > 0"
then = "tag"
header = "X-Size"
value = "{message.size_bytes} to {recipient.count}"

[[rule]]
name = "no_message_id"
at = "message"
when = '"message-id" in message.missing && sender.local == "missing"'
then = "reject"
reply = "554 5.6.0 Not without {message.missing}"

[[rule]]
name = "too_large"
at = "message"
when = "message.size_bytes > 20000"
then = "reject"
reply = "552 5.3.4 {message.size_bytes} bytes are too many"

[[rule]]
name = "message_duplicate"
when = "size(message.duplicate) > 0"

[[rule]]
name = "hello_not_full"
enabled = false

[[rule]]
name = "trap"
at = "sender"
when = 'sender.local == "trap"'
then = "ban"
reply = "550 5.7.1 That was a trap"
duration = "1h"

[[rule]]
name = "network_trap"
at = "sender"
when = 'sender.local == "nettrap"'
then = "ban"
reply = "550 5.7.1 That was a trap"
duration = "3s"
prefix = 24

[[rule]]
name = "abuse"
at = "message"
when = 'sender.local == "abuse"'
then = "suspend"
reply = "550 5.7.1 {identity.name} is suspended for this"
duration = "2s"
"""
OTHERS_RULES = """
[[rule]]
name = "others_own"
at = "sender"
when = 'sender.local == "nobody"'
then = "reject"
reply = "550 5.7.1 {identity.name} has rules of its own"

[[rule]]
name = "words"
enabled = false
"""
WORDS = "# words\nprize\n"


@pytest.fixture(scope="module")
def relay(site, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relay")
    (folder / "policy").mkdir()
    (folder / "policy" / "rules.toml").write_text(RULES)
    (folder / "policy" / "words.txt").write_text(WORDS)
    settings = site.settings(
        upstream.port,
        listener={"policy": ["defaults", "policy/rules.toml"]},
    )
    with_public_listener(settings)
    allowlist = site.allowlist() + (
        f'[[identity]]\nname = "other"\npins = ["{site.unpinned.pin}"]\nheader_from = "any"\n'
        'policy = ["policy/other.toml"]\n'
    )
    (folder / "policy" / "other.toml").write_text(OTHERS_RULES)
    with RelayProcess(folder, settings, allowlist) as running:
        yield running


def stranger(relay, site, sender="someone@strange.example", *, address="192.0.2.1", certificate=None,
             hello="client.strange.example", content=MESSAGE, recipients=(RECIPIENT,)):  # fmt: skip
    """Send as somebody from the Internet; return the deciding reply."""
    try:
        smtp = Proxied(relay.ports["public"], address)
    except smtplib.SMTPConnectError as refused:
        return Answer(refused.smtp_code, refused.smtp_error.decode())
    with smtp:
        smtp.ehlo(hello)
        smtp.starttls(context=site.context(certificate))
        code, text = smtp.ehlo(hello)
        if code != 250:
            return Answer(code, text.decode())
        return clients.transact(smtp, content, sender, recipients)


def partner(relay, site, sender="billing@acme.example", content=MESSAGE, recipients=(RECIPIENT,)):
    """Send as the identity acme-billing."""
    return clients.send(relay.port, site.context(site.pinned), content, sender, recipients)


OK = (250, "2.0.0 Ok", "")
REFUSALS = [
    ("a network at connect", stranger, {"address": "198.51.100.7"}, 554, "5.7.1 Nobody writes from 198.51.100.0/24", "connect_network"),
    ("an IPv6 network at connect", stranger, {"address": "2001:db8:5::1"}, 554, "5.7.1 Nobody writes from 2001:db8:5::/64", "connect_network"),
    ("an address for now", stranger, {"address": "203.0.113.9"}, 421, "4.7.0 Not now, 203.0.113.9", "connect_busy"),
    ("a name in EHLO", stranger, {"hello": "casino.example"}, 550, "5.7.1 No games, casino.example", "hello_word"),
    ("our own name in EHLO", stranger, {"hello": "edge.example"}, 550, "5.7.1 edge.example is this host, not yours", "hello_ours"),
    ("TLS facts", stranger, {"sender": "tls@strange.example"}, 451, "4.7.5 Not with TLSv1.3, resumed: false", "old_tls"),
    ("identity facts", partner, {"sender": "tier@acme.example"}, 550, "5.7.1 acme-billing is verified, ", "tier"),
    ("an exact list, case aside", stranger, {"sender": "LOTTERY@strange.example"}, 550, "5.7.1 LOTTERY is no good word", "words"),
    ("a list's file", stranger, {"sender": "prize@strange.example"}, 550, "5.7.1 prize is no good word", "words"),
    ("a regular expression", stranger, {"sender": "1234567@strange.example"}, 550, "5.7.1 1234567@strange.example: too many digits", "pattern"),
    ("a fact that can't be had defers", stranger, {"sender": "unknown@strange.example"}, 451, "4.3.0 This can't be checked now, try again later", "unknown_defers"),
    ("a fact that can't be had breaks", stranger, {"sender": "break@strange.example"}, 550, "5.7.1 Nothing is known of (unknown)", "unknown_breaks"),
    ("braces in a value", stranger, {"sender": "{x}@strange.example"}, 550, "5.7.1 {{x}}", "injection"),
    ("a recipient", stranger, {"recipients": ["nobody@dest.example"]}, 550, "5.1.1 There is no nobody@dest.example", "mailbox"),
    ("a missing field", stranger, {"sender": "missing@strange.example", "content": b"From: a@strange.example\r\n\r\nHello\r\n"}, 554, "5.6.0 Not without ", "no_message_id"),
    ("a large message", stranger, {"content": MESSAGE + b"x" * 900 + b"\r\n" + (b"y" * 990 + b"\r\n") * 21}, 552, "5.3.4 ", "too_large"),
    ("a changed default rule", partner, {"content": b"Subject: twice\r\n" + MESSAGE}, 554, "5.6.0 Header fields that may stand once only stand more often: subject", "message_duplicate"),
    ("no author", stranger, {"content": b"Subject: x\r\n\r\nHello\r\n"}, 554, "5.6.0 The message needs one From field", "message_no_author"),
    ("another's sender", partner, {"sender": "ceo@strange.example"}, 550, "5.7.1 acme-billing may not send as <ceo@strange.example>", "identity_sender"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("send", "how", "code", "text", "rule"),
    [case[1:] for case in REFUSALS],
    ids=[case[0] for case in REFUSALS],
)
def test_a_rule_refuses(send, how, code, text, rule, relay, site):  # noqa: PLR0917  a table
    answer = send(relay, site, **how)
    assert answer.code == code
    assert answer.text.startswith(text)
    record = relay.wait_for_audit(kind="refusal", reference=answer.reference)
    assert record["rule"] == rule
    assert record["reply"] == f"{answer.code} {answer.text}"
    assert record["facts"]


PASSES = [
    ("who breaks no rule", stranger, {}),
    ("the null sender", stranger, {"sender": ""}),
    ("a partner", partner, {}),
    ("who is accepted by an earlier rule", stranger, {"sender": "1234567@mail.partner.example"}),
    ("a fact that can't be had and is skipped", stranger, {"sender": "skip@strange.example"}),
    ("a bare name in EHLO, whose rule is off", stranger, {"hello": "printer"}),
    ("an identity at the public listener", stranger, {"certificate": "pinned", "sender": SENDER}),
]


@pytest.mark.parametrize(("send", "how"), [c[1:] for c in PASSES], ids=[c[0] for c in PASSES])
def test_what_breaks_no_rule_passes(send, how, relay, site):
    if "certificate" in how:
        how = how | {"certificate": getattr(site, how["certificate"])}
    answer = send(relay, site, **how)
    assert answer.code == 250, answer


def test_a_connection_that_is_refused_at_the_banner_is_closed(relay):
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        Proxied(relay.ports["public"], "198.51.100.7")
    assert refused.value.smtp_code == 554


def test_an_announced_size_is_judged_before_the_message_comes(relay, site):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        code, text = smtp.docmd("MAIL FROM:<billing@acme.example> SIZE=2000000")
    assert (code, text[:35]) == (552, b"5.3.4 2000000 bytes are too many (r")


def test_one_recipient_too_many_is_deferred_and_the_others_have_the_message(relay, site, upstream):
    recipients = [f"r{number}@dest.example" for number in range(3)]
    assert partner(relay, site, recipients=recipients).code == 250
    assert len(upstream.received("r1@dest.example")) == 1
    assert not upstream.received("r2@dest.example")
    assert relay.wait_for_audit(kind="refusal", recipient="r2@dest.example")["rule"] == "many"


def test_tags_are_added_and_forged_ones_taken_out(relay, site, upstream):
    content = b"X-Tag: forged\r\nX-SIZE : forged\r\n" + MESSAGE
    assert partner(relay, site, content=content, recipients=["tagged@dest.example"]).code == 250
    (stored,) = upstream.received("tagged@dest.example")
    header = stored.content.partition(b"\r\n\r\n")[0]
    assert b"\r\nX-Tag: for dest.example\r\n" in header
    assert b"\r\nX-Size: %d to 1\r\n" % len(content) in header
    assert b"forged" not in stored.content


def test_a_tag_for_one_message_is_not_on_the_next(relay, site, upstream):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert clients.transact(smtp, recipients=["tagged@dest.example"]).code == 250
        assert clients.transact(smtp, recipients=["plain@dest.example"]).code == 250
    assert b"X-Tag" not in upstream.received("plain@dest.example")[0].content


def test_a_rule_in_shadow_mode_is_recorded_and_not_done(relay, site):
    assert partner(relay, site, sender="shadow@acme.example").code == 250
    record = relay.wait_for_audit(kind="transaction", sender="shadow@acme.example")
    assert record["shadow"] == ["tried_out"]


def test_a_record_holds_the_facts_that_were_asked_for(relay, site):
    recipients = ["a@dest.example", "b@dest.example"]
    assert partner(relay, site, "facts@acme.example", recipients=recipients).code == 250
    record = relay.wait_for_audit(kind="transaction", sender="facts@acme.example")
    assert record["facts"]["identity.may_send"] is True
    assert record["facts"]["sender.local"] == "facts"
    assert record["facts"]["message.size_bytes"] == len(MESSAGE)
    assert "dnsbl.score" not in record["facts"], "nobody needed to wait for it"
    assert "message.missing" not in record["facts"], "it is about another sender"
    assert [each["recipient.local"] for each in record["recipient_facts"]] == ["a", "b"]


# --- rules of an identity ---------------------------------------------------------------------------


def send_as_other(relay, site, sender=SENDER):
    with clients.session(relay.port, site.context(site.unpinned)) as smtp:
        smtp.ehlo("client.example")
        return clients.transact(smtp, sender=sender)


def test_an_identity_has_rules_of_its_own_over_those_of_the_listener(relay, site):
    answer = send_as_other(relay, site, "nobody@x.example")
    assert (answer.code, answer.text.partition(" (ref")[0]) == (
        550,
        "5.7.1 other has rules of its own",
    )
    assert partner(relay, site, "nobody@acme.example").code == 250
    assert send_as_other(relay, site, "casino@x.example").code == 250, "a rule switched off"
    assert partner(relay, site, "casino@acme.example").code == 550


def test_an_allowlist_with_another_policy_is_taken_over_and_one_with_mistakes_is_not(relay, site):
    allowlist = (relay.folder / "allowlist.toml").read_text()
    own = relay.folder / "policy" / "more.toml"
    own.write_text(OTHERS_RULES.replace("rules of its own", "more of them"))
    relay.write_allowlist(allowlist.replace("other.toml", "more.toml"))

    def said():
        return send_as_other(relay, site, "nobody@x.example").text

    wait_until("the new rules are in force", lambda: "has more of them" in said())
    relay.write_allowlist(allowlist.replace("other.toml", "gone.toml"))
    wait_until("the mistake is told", lambda: "gone.toml is not there" in relay.log())
    assert "has more of them" in said()
    relay.write_allowlist(allowlist)
    wait_until("the old rules are back", lambda: "rules of its own" in said())


# --- bans and suspensions ---------------------------------------------------------------------------


def is_banned_everywhere(relay, site, address):
    """Whether whichever worker is met knows of the ban."""
    return all(stranger(relay, site, address=address).code == 554 for _ in range(12))


def test_who_walks_into_a_trap_is_banned_at_once_in_all_workers(relay, site):
    answer = stranger(relay, site, "trap@strange.example", address="192.0.2.66")
    assert (answer.code, answer.text.partition(" (ref")[0]) == (550, "5.7.1 That was a trap")
    record = relay.wait_for_audit(kind="sanction", peer_address="192.0.2.66")
    assert (record["action"], record["target"], record["times"]) == ("ban", "192.0.2.66/32", 1)
    wait_until("both workers know", lambda: is_banned_everywhere(relay, site, "192.0.2.66"), 2)
    refused = stranger(relay, site, address="192.0.2.66")
    assert (refused.code, refused.text[:34]) == (554, "5.7.1 Your address is banned here ")
    assert relay.wait_for_audit(kind="refusal", reference=refused.reference)["rule"] == "banned"
    assert stranger(relay, site, address="192.0.2.67").code == 250


def test_a_ban_ends_and_the_next_one_lasts_longer(relay, site):
    assert stranger(relay, site, "nettrap@strange.example", address="203.0.113.70").code == 550
    wait_until("both workers know", lambda: is_banned_everywhere(relay, site, "203.0.113.71"), 2)

    def is_over():  # for each worker: one may have looked at the time half a second earlier
        return all(stranger(relay, site, address="203.0.113.71").code == 250 for _ in range(6))

    wait_until("the ban ends", is_over, 10)
    assert stranger(relay, site, "nettrap@strange.example", address="203.0.113.72").code == 550
    records = wait_until(
        "both bans are on record",
        lambda: (found := relay.audit(kind="sanction", target="203.0.113.0/24"))[1:] and found,
    )
    assert [each["times"] for each in records] == [1, 2]


def test_loopback_is_never_banned(relay, site):
    content = MESSAGE
    with clients.session(relay.ports["partners"], site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert smtp.docmd("MAIL FROM:<someone@strange.example>")[0] == 550
    assert stranger(relay, site, "trap@strange.example", address="127.0.0.9").code == 550
    assert stranger(relay, site, address="127.0.0.9", content=content).code == 250


def test_an_identity_is_suspended_and_its_address_left_alone(relay, site):
    """Its live sessions end in all workers; it is known again when the time is over."""
    idle = [clients.session(relay.port, site.context(site.unpinned)) for _ in range(4)]
    opened = [each.__enter__() for each in idle]
    for smtp in opened:
        smtp.ehlo("client.example")
    try:
        answer = send_as_other(relay, site, "abuse@strange.example")
        assert (answer.code, answer.text.partition(" (ref")[0]) == (
            550,
            "5.7.1 other is suspended for this",
        )
        record = relay.wait_for_audit(kind="sanction", identity="other")
        assert (record["action"], record["target"]) == ("suspension", "other")
        for smtp in opened:
            smtp.sock.settimeout(1.5)
            assert smtp.sock.recv(1000).startswith(b"421 4.7.0 Identity suspended")
    finally:
        for each in idle:
            each.__exit__(None, None, None)
    refused = send_as_other(relay, site)
    assert (refused.code, refused.text[:25]) == (550, "5.7.13 Identity suspended")
    assert partner(relay, site).code == 250, "another identity from the same address"
    wait_until("it is over", lambda: send_as_other(relay, site).code == 250, 10)


# --- reload -----------------------------------------------------------------------------------------


def test_rules_and_lists_are_taken_over_under_way_and_mistakes_are_not(relay, site):
    folder = relay.folder / "policy"

    def is_refused(word):
        return stranger(relay, site, f"{word}@strange.example").code == 550

    with clients.session(relay.port, site.context(site.pinned)) as smtp:  # a live session
        smtp.ehlo("client.example")
        assert not is_refused("voucher")
        (folder / "words.txt").write_text(WORDS + "voucher\n")
        wait_until("the list is read", lambda: is_refused("voucher"))

        def is_refused_here():
            smtp.rset()
            return smtp.docmd("MAIL FROM:<voucher@acme.example>")[0] == 550

        wait_until("the live session's worker has read it, too", is_refused_here)
        (folder / "rules.toml").write_text(RULES.replace("sender.size_bytes >", "sender.sice >"))
        wait_until("the mistake is told", lambda: "unknown fact `sender.sice`" in relay.log())
        assert is_refused("voucher"), "the old rules stay"
        assert relay.command("check").returncode == 2

        (folder / "rules.toml").write_text(RULES)
        (folder / "words.txt").write_text(WORDS)
        wait_until("the list is read again", lambda: not is_refused("voucher"))
    assert relay.audit(kind="admin", action="policy.reload")
