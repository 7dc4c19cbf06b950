"""Authentication-Results of a session's messages: what has been found out goes in, forged ones go out (RFC 8601).

Who has found out what is the checks' to say (`policy.check.Witness`); nothing is found out for the
field's sake, and where nothing was, there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.mail.authentication_results import FIELD_NAME, canonical_id, claims_to_be, format_results

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from relay.mail.headers import Field, HeaderBlock
    from relay.policy.case import Case
    from relay.policy.check import Witness
    from relay.policy.facts import Value

__all__ = ["AuthenticationResults"]

_NAME: Final = FIELD_NAME.lower().encode()
_READ_BYTES: Final = 16 * 1024  # 1 us each at worst; honest ones have hardly a tenth


class AuthenticationResults:
    """The field under one name of ours.

    Args:
        authserv_id: the name that it is written under; "" writes none.
        own_ids: names under which only we may have written, in any spelling.
        witnesses: those who may have found something out.
    """

    __slots__ = ("_authserv_id", "_own_ids", "_witnesses")

    def __init__(
        self, authserv_id: str, own_ids: Iterable[str], witnesses: Sequence[Witness]
    ) -> None:
        self._authserv_id = authserv_id
        self._own_ids = frozenset(map(canonical_id, own_ids))
        self._witnesses = tuple(witnesses)

    def forged(self, block: HeaderBlock) -> Collection[Field]:
        """Return the fields of a message that claim to be ours (RFC 8601 5).

        All that come after more of them than anybody reads count as such.
        """
        found: set[Field] = set()
        read = 0
        for field in block.named(_NAME):
            read += field.stop - field.start
            if read > _READ_BYTES or claims_to_be(
                block.message[field.start : field.stop].partition(b":")[2], self._own_ids
            ):
                found.add(field)
        return found

    def value(self, case: Case, facts: Mapping[str, Value], client: str) -> str:
        """Return what the field says of a message; "" if nothing was found out.

        Args:
            case: the session and its message.
            facts: what rules have asked for.
            client: what the certificate is worth, "" if nobody has asked for one.
        """
        if not self._authserv_id:
            return ""
        found: list[object] = [client] if client else []
        for witness in self._witnesses:
            found += witness.testify(case, facts)
        return format_results(self._authserv_id, found) if found else ""
