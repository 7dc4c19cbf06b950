"""What goes on record of a session: facts and outcomes as the flat fields of `audit/record.py`.

Pure: it picks and names, and neither decides nor writes. A field that has nothing to say is left
out, and every name used here stands in the table of `audit.record.FIELDS` (a test holds that).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay.policy.facts import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.inbound.transaction import Transaction
    from relay.model import Delivery, Restriction, TlsFacts, TrustDecision
    from relay.policy.case import Case
    from relay.policy.facts import Stage, Value
    from relay.policy.ledger import Event
    from relay.smtp.replies import Reply
    from relay.tls.clienthello import ClientHello

__all__ = [
    "breach",
    "downgraded",
    "failed_handshake",
    "handshake",
    "judged",
    "outcome_of",
    "refusal",
    "sanction",
    "transaction",
    "trust_lost",
]

Fields = dict[str, object]


def handshake(case: Case, refused: Reply | None) -> Fields:
    """Return the fields of a finished handshake; there is no decision where nobody was asked."""
    fields = _peer(case)
    if case.tls is not None:
        _add_tls(fields, case.tls)
        if case.tls.hello is not None:
            _add_offer(fields, case.tls.hello)
    if case.decision is not None:
        fields |= _decided(case.decision)
    if refused is not None:
        fields["reply"] = str(refused)
        fields["rule"] = "trust"
    return fields


def failed_handshake(case: Case, hello: ClientHello | None, reason: str) -> Fields:
    """Return the fields of a handshake that came to nothing."""
    fields = _peer(case)
    if hello is not None:
        _add_offer(fields, hello)
    fields["tls_failure"] = reason
    return fields


def downgraded(downgrades: Sequence[Event]) -> Fields:
    """Return what says that a client has come with less protection than there could be."""
    return {"downgrades": [each.value for each in downgrades]} if downgrades else {}


def judged(
    facts: Mapping[str, Value],
    shadow: Sequence[str],
    recipients: Sequence[Mapping[str, Value]] = (),
) -> Fields:
    """Return what a decision of the policy rests on, so that it can be made again."""
    fields: Fields = {}
    if facts:
        fields["facts"] = _plain(facts)
    if any(recipients):
        fields["recipient_facts"] = [_plain(each) for each in recipients]
    if shadow:
        fields["shadow"] = list(shadow)
    return fields


def breach(stage: Stage, facts: Mapping[str, Value], shadow: Sequence[str]) -> Fields:
    """Return where a rule has refused, and what that rests on."""
    return {"stage": stage.value, **judged(facts, shadow)}


def _plain(facts: Mapping[str, Value]) -> Mapping[str, object]:
    if Missing not in map(type, facts.values()):
        return facts  # mostly so: they are plain as they are
    return {
        name: {"missing": value.reason} if type(value) is Missing else value
        for name, value in facts.items()
    }


def sanction(case: Case, restriction: Restriction) -> Fields:
    """Return the fields of a ban or a suspension that a rule has put in force."""
    fields = _known(case)
    fields["action"] = restriction.kind.value
    fields["target"] = restriction.subject
    fields["reason"] = restriction.reason
    fields["rule"] = restriction.by
    fields["times"] = restriction.times
    if restriction.until is not None:
        fields["until"] = datetime.fromtimestamp(restriction.until, UTC).isoformat()
    return fields


def refusal(case: Case, reply: Reply, rule: str) -> Fields:
    """Return the fields of something asked for and not given; `rule` names what refused it."""
    fields = _known(case)
    if case.recipient is not None:
        fields["recipient"] = str(case.recipient)
    if case.authors:
        fields["authors"] = [str(author) for author in case.authors]
    fields["reply"] = str(reply)
    fields["rule"] = rule
    return fields


def trust_lost(case: Case, decision: TrustDecision) -> Fields:
    """Return the fields of a session that ends because its peer is not trusted any more.

    The identity is the one it was let in with.
    """
    fields = _known(case) | _decided(decision)
    if case.identity is not None:
        fields["identity"] = case.identity.name
    fields["rule"] = "trust"
    return fields


def ban_begun(case: Case) -> Fields:
    """Return the fields of a session that ends because its peer's address has been banned."""
    return _known(case) | {"rule": "banned"}


def transaction(case: Case, finished: Transaction, delivery: Delivery) -> Fields:
    """Return the fields of a message that a next hop was asked to take."""
    fields = _known(case)
    fields["reference"] = finished.reference
    fields["recipients"] = [str(recipient) for recipient in finished.envelope.recipients]
    if case.header is not None and (message_id := case.header.message_id):
        fields["message_id"] = message_id
    fields["size_bytes"] = len(case.message)
    _add_delivery(fields, delivery)
    return fields


def _decided(decision: TrustDecision) -> Fields:
    fields: Fields = {**decision.evidence, "status": decision.status, "reason": decision.reason}
    if decision.identity is not None:
        fields["identity"] = decision.identity.name
    return fields


def _peer(case: Case) -> Fields:
    fields: Fields = {
        "listener": case.listener,
        "peer_address": case.peer.address,
        "peer_port": case.peer.port,
    }
    if case.hello:
        fields["helo"] = case.hello
    return fields


def _known(case: Case) -> Fields:
    """Return who the peer is and whom it writes for: the same in refusals and transactions."""
    fields = _peer(case)
    if case.tls is not None:
        _add_tls(fields, case.tls)
    if case.identity is not None:
        fields["identity"] = case.identity.name
    if case.sender is not None:
        fields["sender"] = str(case.sender)
    return fields


def _add_tls(fields: Fields, tls: TlsFacts) -> None:
    fields["tls_version"] = tls.version
    fields["tls_cipher"] = tls.cipher
    if tls.group:
        fields["tls_group"] = tls.group
    fields["tls_resumed"] = tls.resumed


def _add_offer(fields: Fields, hello: ClientHello) -> None:
    fields["tls_ja4"] = hello.ja4
    fields["tls_fallback_scsv"] = hello.fallback_scsv
    if hello.versions:
        fields["tls_offered"] = hello.versions[0]
    if hello.server_name:
        fields["tls_sni"] = hello.server_name


def _add_delivery(fields: Fields, delivery: Delivery) -> None:
    fields["outcome"] = outcome_of(delivery)
    fields["reply"] = str(delivery.reply)
    if delivery.route:
        fields["route"] = delivery.route
    if delivery.host:
        fields["next_hop"] = delivery.host
    if delivery.endpoint is not None:
        fields["next_hop_address"] = delivery.endpoint.address
        fields["next_hop_port"] = delivery.endpoint.port
    if delivery.tls is not None:
        fields["next_hop_tls_version"] = delivery.tls.version
        fields["next_hop_tls_cipher"] = delivery.tls.cipher
    if delivery.reason:
        fields["failure"] = delivery.reason
    fields["elapsed_ms"] = round(delivery.elapsed.total_seconds() * 1000)


def outcome_of(delivery: Delivery) -> str:
    """Return what became of a message, in one word."""
    if delivery.accepted:
        return "delivered"
    return "deferred" if delivery.reply.is_transient else "rejected"
