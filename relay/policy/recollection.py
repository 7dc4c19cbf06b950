"""What a record of the audit trail still knows of a case, as facts, stage by stage.

The facts of the decision stand in the record. Some more follow from its other fields with certainty
(who the client was, sender, recipients, TLS); nothing else is made up: what stands nowhere is not
known. Reads records as they were written, and knows neither rules nor files.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.model import Endpoint
from relay.pki.patterns import canonical_domain
from relay.policy.facts import Facts, Missing, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.policy.facts import Value

__all__ = ["Decision", "Past", "remember"]

_STAGES: Final = tuple(Stage)
_ON_RECORD: Final = frozenset({"refusal", "transaction"})


class Decision(NamedTuple):
    """What the policy decides: `rule` refuses with `code`; both empty if none does.

    `shadow` are the rules in shadow mode that would have had a say.
    """

    rule: str = ""
    code: int = 0
    shadow: frozenset[str] = frozenset()

    def is_same_as(self, other: Decision) -> bool:
        """Whether the client would see the same; shadows aside."""
        return self[:2] == other[:2]


class Past(NamedTuple):
    """A case on record: what was decided, and the facts of each stage that it went through.

    A stage comes once, but `recipient` once for each of them. `subject` is who it is about, for
    people: the sender, and the identity if there was one.
    """

    listener: str
    identity: str
    sender: str | None
    reference: str
    time: str
    decision: Decision
    stages: tuple[tuple[Stage, Facts], ...]


def remember(record: Mapping[str, Any], stage_of: Callable[[str], Stage | None]) -> Past | None:
    """Return the case that a record tells of; None if rules had no part in it.

    Args:
        record: one of the audit trail.
        stage_of: the stage of a rule by its name, for records from before there was a field `stage`.
    """
    kind = record.get("kind")
    if kind not in _ON_RECORD:
        return None
    facts = Facts(_certain(record))
    facts.update((name, _value(value)) for name, value in record.get("facts", {}).items())
    if kind == "transaction":
        stages = _all_stages(record, facts)
        decision = Decision(shadow=frozenset(record.get("shadow", ())))
    else:
        stage = _stage_of_refusal(record, stage_of)
        if stage is None:
            return None
        stages = _stages_until(stage, record, facts)
        decision = Decision(
            str(record.get("rule", "")),
            int(str(record.get("reply", ""))[:3] or 0),
            frozenset(record.get("shadow", ())),
        )
    return Past(
        listener=str(record.get("listener", "")),
        identity=str(record.get("identity", "")),
        sender=record.get("sender"),
        reference=str(record.get("reference", "")),
        time=str(record.get("time", "")),
        decision=decision,
        stages=stages,
    )


def _stage_of_refusal(
    record: Mapping[str, Any], stage_of: Callable[[str], Stage | None]
) -> Stage | None:
    if "stage" in record:
        return Stage(record["stage"])
    return stage_of(record.get("rule", "")) if "facts" in record else None


def _all_stages(record: Mapping[str, Any], facts: Facts) -> tuple[tuple[Stage, Facts], ...]:
    recipients = record.get("recipients", ())
    own = record.get("recipient_facts", ())
    facts.setdefault("recipient.count", len(recipients))
    if "size_bytes" in record:
        facts.setdefault("message.size_bytes", record["size_bytes"])
    judged = []
    for position, recipient in enumerate(recipients):
        known = Facts(facts)
        known.update(_of_recipient(recipient))
        known["recipient.earlier"] = position
        if len(own) == len(recipients):
            known.update((name, _value(value)) for name, value in own[position].items())
        judged.append((Stage.RECIPIENT, known))
    before = ((stage, facts) for stage in _STAGES[:3])
    return (*before, *judged, (Stage.MESSAGE, facts))


def _stages_until(
    last: Stage, record: Mapping[str, Any], facts: Facts
) -> tuple[tuple[Stage, Facts], ...]:
    """The stages up to that of a refusal; of recipients that were accepted before, nothing is known."""
    if last is Stage.RECIPIENT and "recipient" in record:
        facts = Facts(_of_recipient(record["recipient"]) | facts)
    gone = _STAGES[: _STAGES.index(last) + 1]
    return tuple((stage, facts) for stage in gone if stage is last or stage is not Stage.RECIPIENT)


def _certain(record: Mapping[str, Any]) -> dict[str, Value]:
    """The facts that follow from fields that every record has."""
    group = record.get("tls_group", "")
    known: dict[str, Value] = {
        "identity.known": "identity" in record,
        "identity.name": record.get("identity", ""),
        "tls.version": record.get("tls_version", ""),
        "tls.cipher": record.get("tls_cipher", ""),
        "tls.group": group,
        "tls.resumed": record.get("tls_resumed", False),
        "tls.post_quantum": "MLKEM" in group.upper(),
    }
    if "listener" in record:
        known["listener.name"] = record["listener"]
    if "helo" in record:
        known["hello.name"] = record["helo"].lower().removesuffix(".")
    if "peer_address" in record:
        known |= _of_peer(record["peer_address"])
    if "sender" in record:
        local, domain = _split(record["sender"])
        known["sender.address"] = record["sender"]
        known["sender.local"] = local
        known["sender.domain"] = canonical_domain(domain)
        known["sender.is_null"] = not record["sender"]
    return known


def _of_peer(text: str) -> dict[str, Value]:
    peer = Endpoint(text, 0)
    address = peer.ip
    if address is None:
        return {"peer.address": "", "peer.network": "", "peer.is_local": peer.is_local}
    length = 24 if address.version == 4 else 64
    return {
        "peer.address": str(address),
        "peer.network": str(ip_network((address, length), strict=False)),
        "peer.is_local": peer.is_local,
    }


def _of_recipient(text: str) -> dict[str, Value]:
    local, domain = _split(text)
    return {
        "recipient.address": text,
        "recipient.local": local,
        "recipient.domain": canonical_domain(domain),
    }


def _split(address: str) -> tuple[str, str]:
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")


def _value(written: Any) -> Value:
    """A fact as it was written into the record."""
    if isinstance(written, list):
        return tuple(written)
    if isinstance(written, dict):
        return Missing(str(written.get("missing", "")))
    plain: Value = written
    return plain
