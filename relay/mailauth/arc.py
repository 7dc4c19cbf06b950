"""ARC (RFC 8617): does the chain of those who have handled a message before us hold, and what have they seen?

Which of them is believed is for others to say. A chain that fails says nothing of the message: it
counts as one without ARC.
"""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mailauth.canonicalization import FieldStack, header_hash, relaxed_field
from relay.mailauth.dkim import OFFLOAD_BYTES, body_hashes
from relay.mailauth.key_record import MIN_RSA_BITS, PublicKey, key_name, look_up_keys
from relay.mailauth.signature import (
    Signature,
    parse_algorithm,
    parse_base64,
    parse_key_place,
    parse_message_signature,
    parse_timestamp,
    required,
)
from relay.mailauth.tag_list import parse_tag_list, without_signature
from relay.mailauth.verification import DkimResult, Refusal
from relay.turns import at_once, in_turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from relay.mail.headers import Field, HeaderBlock
    from relay.policy.check import Offload
    from relay.ports import Resolver
    from relay.turns import Steps

__all__ = ["MAX_INSTANCES", "NO_CHAIN", "ArcChain", "ArcSet", "has_chain", "verify"]

MAX_INSTANCES: Final = 50  # RFC 8617 4.2.1
"""A longer chain fails."""

_INSTANCE: Final = re.compile(rb"[1-9][0-9]?")
_RESULTS: Final = re.compile(rb"\s*i\s*=\s*([0-9]{1,2})\s*;")  # RFC 8617 4.1.1
_KINDS: Final = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")


class ArcSet(NamedTuple):
    """What one handler has added: `domain` and `selector` of its seal, `status` its cv=.

    `authentication_results` is what it has seen, as it stands behind `i=1;`.
    """

    instance: int
    domain: str
    selector: str
    status: str
    authentication_results: str


class ArcChain(NamedTuple):
    """The verdict: `none pass fail temperror`, and the sets, the oldest first.

    The sets are there only if the chain passes: before that nothing of what they say counts. `has_ended`:
    a handler before us has found that the chain fails, and nobody may add to it any more. `fields` are
    the fields of a chain that passes in the order in which seals cover them. `is_author_signed`: the newest
    signature covers From; else what its sealer has seen may have been seen of another's message.
    """

    result: DkimResult
    reason: str = ""
    sets: tuple[ArcSet, ...] = ()
    has_ended: bool = False
    instances: int = 0
    fields: tuple[Field, ...] = ()
    is_author_signed: bool = False


NO_CHAIN: Final = ArcChain(DkimResult.NONE)
"""What a message without ARC has."""


class _Seal(NamedTuple):
    """ARC-Seal (RFC 8617 4.1.3)."""

    algorithm: str
    signature: bytes
    domain: str
    selector: str
    status: str


class _Set(NamedTuple):
    """One instance: its three fields, and what its seal says."""

    results: Field
    message_signature: Field
    seal_field: Field
    seal: _Seal


def has_chain(header: HeaderBlock) -> bool:
    """Whether a message has anything of ARC."""
    return any(field.name in _KINDS for field in header.fields)


async def verify(
    header: HeaderBlock, resolver: Resolver, offload: Offload, now: datetime
) -> ArcChain:
    """Verify the chain of a message (RFC 8617 5.2); never raises."""
    if not has_chain(header):
        return NO_CHAIN
    instances = max(len(header.named(kind)) for kind in _KINDS)
    try:
        sets = _read_sets(header, now)
        if any(each.seal.status == "fail" for each in sets):
            # RFC 8617 5.2 step 2
            return ArcChain(
                DkimResult.FAIL,
                "a handler before us has found that it fails",
                has_ended=True,
                instances=len(sets),
            )
        signature = await _verify_message_signature(header, sets[-1], resolver, offload, now)
        await _verify_seals(header, sets, resolver, offload)
    except Refusal as refusal:
        result = DkimResult.TEMPERROR if refusal.result is DkimResult.TEMPERROR else DkimResult.FAIL
        return ArcChain(result, refusal.reason, instances=instances)
    return ArcChain(
        DkimResult.PASS,
        sets=tuple(_told(header, number, each) for number, each in enumerate(sets, 1)),
        instances=len(sets),
        fields=tuple(field for each in sets for field in each[:3]),
        is_author_signed=b"from" in signature.fields,
    )


def _told(header: HeaderBlock, number: int, each: _Set) -> ArcSet:
    text = header.value(each.results).partition(";")[2].strip()
    return ArcSet(number, each.seal.domain, each.seal.selector, each.seal.status, text)


def _value(header: HeaderBlock, field: Field) -> bytes:
    return header.message[field.start : field.stop].partition(b":")[2]


# --- reading ------------------------------------------------------------------------------------


def _read_sets(header: HeaderBlock, now: datetime) -> list[_Set]:
    """Return the sets, the oldest first, if they are complete (RFC 8617 5.2 step 3). Raises Refusal."""
    results, signatures, seals = (_by_instance(header, kind) for kind in _KINDS)
    numbers = range(1, len(seals) + 1)
    if not (list(numbers) == sorted(seals) == sorted(signatures) == sorted(results)):
        raise Refusal("the sets are not complete")
    sets = [
        _Set(
            results[number],
            signatures[number],
            seals[number],
            _read_seal(header, seals[number], now),
        )
        for number in numbers
    ]
    for number, each in enumerate(sets, 1):
        if each.seal.status not in {"fail", "none" if number == 1 else "pass"}:
            raise Refusal("a seal has a wrong status (cv=)")
    return sets


def _by_instance(header: HeaderBlock, kind: bytes) -> dict[int, Field]:
    """Return the fields of one kind by their instance. Raises Refusal."""
    fields = header.named(kind)
    if len(fields) > MAX_INSTANCES:
        raise Refusal("there are too many sets")
    found = {_instance(kind, _value(header, field)): field for field in fields}
    if len(found) < len(fields):
        raise Refusal("an instance is there twice")
    return found


def _instance(kind: bytes, value: bytes) -> int:
    if kind == _KINDS[0]:
        match = _RESULTS.match(value)
        text = match[1] if match else b""
    else:
        text = required(parse_tag_list(value), b"i")
    if not _INSTANCE.fullmatch(text) or int(text) > MAX_INSTANCES:
        raise Refusal("an instance is no number from 1 to 50")
    return int(text)


def _read_seal(header: HeaderBlock, field: Field, now: datetime) -> _Seal:
    tags = parse_tag_list(_value(header, field))
    if b"h" in tags:
        raise Refusal("a seal has h=")  # RFC 8617 4.1.3
    if (signed := parse_timestamp(tags, b"t")) and signed > now.timestamp() + 3600:
        raise Refusal("sealed in the future")
    domain, selector = parse_key_place(tags)
    status = required(tags, b"cv").decode("ascii", "replace")
    return _Seal(
        parse_algorithm(tags), parse_base64(required(tags, b"b"), "b"), domain, selector, status
    )


# --- verifying ----------------------------------------------------------------------------------


async def _verify_message_signature(
    header: HeaderBlock, newest: _Set, resolver: Resolver, offload: Offload, now: datetime
) -> Signature:
    """RFC 8617 5.2 step 4: the newest must hold; older ones may have been broken by whoever sealed next."""
    field = newest.message_signature
    signature = parse_message_signature(parse_tag_list(_value(header, field)), now)
    name = key_name(signature.domain, signature.selector)
    keys = await look_up_keys((name,), resolver)
    check = partial(_check_signed_header, header, field, signature, keys[name])
    if header.end > OFFLOAD_BYTES:
        await offload(check)
    else:
        check()
    hashes = await in_turns(body_hashes(header, (signature,)))
    if hashes[signature.relaxed_body].digests.get(signature.body_length) != signature.body_hash:
        raise Refusal("the body is not what was signed")
    if signature.body_length is not None:
        raise Refusal("only a part of the body is signed (l=)")
    return signature


def _check_signed_header(
    header: HeaderBlock, field: Field, signature: Signature, key: PublicKey | Refusal
) -> None:
    stack = FieldStack.of(header, but=field)
    if b"from" in signature.fields and stack.count(b"from") > signature.fields.count(b"from"):
        raise Refusal("there is a From that is not signed")
    digest = header_hash(
        stack, signature.fields, _unsigned(header, field), relaxed=signature.relaxed_header
    )
    if not _usable(key, signature.algorithm).has_signed(digest, signature.signature):
        raise Refusal("the header is not what was signed")


async def _verify_seals(
    header: HeaderBlock, sets: Sequence[_Set], resolver: Resolver, offload: Offload
) -> None:
    """RFC 8617 5.2 step 5."""
    names = {key_name(each.seal.domain, each.seal.selector) for each in sets}
    keys = await look_up_keys(names, resolver)
    checking = _checking_seals(header, sets, keys)
    is_much = header.end > OFFLOAD_BYTES
    await (offload(partial(at_once, checking)) if is_much else in_turns(checking))


def _checking_seals(
    header: HeaderBlock, sets: Sequence[_Set], keys: Mapping[str, PublicKey | Refusal]
) -> Steps[None]:
    """Each seal covers all sets up to its own (RFC 8617 5.1.1): one running hash serves them all.

    A step each: fifty of odd keys take a tenth of a second.
    """
    message = header.message
    hasher = sha256()
    for results, message_signature, seal_field, seal in sets:
        for field in (results, message_signature):
            hasher.update(relaxed_field(message[field.start : field.stop]))
        covered = hasher.copy()
        covered.update(relaxed_field(_unsigned(header, seal_field)).removesuffix(b"\r\n"))
        key = _usable(keys[key_name(seal.domain, seal.selector)], seal.algorithm)
        if not key.has_signed(covered.digest(), seal.signature):
            raise Refusal("a seal is broken")
        hasher.update(relaxed_field(message[seal_field.start : seal_field.stop]))
        if seal is not sets[-1].seal:
            yield


def _usable(key: PublicKey | Refusal, algorithm: str) -> PublicKey:
    if isinstance(key, Refusal):
        raise key
    key.check_use(algorithm, MIN_RSA_BITS)
    return key


def _unsigned(header: HeaderBlock, field: Field) -> bytes:
    """Return a field as its own signature covers it."""
    name, _, value = header.message[field.start : field.stop].partition(b":")
    return b"%b:%b" % (name, without_signature(value))
