"""Sealing (RFC 8617 5.1): our set on top of the chain, for those behind us who believe us.

It writes the three fields and decides nothing: what we have found, and that we seal, come from the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mailauth.arc import MAX_INSTANCES
from relay.mailauth.canonicalization import FieldStack, body_hash, body_start
from relay.mailauth.signing import OVERSIGNED, SIGNED, encoded, signed_field, signed_names
from relay.mailauth.verification import DkimResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from relay.mail.headers import HeaderBlock
    from relay.mailauth.arc import ArcChain
    from relay.mailauth.signing import SigningKey

__all__ = ["may_seal", "seal"]

_RESULTS, _SIGNATURE, _SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"


def may_seal(chain: ArcChain) -> bool:
    """Whether a set may be added: not where the chain has ended, is full, or could not be verified for now."""
    is_over = chain.has_ended or chain.instances >= MAX_INSTANCES
    return not is_over and chain.result is not DkimResult.TEMPERROR


def seal(
    header: HeaderBlock,
    chain: ArcChain,
    authentication_results: str,
    key: SigningKey,
    now: datetime,
    *,
    names: Sequence[bytes] | None = None,
    body: bytes | None = None,
) -> bytes:
    """Return our three fields, to be put in front of the message; b"" where none may be added.

    Args:
        header: of the message as it leaves us.
        chain: what `arc.verify` has found of it.
        authentication_results: the value of Authentication-Results: our name, and what we have found.
        key: RSA or Ed25519; the former is what others understand.
        now: the date of the seal.
        names: which header fields are signed, from the bottom up; None for `signing.SIGNED`,
            oversigned.
        body: the hash of the relaxed body; without it, it is hashed here and now.
    """
    if not may_seal(chain):
        return b""
    instance = chain.instances + 1
    if body is None:
        body = body_hash(header.message, body_start(header), relaxed=True).digests[None]
    results = f"ARC-Authentication-Results: i={instance}; {authentication_results}\r\n".encode()
    at = str(int(now.timestamp()))
    message_signature = _message_signature(
        header, body, results, instance, key=key, at=at, names=names
    )
    ours = [(_RESULTS, results), (_SIGNATURE, message_signature)]
    covered = [*_chain_fields(header, chain), *ours]
    # Tags in the order of the alphabet and b= in one piece: so has ValiMail's suite them, bit by bit.
    tags = {"a": key.algorithm, "b": "", "cv": chain.result.value,
            "d": key.domain, "i": str(instance), "s": key.selector, "t": at}  # fmt: skip
    # The stack gives fields of a name from the bottom up, and the oldest set must come first.
    stack = FieldStack(reversed(covered))
    seal_field = signed_field(
        "ARC-Seal",
        tags,
        key,
        stack,
        [name for name, _ in covered],
        relaxed=True,
        is_folded=False,
    )
    return seal_field + message_signature + results


def _message_signature(
    header: HeaderBlock,
    body: bytes,
    results: bytes,
    instance: int,
    *,
    key: SigningKey,
    at: str,
    names: Sequence[bytes] | None,
) -> bytes:
    message = header.message
    fields = [(field.name, message[field.start : field.stop]) for field in header.fields]
    stack = FieldStack([(_RESULTS, results), *fields])
    signed = names if names is not None else signed_names(stack, SIGNED, OVERSIGNED)
    tags = {"a": key.algorithm, "b": "", "bh": encoded(body), "c": "relaxed/relaxed",
            "d": key.domain, "h": ":".join(map(bytes.decode, signed)),
            "i": str(instance), "s": key.selector, "t": at}  # fmt: skip
    return signed_field(
        "ARC-Message-Signature", tags, key, stack, signed, relaxed=True, is_folded=False
    )


def _chain_fields(header: HeaderBlock, chain: ArcChain) -> list[tuple[bytes, bytes]]:
    """What the seal covers of those before us: nothing of a chain that fails (RFC 8617 5.1.2)."""
    return [(field.name, header.message[field.start : field.stop]) for field in chain.fields]
