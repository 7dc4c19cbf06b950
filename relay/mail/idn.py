"""Domains with letters beyond ASCII, as the DNS has them: U-labels become A-labels (RFC 5891 4).

Other labels, also those that no host name may have (`_dmarc`), stay as they are. Knows nothing of mail or DNS.
"""

from __future__ import annotations

from typing import Final

import idna

__all__ = ["to_ascii"]

_MAX_LABEL: Final = 63


def to_ascii(domain: str) -> str:
    """Spell a domain in ASCII.

    Raises:
        ValueError: a label is none that can be spelled so.
    """
    if domain.isascii():
        return domain
    return ".".join(map(_label_to_ascii, domain.split(".")))


def _label_to_ascii(label: str) -> str:
    if label.isascii():
        return label
    if (
        len(label) > _MAX_LABEL
    ):  # each character takes a byte at least; and idna is slow on long ones
        raise ValueError(f"a label is longer than {_MAX_LABEL} bytes")
    # UTS 46, for what people write: capital letters, wide forms
    return idna.encode(label, uts46=True).decode("ascii")
