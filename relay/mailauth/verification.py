"""What became of a signature: the words and values that DKIM and ARC answer with.

It knows nothing of how they are found. The words are those of RFC 8601 2.7.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["DkimResult", "Refusal", "Verification"]


class DkimResult(StrEnum):
    """The words for one signature, or for a message as a whole."""

    NONE = "none"  # there is no signature
    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"  # header or body is not what was signed
    POLICY = "policy"  # what was signed is right, but not enough for us
    NEUTRAL = "neutral"  # it counts as if it were not there
    TEMPERROR = "temperror"  # the key could not be had now
    PERMERROR = "permerror"  # it can never be verified


class Refusal(Exception):
    """Why a signature or a key is not used; never leaves this package.

    `reason` is for the audit and Authentication-Results: words of ours, no text of the message's.
    """

    def __init__(self, reason: str, result: DkimResult = DkimResult.PERMERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.result = result


class Verification(NamedTuple):
    """What became of one DKIM signature.

    `domain` (d=) and `selector` (s=) are canonical, "" where they can't be read; `identity` is i=
    as it stands. `signature` are the first characters of b=, which tell signatures of one domain
    apart (RFC 6008). `key_bits` is 0 as long as no key has been seen. `unsigned_bytes` is how much
    of the body l= leaves out, None without l=. `is_testing` is the t=y of the key.
    """

    result: DkimResult
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    signature: str = ""
    key_bits: int = 0
    unsigned_bytes: int | None = None
    is_testing: bool = False
