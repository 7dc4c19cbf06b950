"""The audit record: its kinds, the names of its fields and what each means.

One record is one JSON object on one line, flat but for lists of addresses and for `facts`. A field that has
nothing to say is left out. The names are a promise: dashboards and incident scripts hang on them,
so a field may be added, never renamed and never given another meaning. `docs/audit.md` is made from
the tables here. Who fills the fields in (`inbound.evidence`) and who reads them is not known here.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["FIELDS", "Kind", "manual"]


class Kind(StrEnum):
    """What a record is about: the field `kind`."""

    HANDSHAKE = "handshake"
    REFUSAL = "refusal"
    TRANSACTION = "transaction"
    SANCTION = "sanction"
    DOMAIN = "domain"
    ADMIN = "admin"


_KINDS: Final = MappingProxyType(
    {
        Kind.HANDSHAKE: "A TLS handshake with a client, whatever its outcome.",
        Kind.REFUSAL: "Something a client asked for and did not get, with the reply it was told.",
        Kind.TRANSACTION: "A message that a next hop was asked to take, with its answer.",
        Kind.SANCTION: "A ban or a suspension that a rule has put in force.",
        Kind.DOMAIN: "A domain of `[doctor]`, where its problems have changed or it could not be examined.",
        Kind.ADMIN: "An act of the operator: a start, a stop, a reload, a changed pin.",
    }
)

FIELDS: Final = MappingProxyType(
    {
        # Every record
        "time": "When, in UTC with milliseconds (RFC 3339).",
        "node": "Which relay: its `hostname`.",
        "kind": "What the record is about: `handshake`, `refusal`, `transaction`, "
        "`sanction`, `domain` or `admin`.",
        "reference": "The id that the client was told; `gatepost explain` takes it. Transactions "
        "have their own, which stands in Received too.",
        "session": "The id of the connection; joins its records.",
        # The peer
        "listener": "The listener's name.",
        "peer_address": "The client's address, as told by the PROXY protocol where that is used.",
        "peer_port": "The client's port.",
        "helo": "The name the client gave in EHLO or HELO.",
        # Its TLS
        "tls_version": "What came about: `TLSv1.2` or `TLSv1.3`.",
        "tls_cipher": "The cipher suite, as OpenSSL calls it.",
        "tls_group": "The key exchange group, where known.",
        "tls_resumed": "True if an earlier session was resumed.",
        "tls_sni": "The server name the client asked for.",
        "tls_offered": "The best version the client offered: a downgrade shows here.",
        "tls_ja4": "JA4 fingerprint of the client's offer.",
        "tls_fallback_scsv": "True if the client says that it has been pushed down a version "
        "(RFC 7507).",
        "tls_failure": "Why no handshake came about.",
        "downgrades": "Less protection than there could be: `plaintext` (a command that needs TLS, without), "
        "`old_version` (TLS 1.1 at best was offered), `fallback` (the client says it was pushed down), "
        "`weaker` (than this client's best so far).",
        # Who it is
        "status": "The trust decision: `pinned`, `named`, `absent`, `unpinned`, `untrusted`, "
        "`expired`, `not_yet_valid`, `revoked`, `revocation_unknown`, `suspended`, `weak_key`, "
        "`wrong_usage` or `malformed`.",
        "reason": "The decision in one sentence.",
        "identity": "The name of the `[[identity]]` that the certificate belongs to.",
        "matched": "The pin or the name that matched.",
        "spki": "The pin of the client's public key, as `gatepost pin add` takes it.",
        "cert": "The pin of the whole certificate.",
        "subject": "The certificate's subject.",
        "issuer": "The certificate's issuer.",
        "serial": "The certificate's serial number, in hex.",
        "not_before": "When the certificate begins to be valid.",
        "not_after": "When the certificate ends to be valid.",
        "names": "The certificate's subject alternative names.",
        "chain_length": "How many certificates the client sent.",
        "revocation": "What is known of the certificate and the CAs above it, the worst of it: `good`, "
        "`revoked`, `unknown`, `stale`, `unreachable` or `no_source`. Left out where nobody was asked.",
        "revocation_mode": "What was to follow from that: `hard`, `soft` or `off`.",
        "revocation_source": "Who said so: `crl` or `ocsp`.",
        "revocation_reason": "The same in one sentence.",
        "revocation_asked": "What each source said of each certificate of the chain.",
        # The envelope
        "sender": "MAIL FROM; empty for the null sender.",
        "recipient": "The RCPT TO that was refused.",
        "recipients": "The recipients of the message.",
        "authors": "The addresses of the header field From, where a refusal is about them.",
        "message_id": "The header field Message-ID.",
        "size_bytes": "The message's size as it came in.",
        # What became of it
        "outcome": "`delivered` (the next hop has it), `deferred` (4xx) or `rejected` (5xx).",
        "reply": "The SMTP reply the client was given.",
        "rule": "What refused: a rule's name, `trust`, `next_hop`, or a violation of the protocol.",
        "stage": "Where a rule has refused: `connect`, `hello`, `sender`, `recipient` or `message`.",
        "facts": "What was found out for the decision: the facts that the rules asked name, and in a "
        'transaction those of all stages. `{"missing": ...}` for one that could not be found out.',
        "recipient_facts": "The facts of each recipient of a message, in their order.",
        "shadow": "The rules in shadow mode that would have had a say.",
        "route": "The route's name: its key in the configuration.",
        "next_hop": "The host the message was given to.",
        "next_hop_address": "Its address.",
        "next_hop_port": "Its port.",
        "next_hop_tls_version": "The TLS version towards it.",
        "next_hop_tls_cipher": "The cipher suite towards it.",
        "failure": "What kept a message from the next hop, where it did not answer.",
        "elapsed_ms": "The time the next hop took, in milliseconds.",
        # Domains
        "domain": "The domain that was examined.",
        "problems": "What is wrong with it that was not before, a sentence each.",
        "cleared": "What was wrong before, and is not any more.",
        # Administrative acts, and sanctions
        "action": "What was done, as a dotted word: `pin.add`, `reload`.",
        "user": "Who did it: the user's name on this machine, or the identity that enrolled over the wire.",
        "target": "To what it was done.",
        "pins": "The pins that were added or removed.",
        "until": "When a ban or a suspension ends by itself.",
        "times": "The how many-th time it is put in force; each lasts twice as long as the one before.",
    }
)
"""Every field a record may have, in the order of the manual, and what it means."""


def manual() -> str:
    """Return `docs/audit.md`."""
    kinds = "\n".join(f"| `{kind}` | {meaning} |" for kind, meaning in _KINDS.items())
    fields = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items())
    return _MANUAL.format(kinds=kinds, fields=fields)


_MANUAL = """# The audit trail

<!-- Made from relay/audit/record.py by `make docs`. -->

JSON Lines: one record a line, in the file that `[audit] path` names, appended by all workers. A
record is written before the reply that it is about. Fields are flat; one that has nothing to say is
left out. Names are stable. For rotation, move the file away and send SIGUSR1 to the relay.

| kind | what it is about |
|---|---|
{kinds}

| field | meaning |
|---|---|
{fields}
"""
