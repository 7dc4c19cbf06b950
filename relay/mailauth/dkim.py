"""DKIM (RFC 6376, 8301, 8463, 8616): which domains have signed a message, and whether it still holds.

All signatures up to a limit, each with its own verdict. First what needs no key, then the keys side by
side, then the header, and the body only for signatures whose header holds. Which verdict is good enough
for what is for others to say: DMARC and the rules.
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mailauth.canonicalization import (
    BodyHash,
    FieldStack,
    body_start,
    hashing,
    header_hash,
)
from relay.mailauth.key_record import MIN_RSA_BITS, PublicKey, key_name, look_up_keys
from relay.mailauth.signature import (
    Signature,
    parse_dkim_signature,
    parse_key_place,
)
from relay.mailauth.tag_list import parse_tag_list, without_signature
from relay.mailauth.verification import DkimResult, Refusal, Verification
from relay.turns import at_once, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from relay.mail.headers import Field, HeaderBlock
    from relay.policy.check import Offload
    from relay.ports import Resolver
    from relay.turns import Steps

__all__ = ["OFFLOAD_BYTES", "Acceptance", "body_hashes", "verify"]

OFFLOAD_BYTES: Final = 64 * 1024
"""A larger header is looked at beside the event loop; a body is hashed in turns with others."""


class Acceptance(NamedTuple):
    """What is accepted: how many signatures are looked at, the shortest RSA key, and whether l= may pass."""

    max_signatures: int = 8
    min_rsa_bits: int = MIN_RSA_BITS
    partial: bool = False


class _Claim(NamedTuple):
    """A signature that is well-formed, where it stands, and where its key is."""

    signature: Signature
    field: Field
    key_name: str


class _Held(NamedTuple):
    """A claim whose header holds."""

    claim: _Claim
    key: PublicKey


async def verify(
    header: HeaderBlock,
    resolver: Resolver,
    offload: Offload,
    now: datetime,
    acceptance: Acceptance = Acceptance(),  # noqa: B008  immutable
) -> tuple[Verification, ...]:
    """Verify the signatures of a message, in their order from the top; never raises."""
    fields = header.named(b"dkim-signature")[: acceptance.max_signatures]
    if not fields:
        return ()
    read = [_read(header, field, now) for field in fields]
    names = {claim.key_name for claim in read if isinstance(claim, _Claim)}
    keys = await look_up_keys(names, resolver) if names else {}
    judging = _judging_headers(header, read, keys, acceptance)
    # Each signature may cover all of it, blank by blank.
    is_much = header.end * len(read) > OFFLOAD_BYTES
    verdicts = await (offload(partial(at_once, judging)) if is_much else in_turns(judging))
    holding = [each.claim.signature for each in verdicts if isinstance(each, _Held)]
    hashes = await in_turns(body_hashes(header, holding))
    return tuple(
        _judge_body(each, hashes, acceptance) if isinstance(each, _Held) else each
        for each in verdicts
    )


def _read(header: HeaderBlock, field: Field, now: datetime) -> _Claim | Verification:
    """Read one signature; one that can't be verified whatever its key is has its verdict."""
    value = header.message[field.start : field.stop].partition(b":")[2]
    try:
        signature = parse_dkim_signature(value, now)
        return _Claim(signature, field, key_name(signature.domain, signature.selector))
    except Refusal as refusal:
        domain, selector = _place(value)
        return Verification(refusal.result, refusal.reason, domain, selector)


def _place(value: bytes) -> tuple[str, str]:
    """Return the domain and selector of a signature that is no good, if it has them."""
    try:
        return parse_key_place(parse_tag_list(value))
    except Refusal:
        return "", ""


def _judging_headers(
    header: HeaderBlock,
    read: Sequence[_Claim | Verification],
    keys: Mapping[str, PublicKey | Refusal],
    acceptance: Acceptance,
) -> Steps[list[_Held | Verification]]:
    """Do the arithmetic with keys, a step each: it takes time with a long header, or an odd key."""
    stack = FieldStack.of(header)
    found: list[_Held | Verification] = []
    for each in read:
        if found:
            yield
        found.append(
            _judge_header(header, stack, each, keys[each.key_name], acceptance)
            if isinstance(each, _Claim)
            else each
        )
    return found


def _judge_header(
    header: HeaderBlock,
    stack: FieldStack,
    claim: _Claim,
    key: PublicKey | Refusal,
    acceptance: Acceptance,
) -> _Held | Verification:
    signature, field, _ = claim
    if isinstance(key, Refusal):
        return _verdict(signature, None, key.result, key.reason)
    try:
        key.check_use(signature.algorithm, acceptance.min_rsa_bits)
    except Refusal as refusal:
        return _verdict(signature, key, refusal.result, refusal.reason)
    if key.is_strict and signature.is_of_subdomain:  # RFC 6376 3.6.1 t=s
        return _verdict(signature, key, DkimResult.PERMERROR, "i= is of a subdomain (t=s)")
    if stack.count(b"from") > signature.fields.count(b"from"):  # RFC 6376 8.15
        return _verdict(signature, key, DkimResult.FAIL, "there is a From that is not signed")
    name, _, value = header.message[field.start : field.stop].partition(b":")
    if field.name in signature.fields:  # RFC 6376 5.4: itself it can't mean
        stack = FieldStack.of(header, but=field)
    digest = header_hash(
        stack,
        signature.fields,
        b"%b:%b" % (name, without_signature(value)),
        relaxed=signature.relaxed_header,
    )
    if not key.has_signed(digest, signature.signature):
        return _verdict(signature, key, DkimResult.FAIL, "the header is not what was signed")
    return _Held(claim, key)


def body_hashes(
    header: HeaderBlock, signatures: Iterable[Signature]
) -> Steps[dict[bool, BodyHash]]:
    """Hash the body as these signatures need it: at most once simple and once relaxed (the key)."""
    lengths: dict[bool, set[int]] = {}
    for signature in signatures:
        wanted = lengths.setdefault(signature.relaxed_body, set())
        if signature.body_length is not None:
            wanted.add(signature.body_length)
    start = body_start(header)
    hashes: dict[bool, BodyHash] = {}
    for relaxed, wanted in lengths.items():
        hashes[relaxed] = yield from hashing(header.message, start, relaxed=relaxed, lengths=wanted)
    return hashes


def _judge_body(
    held: _Held, hashes: Mapping[bool, BodyHash], acceptance: Acceptance
) -> Verification:
    signature, key = held.claim.signature, held.key
    body = hashes[signature.relaxed_body]
    length = signature.body_length
    unsigned = None if length is None else body.length - length
    if unsigned is not None and unsigned < 0:  # RFC 6376 3.5 l=
        return _verdict(signature, key, DkimResult.FAIL, "l= is beyond the end of the body")
    if body.digests[length] != signature.body_hash:
        return _verdict(signature, key, DkimResult.FAIL, "the body is not what was signed")
    if unsigned is not None and not acceptance.partial:  # RFC 6376 8.2
        reason = f"l= leaves {unsigned} bytes of the body unsigned"
        return _verdict(signature, key, DkimResult.POLICY, reason, unsigned)
    return _verdict(signature, key, DkimResult.PASS, "", unsigned)


def _verdict(
    signature: Signature,
    key: PublicKey | None,
    result: DkimResult,
    reason: str,
    unsigned: int | None = None,
) -> Verification:
    is_testing = key is not None and key.is_testing
    if is_testing and result is not DkimResult.PASS:  # RFC 6376 3.6.1 t=y: as if it were not there
        result = DkimResult.NEUTRAL
    return Verification(
        result,
        reason,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        b2a_base64(signature.signature[:6], newline=False).decode(),
        key.bits if key is not None else 0,
        unsigned,
        is_testing,
    )
