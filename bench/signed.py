"""The load generator's message with a DKIM signature, and the DNS that it passes in.

The generator changes Message-ID and a field of its own with each message, so the signature covers
neither, and one is good for all of them.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for relay

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tools import BUILD

from relay.mail.headers import split
from relay.mailauth.canonicalization import FieldStack, body_start
from relay.mailauth.signing import SigningKey, SigningStyle, sign

DOMAIN = "client1.example"
_KEY = rsa.generate_private_key(65537, 2048)
_PUBLIC = base64.b64encode(
    _KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
PRIVATE_KEY = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

ZONES = {
    DOMAIN: {"TXT": "v=spf1 ip4:192.0.2.0/24 ip4:127.0.0.1 -all"},
    f"_dmarc.{DOMAIN}": {"TXT": "v=DMARC1; p=reject"},
    f"bench._domainkey.{DOMAIN}": {"TXT": f"v=DKIM1; k=rsa; p={_PUBLIC}"},
}


def sign_load(size: int, folder: Path, *options: str) -> Path:
    """Return a file with the DKIM-Signature for messages of `size` bytes; `options` are the generator's."""
    dumped = folder / f"message{size}"
    subprocess.run(
        [f"{BUILD}/smtp_load", "--messages", "0", "--size", str(size), "--dump", str(dumped), *options],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    message = dumped.read_bytes()
    block = split(message)
    style = SigningStyle(signed=(b"from", b"to", b"subject"), oversigned=())
    fields = sign(
        FieldStack.of(block), message, body_start(block),
        [SigningKey(DOMAIN, "bench", _KEY)], datetime.now(UTC), style=style,
    )  # fmt: skip
    signature = folder / f"signature{size}"
    signature.write_bytes(fields)
    return signature
