"""What goes on record: the right fields, all of them known to the manual, none of them empty."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.audit.record import FIELDS
from relay.inbound import evidence
from relay.inbound.transaction import Transaction
from relay.mail import headers
from relay.model import (
    Address,
    Delivery,
    Endpoint,
    Identity,
    Recipient,
    Sender,
    TlsFacts,
    TrustDecision,
    TrustStatus,
)
from relay.policy.case import Case
from relay.smtp.replies import Reply
from relay.tls.clienthello import ClientHello

if TYPE_CHECKING:
    from relay.ports import Budget

HELLO = ClientHello(
    versions=("TLSv1.3", "TLSv1.2"),
    ciphers=(0x1301,),
    groups=(29,),
    signature_algorithms=(0x0403,),
    server_name="edge.example.org",
)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "x25519", resumed=False, hello=HELLO)
REFUSED = Reply(421, "4.7.1", ("Client certificate not on the allowlist",))


class Boundless:
    def take(self, size_bytes: int) -> bool:
        return True

    def give(self, size_bytes: int) -> None:
        return None


def facts(**changes: object) -> Case:
    known: dict[str, object] = {
        "tls": TLS,
        "hello": "mail.acme.example",
        "identity": Identity("acme"),
        "sender": Sender(Address("a", "acme.example")),
    }
    return Case(Endpoint("192.0.2.1", 4711), "partners", **{**known, **changes})  # type: ignore[arg-type]


def with_message(message: bytes) -> Case:
    return facts(message=message, header=headers.split(message))


def finished(budget: Budget = Boundless()) -> Transaction:
    made = Transaction(Sender(Address("a", "acme.example")), "REFERENCE", budget)
    made.envelope.recipients += [
        Recipient(Address("bob", "example.org")),
        Recipient(Address("eve", "example.org")),
    ]
    return made


def test_a_handshake_shows_offer_outcome_and_decision() -> None:
    decision = TrustDecision(
        TrustStatus.UNPINNED, None, "no identity has its key", {"spki": "spki:sha256:00"}
    )
    fields = evidence.handshake(facts(identity=None, decision=decision), REFUSED)
    assert fields == {
        "listener": "partners",
        "peer_address": "192.0.2.1",
        "peer_port": 4711,
        "helo": "mail.acme.example",
        "tls_version": "TLSv1.3",
        "tls_cipher": "TLS_AES_256_GCM_SHA384",
        "tls_group": "x25519",
        "tls_resumed": False,
        "tls_ja4": HELLO.ja4,
        "tls_fallback_scsv": False,
        "tls_offered": "TLSv1.3",
        "tls_sni": "edge.example.org",
        "status": "unpinned",
        "reason": "no identity has its key",
        "spki": "spki:sha256:00",
        "reply": "421 4.7.1 Client certificate not on the allowlist",
        "rule": "trust",
    }


def test_a_handshake_with_a_known_peer_names_the_identity_and_no_refusal() -> None:
    decision = TrustDecision(TrustStatus.PINNED, Identity("acme"), "its key is pinned")
    fields = evidence.handshake(facts(hello="", decision=decision), None)
    assert fields["identity"] == "acme"
    assert not {"reply", "rule", "helo"} & fields.keys()


def test_lost_trust_shows_who_it_was_and_what_is_wrong_now() -> None:
    decision = TrustDecision(
        TrustStatus.UNPINNED, None, "no identity has its key", {"spki": "spki:sha256:00"}
    )
    fields = evidence.trust_lost(facts(), decision)
    assert fields["identity"] == "acme"
    assert fields["status"] == "unpinned"
    assert fields["reason"] == "no identity has its key"
    assert fields["spki"] == "spki:sha256:00"
    assert fields["rule"] == "trust"
    assert fields.keys() <= FIELDS.keys()


def test_a_handshake_where_nobody_is_asked_has_no_status() -> None:
    assert "status" not in evidence.handshake(facts(), None)


@pytest.mark.parametrize("hello", [None, HELLO])
def test_a_failed_handshake_says_why_and_what_was_offered(hello: ClientHello | None) -> None:
    fields = evidence.failed_handshake(facts(tls=None), hello, "no shared cipher")
    assert fields["tls_failure"] == "no shared cipher"
    assert fields.get("tls_offered") == (hello and "TLSv1.3")
    assert "tls_version" not in fields


def test_a_refusal_shows_what_was_asked_for_and_what_was_told() -> None:
    asked = facts(
        recipient=Recipient(Address("bob", "example.org")), authors=(Address("x", "y.example"),)
    )
    fields = evidence.refusal(asked, Reply(550, "5.7.1", ("No",)), "identity-sender")
    assert fields["sender"] == "a@acme.example"
    assert fields["recipient"] == "bob@example.org"
    assert fields["authors"] == ["x@y.example"]
    assert fields["reply"] == "550 5.7.1 No"
    assert fields["rule"] == "identity-sender"


def test_the_null_sender_is_on_record_as_such() -> None:
    assert evidence.refusal(facts(sender=Sender(None)), REFUSED, "x")["sender"] == ""


@pytest.mark.parametrize(
    ("code", "accepted", "outcome"),
    [(250, True, "delivered"), (451, False, "deferred"), (550, False, "rejected")],
)
def test_a_transaction_shows_both_legs_and_its_outcome(
    code: int, accepted: bool, outcome: str
) -> None:
    delivery = Delivery(
        accepted,
        Reply(code, "", ("said",)),
        "example.org",
        "mx.internal",
        Endpoint("10.0.0.1", 25),
        TlsFacts("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", 128, "", resumed=True),
        timedelta(milliseconds=12.4),
    )
    message = b"Message-ID: <1@acme.example>\r\n\r\n".ljust(10_000, b"x")
    fields = evidence.transaction(with_message(message), finished(), delivery)
    assert fields["outcome"] == outcome
    assert fields["reply"] == f"{code} said"
    assert fields["reference"] == "REFERENCE"
    assert fields["recipients"] == ["bob@example.org", "eve@example.org"]
    assert (fields["route"], fields["next_hop"]) == ("example.org", "mx.internal")
    assert (fields["next_hop_address"], fields["next_hop_port"]) == ("10.0.0.1", 25)
    assert fields["next_hop_tls_version"] == "TLSv1.2"
    assert fields["message_id"] == "<1@acme.example>"
    assert (fields["size_bytes"], fields["elapsed_ms"]) == (10_000, 12)


def test_a_transaction_that_reached_nobody_names_nobody() -> None:
    delivery = Delivery(accepted=False, reply=Reply(451, "4.4.1", ("Try again later",)))
    fields = evidence.transaction(with_message(b"\r\nHi\r\n"), finished(), delivery)
    assert not {"next_hop", "next_hop_address", "route", "message_id"} & fields.keys()


def test_every_field_is_in_the_manual() -> None:
    decision = TrustDecision(TrustStatus.PINNED, Identity("acme"), "pinned")
    delivery = Delivery(
        True, Reply(250, "", ("Ok",)), "r", "h", Endpoint("10.0.0.1", 25), TLS, timedelta()
    )
    asked = facts(
        decision=decision,
        recipient=Recipient(Address("bob", "example.org")),
        authors=(Address("x", "y.example"),),
    )
    used = (
        evidence.handshake(asked, REFUSED)
        | evidence.failed_handshake(asked, HELLO, "x")
        | evidence.refusal(asked, REFUSED, "x")
        | evidence.transaction(with_message(b"Message-ID: <x>\r\n\r\n"), finished(), delivery)
    )
    assert used.keys() <= FIELDS.keys()
