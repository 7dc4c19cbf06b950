"""Commands and message bodies as the client engine writes them (RFC 5321 4.1.1 and extensions).

Pure formatting, for a peer with given extensions. It must not know what was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.model import Envelope, Octets, Recipient, Sender
    from relay.smtp.extensions import Extensions

__all__ = [
    "BLOCK_BYTES",
    "command",
    "dot_stuffed",
    "in_blocks",
    "is_ascii",
    "lacking",
    "mail_command",
    "rcpt_command",
    "xclient_command",
    "xforward_command",
]

BLOCK_BYTES = 256 * 1024
"""A block of a message: what is worked on, and written, at a time."""

NO_8BIT = Reply(554, "5.6.3", ("Next hop can't take 8-bit text, conversion is not supported",))
"""RFC 6152 3: without 8BITMIME the message is to be converted or refused."""

NO_UTF8_ADDRESS = Reply(553, "5.6.7", ("Next hop can't take non-ASCII addresses",))
NO_UTF8_HEADER = Reply(550, "5.6.9", ("Next hop can't take non-ASCII header fields",))
"""RFC 6531 3.5, RFC 5248 registry: X.6.7 for addresses, X.6.9 for header fields."""

_XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN")
_XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
_MAX_ATTRIBUTE = 255  # Postfix XCLIENT_README and XFORWARD_README
_PLAIN = frozenset(range(33, 127)) - {ord("+"), ord("=")}  # RFC 3461 4: xchar


def command(text: str) -> bytes:
    """Return a command line.

    Raises:
        ValueError: the text holds a line end. Addresses and parameters were parsed before they
            came here, so this is a fault of ours; it must never become a second command.
    """
    if "\r" in text or "\n" in text:
        raise ValueError("a line end inside a command")
    return f"{text}\r\n".encode()


def mail_command(
    sender: Sender, extensions: Extensions, *, size_bytes: int, is_8bit: bool, is_utf8: bool
) -> bytes:
    """Return MAIL FROM with the parameters that the peer understands."""
    text = f"MAIL FROM:<{sender}>"
    if size_bytes and extensions.size_bytes is not None:
        text += f" SIZE={size_bytes}"  # RFC 1870 6.1
    if (is_8bit or sender.body == "8BITMIME") and extensions.eightbitmime:
        text += " BODY=8BITMIME"  # RFC 6152 2
    if is_utf8 and extensions.smtputf8:
        text += " SMTPUTF8"  # RFC 6531 3.4
    if extensions.dsn:  # RFC 3461 4.3, 4.4
        if sender.ret:
            text += f" RET={sender.ret}"
        if sender.envid:
            text += f" ENVID={sender.envid}"
    return command(text)


def rcpt_command(recipient: Recipient, extensions: Extensions) -> bytes:
    """Return RCPT TO with the parameters that the peer understands."""
    text = f"RCPT TO:<{recipient}>"
    if extensions.dsn:  # RFC 3461 4.1, 4.2
        if recipient.notify:
            text += f" NOTIFY={recipient.notify}"
        if recipient.orcpt:
            text += f" ORCPT={recipient.orcpt}"
    return command(text)


def needs_utf8(envelope: Envelope) -> bool:
    """Whether the envelope cannot be sent without SMTPUTF8."""
    sender = envelope.sender.address
    return not (
        (sender is None or sender.is_ascii)
        and all(recipient.address.is_ascii for recipient in envelope.recipients)
    )


def lacking(
    extensions: Extensions, envelope: Envelope, chunks: Sequence[Octets], *, is_8bit: bool
) -> Reply | None:
    """Return the refusal of a message that the peer's extensions cannot carry, None if they can.

    A declared SMTPUTF8 or 8BITMIME that the message makes no use of is no obstacle.
    """
    if not extensions.smtputf8:
        if needs_utf8(envelope):
            return NO_UTF8_ADDRESS
        if envelope.sender.smtputf8 and is_8bit and not _has_ascii_header(chunks):
            return NO_UTF8_HEADER
    return NO_8BIT if is_8bit and not extensions.eightbitmime else None


def _has_ascii_header(chunks: Iterable[Octets]) -> bool:
    """Look no further than the end of the header, wherever the chunks were cut."""
    before = b""
    for block in in_blocks(chunks):
        text = before + block
        end = text.find(b"\r\n\r\n")
        if not (text if end < 0 else text[:end]).isascii():
            return False
        if end >= 0:
            return True
        before = text[-3:]
    return True


def is_ascii(chunk: Octets) -> bool:
    """Whether a chunk can be sent without 8BITMIME."""
    if isinstance(chunk, bytes):
        return chunk.isascii()
    return all(block.isascii() for block in in_blocks((chunk,)))


def xclient_command(offered: frozenset[str], client: Mapping[str, str]) -> bytes:
    """Return XCLIENT with everything the peer takes (Postfix XCLIENT_README).

    What is not known is said to be so: it would keep the value of the client before.
    """
    known = {**client, "PROTO": "SMTP" if client.get("PROTO") == "SMTP" else "ESMTP"}
    names = (name for name in _XCLIENT_NAMES if name in offered)
    return command(" ".join(("XCLIENT", *(_attribute(name, known) for name in names))))


def xforward_command(offered: frozenset[str], client: Mapping[str, str]) -> bytes:
    """Return XFORWARD with what is known and the peer takes (Postfix XFORWARD_README)."""
    known = {"SOURCE": "REMOTE", **client}
    names = (name for name in _XFORWARD_NAMES if name in offered)
    return command(" ".join(("XFORWARD", *(_attribute(name, known) for name in names))))


def _attribute(name: str, client: Mapping[str, str]) -> str:
    value = client.get(name, "")
    if not value:
        return f"{name}=[UNAVAILABLE]"
    if name == "ADDR" and ":" in value:
        value = f"IPV6:{value}"
    return f"{name}={_xtext(value[:_MAX_ATTRIBUTE])}"


def _xtext(value: str) -> str:
    """Encode as RFC 3461 4: what is not printable ASCII, "+" and "=" become +XX."""
    return "".join(
        chr(byte) if byte in _PLAIN else f"+{byte:02X}" for byte in value.encode("utf-8", "replace")
    )


def in_blocks(chunks: Iterable[Octets]) -> Iterator[bytes]:
    """Cut what is longer than `BLOCK_BYTES`, so that no step on a message takes long; copy views."""
    for chunk in chunks:
        if len(chunk) <= BLOCK_BYTES:
            yield bytes(chunk)
        else:
            for start in range(0, len(chunk), BLOCK_BYTES):
                yield bytes(chunk[start : start + BLOCK_BYTES])


def dot_stuffed(chunks: Iterable[Octets]) -> Iterator[bytes]:
    """Give a message as DATA wants it: dots stuffed, CRLF at the end, then the final dot.

    Block by block, as it is sent; a chunk that needs nothing is passed as it is, not copied
    (RFC 5321 4.5.2).
    """
    before = b"\r\n"  # the last two bytes in front of the chunk: the message starts a line
    for chunk in in_blocks(chunks):
        if not chunk:
            continue
        if before == b"\r\n" and chunk[0] == 0x2E:
            yield b"."
        elif before[-1:] == b"\r" and chunk[:2] == b"\n.":
            yield b"\n."  # the line end was cut in two by the border
            chunk = chunk[1:]  # noqa: PLW2901
        # Looked through once, and not copied without a dot; `bytes.replace` looks twice.
        yield b"\r\n..".join(chunk.split(b"\r\n."))
        before = (before + chunk[-2:])[-2:]
    yield b".\r\n" if before == b"\r\n" else b"\r\n.\r\n"
