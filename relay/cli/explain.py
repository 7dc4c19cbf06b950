"""`gatepost explain REF`: what happened, in words, and what to do about it.

REF is the reference id of a refusal, of a Received field, or of a connection.
"""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, progress
from relay.model import TrustStatus

if TYPE_CHECKING:
    from rich.console import Console

    from relay.audit.query import Record

__all__ = ["advise", "explain", "pin_command", "tell"]

_BY_STATUS = {
    TrustStatus.ABSENT: "The client showed no certificate: it has to be configured to send one. "
    "`gatepost cert issue` makes one and says what the partner configures.",
    TrustStatus.UNPINNED: "The certificate is not on the allowlist. If the digest is what the "
    "partner told you by another way, let it in with:",
    TrustStatus.UNTRUSTED: "The identity asks for a chain to a trusted CA, and there is none: set "
    "`client_ca` of the listener, have the client send its intermediate certificates, or pin its "
    'key with `chain = "pin-only"`.',
    TrustStatus.EXPIRED: "The certificate or the pin's own `not_after` has expired: the partner "
    "renews the certificate, or you set a later `not_after`.",
    TrustStatus.NOT_YET_VALID: "The certificate or the pin's `not_before` lies in the future: look "
    "at the clocks, or wait.",
    TrustStatus.WEAK_KEY: "The key or the signature is too weak: the partner makes a new key, RSA "
    "of 2048 bits or more, or P-256.",
    TrustStatus.WRONG_USAGE: "The certificate is not made for TLS clients or servers: the partner "
    "has to use another.",
    TrustStatus.MALFORMED: "The certificate can't be read: the partner has to use another.",
    TrustStatus.REVOKED: "The certificate has been revoked by its CA: the partner needs a new one.",
    TrustStatus.REVOCATION_UNKNOWN: "Nobody could say whether the certificate is revoked: look at "
    "the CRL and the OCSP responder of its CA.",
    TrustStatus.SUSPENDED: "The identity is suspended here: `gatepost pin restore` lets it in again, "
    "`gatepost pin list` and `gatepost ban list` show who is suspended.",
}  # fmt: skip

_BY_RULE = {
    "plaintext": "The client did not ask for TLS: it has to use STARTTLS (in Postfix: "
    "`smtp_tls_security_level = encrypt`).",
    "relay_denied": "No `[route]` is for this recipient's domain; without an identity the default "
    "route does not count.",
    "next_hop": "The next hop said so; ask there.",
    "banned": "The address is banned here: `gatepost ban list` shows by whom, why and until when, "
    "`gatepost ban remove` takes it back.",
    "loop": "The message has passed too many hosts: some hosts send it in a circle.",
}


def explain(
    reference: Annotated[str, typer.Argument(help="The id from the reply, as in (ref ...).")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the evidence behind a reference id, and what to do. Exit code 1 if there is none."""
    from relay.audit.query import find

    path = load_configuration(config).settings.audit.path
    with progress("searching the audit trail"):
        records = list(find(path, reference))
        sessions = {record["session"] for record in records if "session" in record}
        for session in sessions - {reference.strip().upper()}:
            earlier = [record for record in find(path, session) if record["kind"] == "handshake"]
            records = earlier + records
    if not records:
        typer.echo(f"nothing is known of {reference} in {path}", err=True)
        raise typer.Exit(1)
    advice, command = advise(records), pin_command(records, config)
    emit(
        {"reference": reference, "records": records, "advice": advice, "command": command},
        as_json=as_json,
        human=lambda console: _show(console, records, advice, command),
    )


def _show(console: "Console", records: "list[Record]", advice: str, command: str) -> None:
    for record in records:
        console.print("\n".join(tell(record)), end="\n\n")
    if advice:
        console.print(advice)
    if command:
        console.print(f"\n    {command}")


def tell(record: "Record") -> list[str]:
    """Return one record in words, a line each."""
    peer = f"{record.get('peer_address', '?')}:{record.get('peer_port', '?')}"
    where = f"{peer} at listener {record.get('listener', '?')}"
    what = f"{record.get('time', '?')}  {record.get('kind', '?')}"
    lines = [f"{what}  {where}, reference {record.get('reference', '?')}"]
    for heading, text in _sections(record):
        if text:
            lines.append(f"    {heading:<12} {text}")
    return lines


def _sections(record: "Record") -> list[tuple[str, str]]:
    get = record.get
    status = get("status", "")
    recipients = get("recipients") or [get("recipient", "")]
    next_hop = " ".join(_texts(record, "next_hop", "next_hop_tls_version", "next_hop_tls_cipher"))
    return [
        ("said hello as", get("helo", "")),
        ("TLS", " ".join(_texts(record, "tls_version", "tls_cipher", "tls_group"))),
        ("TLS failed", get("tls_failure", "")),
        ("TLS offered", _after("at best ", get("tls_offered", ""))),
        ("who", f"{status}: {get('reason', '')}" if status else get("identity", "")),
        ("identity", get("identity", "") if status else ""),
        ("key", get("spki", "")),
        ("certificate", get("cert", "")),
        ("subject", get("subject", "")),
        ("issuer", get("issuer", "")),
        ("valid", _after("until ", get("not_after", ""))),
        ("names", get("names", "")),
        ("sender", get("sender", "") or ("<>" if "sender" in record else "")),
        ("recipients", ", ".join(recipients)),
        ("authors", ", ".join(get("authors", ()))),
        ("message id", get("message_id", "")),
        ("next hop", next_hop),
        ("outcome", get("outcome", "")),
        ("reply", get("reply", "")),
        ("because of", get("rule", "")),
    ]


def _texts(record: "Record", *names: str) -> list[str]:
    return [str(record[name]) for name in names if name in record]


def _after(words: str, text: str) -> str:
    return f"{words}{text}" if text else ""


def advise(records: "list[Record]") -> str:
    """Return what to do, in a sentence or two; "" if nothing was refused for a known cause."""
    for record in reversed(records):
        rule = record.get("rule", "")
        if rule in _BY_RULE:
            return _BY_RULE[rule]
        if rule and rule != "trust" and record.get("identity"):
            return (
                f"The rule {rule} refused it: see what the identity {record['identity']} may do "
                f"with `gatepost pin show {record['identity']}`."
            )
        if "stage" in record:
            return f"The rule {rule} refused it: `gatepost policy show` has its text and its place."
        if (status := _refused_status(record)) is not None:
            return _BY_STATUS.get(status, "")
    return ""


def pin_command(records: "list[Record]", config: Path | None) -> str:
    """Return the command that lets an unpinned certificate in, "" if that is not the matter."""
    place = ["--config", str(config)] if config else []
    for record in records:
        if _refused_status(record) is TrustStatus.UNPINNED and "spki" in record:
            return shlex.join(
                ["gatepost", "pin", "add", _name_for(record), "--pin", record["spki"], *place]
            )
    return ""


def _refused_status(record: "Record") -> TrustStatus | None:
    """The trust status of a handshake, unless it is one that lets the peer in."""
    text: Any = record.get("status", "")
    if text not in set(TrustStatus) - {TrustStatus.PINNED, TrustStatus.NAMED}:
        return None
    return TrustStatus(text)


def _name_for(record: "Record") -> str:
    """Propose a name for an identity: what it was called, else from certificate or greeting."""
    if "identity" in record:
        return str(record["identity"])
    subject = re.search(r"(?:^|,)CN=((?:[^,\\]|\\.)*)", record.get("subject", ""))
    proposed = (subject[1] if subject else "") or record.get("helo", "") or "new-partner"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", proposed).strip("-._")[:64] or "new-partner"
