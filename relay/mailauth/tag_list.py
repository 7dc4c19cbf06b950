"""Tag lists (RFC 6376 3.2): `v=1; a=rsa-sha256; ...`, the form of signatures and key records.

It knows the form and not the meaning of any tag, but for b=, which no signature covers.
"""

from __future__ import annotations

import re
from typing import Final

from relay.mailauth.verification import Refusal

__all__ = ["parse_tag_list", "without_signature"]

_MAX_BYTES: Final = 16 * 1024  # good ones have hardly 2 kB

# Between VALCHAR and FWS; RFC 8616 3 lets UTF-8 in.
_FOREIGN: Final = re.compile(rb"[^\t\r\n -~\x80-\xff]")
_TAG_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")


def parse_tag_list(text: bytes) -> dict[bytes, bytes]:
    """Return the tags in their order, values without the blanks around them.

    Raises:
        Refusal: the list is not well-formed, longer than 16 KiB, or a tag stands in it twice.
    """
    if len(text) > _MAX_BYTES:
        raise Refusal("the tag list is too long")
    if _FOREIGN.search(text):
        raise Refusal("control characters in a tag list")
    parts = text.split(b";")
    if not parts[-1].strip():
        parts.pop()  # one semicolon may stand at the end, and no further one
    tags: dict[bytes, bytes] = {}
    for part in parts:
        before, equals, value = part.partition(b"=")
        name = before.strip()
        if not equals or not _TAG_NAME.fullmatch(name):
            raise Refusal("malformed tag list")
        if name in tags:
            raise Refusal(f"tag {name.decode()}= stands there twice")  # RFC 6376 3.2
        tags[name] = value.strip()
    return tags


def without_signature(text: bytes) -> bytes:
    """Return a tag list as its own signature covers it: the value of b= and the blanks around it gone."""
    return b";".join(  # RFC 6376 3.5 b=, 3.7
        part[: part.index(b"=") + 1] if part.lstrip().partition(b"=")[0].rstrip() == b"b" else part
        for part in text.split(b";")
    )
