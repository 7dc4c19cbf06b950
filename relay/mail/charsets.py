"""Text out of bytes in the character sets of mail, and out of encoded words (RFC 2047).

Never fails: what can't be read comes out as replacement characters. Sets that mail does not use are
not looked up, for Python remembers each unknown name it was ever asked for.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

__all__ = ["base64_digits", "decode", "decode_base64", "decode_words"]

_KNOWN: Final = frozenset(
    {
        "us-ascii", "ascii", "utf-8", "utf8", "utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32",
        "koi8-r", "koi8-u", "gb2312", "gbk", "gb18030", "big5", "hz-gb-2312", "shift_jis", "sjis",
        "euc-jp", "iso-2022-jp", "euc-kr", "iso-2022-kr", "ks_c_5601-1987", "tis-620", "macintosh",
        "cp437", "cp850", "cp866", "cp932", "cp936", "cp949", "cp950",
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
        *(f"windows-{page}" for page in range(1250, 1259)),
    }
)  # fmt: skip
# RFC 2047 2; a language may follow the set (RFC 2231 5). Blanks in the text are wrong, and read.
_WORD: Final = re.compile(
    r"=\?([A-Za-z0-9._-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([bBqQ])\?([^?]*)\?="
)
_BETWEEN_WORDS: Final = re.compile(r"(?<=\?=)[ \t\r\n]+(?==\?)")
_NOT_BASE64: Final = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)


def decode(data: bytes, charset: str) -> str:
    """Read bytes in a character set; in one that nobody knows, as UTF-8."""
    name = charset.lower()
    return data.decode(name if name in _KNOWN else "utf-8", "replace")


def decode_words(text: str) -> str:
    """Read the encoded words in a text; what is none stays as it is."""
    if "=?" not in text:
        return text
    # RFC 2047 6.2: blanks between two encoded words are not part of the text
    return _WORD.sub(_word, _BETWEEN_WORDS.sub("", text))


def decode_base64(data: bytes) -> bytes:
    """Read base64 as the most lenient reader would: what is not of the alphabet is skipped."""
    digits = base64_digits(data)
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + b"==="[: -len(digits) % 4])


def base64_digits(data: bytes) -> bytes:
    """Return only what counts in base64."""
    return data.translate(None, _NOT_BASE64)


def _word(found: re.Match[str]) -> str:
    charset, encoding, text = found.groups()
    data = text.encode("utf-8", "surrogateescape")
    if encoding in "bB":
        return decode(decode_base64(data), charset)
    return decode(binascii.a2b_qp(data, header=True), charset)
