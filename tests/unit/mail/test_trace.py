"""What is put in front of a message, and what is taken out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

import pytest

from relay.mail.headers import split
from relay.mail.hygiene import Hygiene
from relay.mail.trace import origin_of, stamp
from relay.model import (
    Address,
    Endpoint,
    Envelope,
    Identity,
    Recipient,
    Sender,
    TlsFacts,
    TrustDecision,
    TrustStatus,
)
from relay.policy.case import Case
from tests.kit.pki import Authority

NOW = datetime(2026, 1, 5, 4, 7, 9, tzinfo=UTC)
LEAF = Authority("CA").issue("mail.acme.example").certificates[0]
TLS = TlsFacts(
    "TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519MLKEM768", resumed=False, certificates=(LEAF,)
)
PINNED = TrustDecision(TrustStatus.PINNED, Identity("acme-billing"), "its key is pinned")
ABSENT = TrustDecision(TrustStatus.ABSENT, None, "no certificate")
ENVELOPE = Envelope(
    Sender(Address("a", "acme.example")), [Recipient(Address("bob", "example.org"))]
)
BODY = b"From: a@acme.example\r\n\r\nHello\r\n"


def facts(**changes: object) -> Case:
    known = {"tls": TLS, "hello": "mail.acme.example", "peer": Endpoint("192.0.2.1", 4711)}
    return Case(listener="partners", **{**known, **changes})  # type: ignore[arg-type]


def stamped(
    message: bytes = BODY,
    *,
    facts: Case = facts(),
    decision: TrustDecision | None = PINNED,
    envelope: Envelope = ENVELOPE,
    results: str = "",
    forged: tuple[bytes, ...] = (),
) -> list[bytes]:
    block = split(message)
    return stamp(
        block,
        origin_of(facts, decision),
        envelope=envelope,
        hostname="edge.example.org",
        reference="7K3M9QX2WZ4A",
        now=NOW,
        results=results,
        forged=[each for each in block.fields if each.name in forged],
    )


def received(**changes: object) -> str:
    """The Received field on one line."""
    text = b"".join(stamped(**changes)).decode()  # type: ignore[arg-type]
    parsed = message_from_bytes(text.encode(), policy=policy.SMTP.clone(utf8=True))
    return " ".join(str(parsed["Received"]).split())


def test_received_says_who_how_to_whom_and_when() -> None:
    assert received() == (
        "from mail.acme.example ([192.0.2.1])"
        " (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
        " key-exchange X25519MLKEM768)"
        ' (Client CN "mail.acme.example", identity acme-billing (pinned))'
        " by edge.example.org (Gatepost) with ESMTPS id 7K3M9QX2WZ4A"
        " for <bob@example.org>; Mon, 5 Jan 2026 04:07:09 +0000"
    )


def test_the_date_is_one_that_others_read() -> None:
    assert parsedate_to_datetime(received().rpartition("; ")[2]) == NOW


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"facts": facts(peer=Endpoint("2001:db8::1", 25))}, "([IPv6:2001:db8::1])"),
        ({"facts": facts(peer=Endpoint("::ffff:192.0.2.9", 25))}, "([192.0.2.9])"),
        ({"facts": facts(peer=Endpoint("/run/gatepost.sock", 0))}, "from mail.acme.example (using"),
        ({"facts": facts(hello="[192.0.2.1]")}, "from [192.0.2.1] ("),
        ({"facts": facts(hello="")}, "from unknown ("),
        ({"facts": facts(tls=replace(TLS, group=""))}, "(256/256 bits)) (Client"),
        ({"facts": facts(tls=None), "decision": None}, "([192.0.2.1]) by"),
        ({"facts": facts(tls=None), "decision": None}, "with ESMTP id"),
        (
            {"facts": facts(tls=replace(TLS, certificates=())), "decision": ABSENT},
            "(No client certificate presented)",
        ),
        ({"decision": None}, '(Client CN "mail.acme.example" (not verified))'),
        (
            {"decision": replace(PINNED, status=TrustStatus.EXPIRED)},
            '(Client CN "mail.acme.example" (not verified))',
        ),
        (
            {"envelope": replace(ENVELOPE, sender=Sender(None, smtputf8=True))},
            "with UTF8SMTPS id",
        ),
    ],
)
def test_received_follows_what_is_known(changes: dict[str, object], words: str) -> None:
    assert words in received(**changes)


def test_several_recipients_are_not_disclosed() -> None:
    two = replace(ENVELOPE, recipients=ENVELOPE.recipients * 2)
    assert " for <" not in received(envelope=two)


@pytest.mark.parametrize(("smtputf8", "is_named"), [(True, True), (False, False)])
def test_an_utf8_recipient_is_named_only_under_smtputf8(smtputf8: bool, is_named: bool) -> None:
    envelope = Envelope(
        Sender(None, smtputf8=smtputf8), [Recipient(Address("jürgen", "example.org"))]
    )
    assert (" for <jürgen@example.org>" in received(envelope=envelope)) is is_named


def test_values_from_elsewhere_can_not_add_a_line_or_leave_their_comment() -> None:
    evil = 'x\r\nBcc: evil@example.org) by "mx (\\ é'
    leaf = Authority("CA").issue('CN")\\(\nX: y').certificates[0]
    known = facts(hello=evil, tls=replace(TLS, certificates=(leaf,)))
    prefix = stamped(facts=known)[0]
    assert prefix.isascii()
    starts = [line for line in prefix.split(b"\r\n") if line and line[0] not in b" \t"]
    assert [line.partition(b":")[0] for line in starts] == [b"Received", b"Gatepost-Identity"]
    assert b"\n" not in prefix.replace(b"\r\n", b"")
    assert prefix.count(b"(") == prefix.count(b")")


def test_lines_stay_below_the_limit_whatever_the_values() -> None:
    identity = Identity("i" * 64)
    prefix = stamped(facts=facts(hello="h" * 4000), decision=replace(PINNED, identity=identity))[0]
    assert max(map(len, prefix.split(b"\r\n"))) <= 998
    assert max(map(len, stamped()[0].split(b"\r\n"))) <= 78


def test_the_identity_field_names_identity_status_and_key() -> None:
    parsed = message_from_bytes(b"".join(stamped()))
    assert " ".join(parsed["Gatepost-Identity"].split()) == (
        f"acme-billing; status=pinned; spki=sha256:{LEAF.spki_sha256}"
    )


@pytest.mark.parametrize("decision", [None, ABSENT, replace(PINNED, status=TrustStatus.EXPIRED)])
def test_without_trust_there_is_no_identity_field(decision: TrustDecision | None) -> None:
    assert b"Gatepost-Identity" not in b"".join(stamped(decision=decision))


FORGERIES = [
    b"Gatepost-Identity: root\r\n",
    b"gatepost-IDENTITY: root\r\n",
    b"Gatepost-Identity \t: root\r\n",
    b"Gatepost-Identity:\r\n root;\r\n\tstatus=pinned\r\n",
    b"Gatepost-Identity: one\r\nX-Between: yes\r\nGatepost-Identity: two\r\n",
    b"stray line\r\nGatepost-Identity: root\r\n",
]


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("decision", [PINNED, ABSENT])
def test_forged_identity_fields_are_taken_out(forgery: bytes, decision: TrustDecision) -> None:
    message = (
        b"From: a@acme.example\r\n" + forgery + b"Subject: x\r\n\r\nGatepost-Identity: body\r\n"
    )
    sent = b"".join(stamped(message, decision=decision))
    header, _, body = sent.partition(b"\r\n\r\n")
    assert body == b"Gatepost-Identity: body\r\n"
    assert b"root" not in header
    assert header.lower().count(b"gatepost-identity") == (decision is PINNED)
    assert header.endswith(b"Subject: x")


def test_a_forged_field_at_the_very_top_is_taken_out() -> None:
    sent = b"".join(stamped(b"Gatepost-Identity: root\r\n" + BODY, decision=ABSENT))
    assert b"root" not in sent
    assert sent.endswith(b"\r\n" + BODY)


def test_the_message_itself_is_passed_on_uncopied() -> None:
    _, message = stamped()
    assert message is BODY


@pytest.mark.parametrize(
    ("message", "between"),
    [
        (b"Just text\r\n", b"\r\n"),
        (b"..dots\r\n", b"\r\n"),
        (b"\r\nEmpty header\r\n", b""),
        (b"", b""),
    ],
)
def test_a_message_without_header_keeps_its_text_as_body(message: bytes, between: bytes) -> None:
    prefix, *rest = stamped(message)
    assert b"".join(rest) == message
    assert prefix.endswith(b"\r\n" + between)
    assert message_from_bytes(prefix + message).get_payload() == message.decode().removeprefix(
        "\r\n"
    )


def test_what_was_found_out_stands_below_who_has_sent_it() -> None:
    added, _ = stamped(results="edge.example.org;\r\n\tspf=pass")
    assert added.endswith(b"\r\nAuthentication-Results: edge.example.org;\r\n\tspf=pass\r\n")


def test_where_nothing_was_found_out_there_is_no_field() -> None:
    assert b"Authentication-Results" not in b"".join(stamped())


@pytest.mark.parametrize("received", ["pseudonymise", "remove"])
def test_where_mail_leaves_the_inside_our_own_field_names_no_client(received: str) -> None:
    hygiene = Hygiene.of(["X-Client-IP"], received, "edge.example.org", bytes(32))  # type: ignore[arg-type]
    message = (
        b"X-Client-IP: 192.0.2.7\r\nGatepost-Identity: forged\r\nFrom: a@b.example\r\n\r\nHi\r\n"
    )
    block = split(message)
    chunks = stamp(
        block,
        origin_of(facts(), None),
        envelope=Envelope(Sender(None)),
        hostname="edge.example.org",
        reference="REF",
        now=datetime(2026, 11, 21, tzinfo=UTC),
        hygiene=hygiene,
    )
    found = b"".join(chunks)
    assert found.startswith(b"Received: from p")
    assert b".invalid\r\n\tby edge.example.org (Gatepost) with " in found
    assert found.endswith(b"+0000\r\nFrom: a@b.example\r\n\r\nHi\r\n")


def test_fields_that_are_forged_are_taken_out_one_by_one() -> None:
    message = b"A: 1\r\nB: 2\r\nA: 3\r\n" + BODY
    assert b"".join(stamped(message, forged=(b"a",))[1:]) == b"B: 2\r\n" + BODY


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (PINNED, "tls-client=pass policy.identity=acme-billing policy.status=pinned"),
        (ABSENT, "tls-client=none"),
        (TrustDecision(TrustStatus.UNPINNED, None, ""), "tls-client=fail policy.status=unpinned"),
        (
            TrustDecision(TrustStatus.EXPIRED, Identity("acme-billing"), ""),
            "tls-client=fail policy.status=expired",
        ),
        (None, ""),
    ],
)
def test_what_a_certificate_is_worth(decision: TrustDecision | None, expected: str) -> None:
    assert origin_of(facts(), decision).client == expected
