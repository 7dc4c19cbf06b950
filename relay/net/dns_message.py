"""DNS messages: a question as bytes, and what of the bytes that come back is an answer to it.

Answers are matched against the very bytes of the question (RFC 5452 4.5 to 4.7): id, type, and the name
letter by letter, each letter in a case drawn by chance. Records are read by dnspython. Knows no
sockets and no time. RFC 1035, RFC 6891, RFC 2308.
"""

from __future__ import annotations

import re
import secrets
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from relay.errors import Unavailable
from relay.mail.idn import to_ascii
from relay.model import DnsAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dns.message import QueryMessage
    from dns.rdata import Rdata

__all__ = ["Match", "NoSuchName", "Question", "Reading", "read_answer"]

_HEADER_BYTES: Final = 12
_IN: Final = b"\x00\x01"
_RD: Final = 0x0100
_AD: Final = 0x0020
_ONE_QUESTION: Final = b"\x00\x01\x00\x00\x00\x00"
# RFC 6891 6.1.2: the root's name, OPT, and the 1232 bytes that pass any path unfragmented
_OPT: Final = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
_NAMELESS: Final = frozenset({1, 2, 4, 5})  # FORMERR SERVFAIL NOTIMP REFUSED may lack the question
_ANSWERS: Final = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
_LETTERS: Final = re.compile(rb"[A-Za-z]")


class NoSuchName(ValueError):
    """A text that cannot be a name in the DNS, so nothing can be there."""


class Match(Enum):
    """What bytes from a name server are to a question."""

    ANSWER = "answer"
    TRUNCATED = "truncated"
    LOOK_ALIKE = (
        "look-alike"  # all is right but the case of letters: forged, or not copied as it was
    )
    FOREIGN = "foreign"


class Question(NamedTuple):
    """One question as it goes over the wire: `wire` with its id, `section` as it must come back."""

    wire: bytes
    section: bytes

    @classmethod
    def about(cls, name: str, kind: str, *, edns: bool = True, ad: bool = False) -> Question:
        """Ask for the records of type `kind`; with `ad` for whether they are validated (RFC 6840 5.7).

        Raises:
            NoSuchName: that is no name.
        """
        section = _mix_case(_encode(name)) + dns.rdatatype.from_text(kind).to_bytes(2) + _IN
        flags = (_RD | _AD if ad else _RD).to_bytes(2)
        count = (1 if edns else 0).to_bytes(2)
        head = secrets.token_bytes(2) + flags + _ONE_QUESTION + count
        return cls(head + section + (_OPT if edns else b""), section)

    def match(self, received: bytes) -> Match:
        """Say what a message from the name server is to this question."""
        if len(received) < _HEADER_BYTES or received[:2] != self.wire[:2] or received[2] < 0x80:
            return Match.FOREIGN
        echoed = received[_HEADER_BYTES : _HEADER_BYTES + len(self.section)]
        if received[4:6] == b"\x00\x00" and received[3] & 15 in _NAMELESS:
            return Match.ANSWER
        if received[4:6] != b"\x00\x01" or echoed.lower() != self.section.lower():
            return Match.FOREIGN
        if echoed != self.section:
            return Match.LOOK_ALIKE
        return Match.TRUNCATED if received[2] & 2 else Match.ANSWER


class Reading(NamedTuple):
    """What an answer says. `ttl` is its shortest; None for a "no" that may not be kept (RFC 2308 5).

    Where the server has not answered the question, `failure` is its word for that, "SERVFAIL" say.
    """

    answer: DnsAnswer
    ttl: int | None = None
    failure: str = ""


def read_answer(wire: bytes, kind: str, *, trust_ad: bool) -> Reading:
    """Read a message that `Question.match` has called an answer, aliases followed.

    Raises:
        Unavailable: it cannot be read, or its aliases lead nowhere.
    """
    rcode = wire[3] & 15
    if rcode not in _ANSWERS:
        return Reading(DnsAnswer(), failure=dns.rcode.to_text(dns.rcode.Rcode(rcode)))
    try:
        message = cast("QueryMessage", dns.message.from_wire(wire, ignore_trailing=True))
        if message.rcode() not in _ANSWERS:  # an extended one (RFC 6891 6.1.3), BADVERS say
            return Reading(DnsAnswer(), failure=dns.rcode.to_text(message.rcode()))
        chain = message.resolve_chaining()
        records = tuple(_texts(kind, chain.answer)) if chain.answer is not None else ()
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise Unavailable(f"an answer that can't be read: {type(error).__name__}") from error
    is_authentic = trust_ad and bool(wire[3] & _AD)
    answer = DnsAnswer(records, message.rcode() == dns.rcode.NOERROR, is_authentic)
    if records or any(rrset.rdtype == dns.rdatatype.SOA for rrset in message.authority):
        return Reading(answer, chain.minimum_ttl)
    return Reading(answer)


# --- names ----------------------------------------------------------------------------------


def _encode(name: str) -> bytes:
    """Spell a name for the wire: U-labels as A-labels, all else byte by byte (RFC 2181 11)."""
    try:
        name = to_ascii(name).removesuffix(".")
        labels = name.encode("ascii").split(b".") if name else []
        wire = dns.name.Name([*labels, b""]).to_wire()
    except (dns.exception.DNSException, ValueError) as error:
        raise NoSuchName(str(error)) from error
    assert wire is not None
    return wire


def _mix_case(name: bytes) -> bytes:
    """Change the case of letters by chance: each is one more bit that a forger must guess."""
    bits = secrets.randbits(8 * len(name))

    def flip(letter: re.Match[bytes]) -> bytes:
        return letter[0].swapcase() if bits >> letter.start() & 1 else letter[0]

    return _LETTERS.sub(flip, name)


# --- records --------------------------------------------------------------------------------


def _texts(kind: str, records: Any) -> Iterator[str]:
    """Spell records as `DnsAnswer` promises."""
    spell = _SPELLINGS.get(kind, _spell_other)
    for record in records:
        yield spell(record)


def _spell_address(record: Any) -> str:
    return str(record.address)


def _spell_target(record: Any) -> str:
    return _spell_name(record.target)


def _spell_exchange(record: Any) -> str:
    return f"{record.preference} {_spell_name(record.exchange)}"


def _spell_name(name: dns.name.Name) -> str:
    return name.to_text().lower().removesuffix(".")  # the root, as in a null MX (RFC 7505 3), is ""


def _spell_strings(record: Any) -> str:
    return b"".join(record.strings).decode("utf-8", "surrogateescape")


def _spell_association(record: Any) -> str:
    return f"{record.usage} {record.selector} {record.mtype} {record.cert.hex()}"


def _spell_other(record: Rdata) -> str:
    return record.to_text()


_SPELLINGS: Final = {
    "A": _spell_address,
    "AAAA": _spell_address,
    "CNAME": _spell_target,
    "PTR": _spell_target,
    "NS": _spell_target,
    "MX": _spell_exchange,
    "TXT": _spell_strings,
    "TLSA": _spell_association,
}
