"""Debian's opendkim as a judge and as a signer, in its test mode: a run for each message, no socket, no DNS."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.kit.apt import need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["sign", "verify"]

_ADDED = re.compile(r"### INSHEADER: idx=\d+ hname='([^']+)' hvalue='(.*?)'\n", re.DOTALL)


def verify(folder: Path, message: bytes, records: Mapping[str, str]) -> list[str]:
    """The result of each signature, by keys at these names."""
    keys = folder / "keys"
    keys.write_text("".join(f"{name} {record}\n" for name, record in records.items()))
    added = _run(folder, message, Mode="v", TestPublicKeys=str(keys))
    return re.findall(r"\bdkim=(\w+)", added["Authentication-Results"])


def sign(
    folder: Path, message: bytes, key: bytes, *, algorithm: str, canonicalization: str
) -> bytes:
    """The DKIM-Signature of example.org with selector s1."""
    file = folder / "key.pem"
    file.write_bytes(key)
    added = _run(
        folder, message, Mode="s", Domain="example.org", Selector="s1", KeyFile=str(file),
        SignatureAlgorithm=algorithm, Canonicalization=canonicalization, OversignHeaders="From",
        RequireSafeKeys="no",
    )  # fmt: skip
    value = added["DKIM-Signature"].replace("\n", "\r\n")
    return f"DKIM-Signature: {value}\r\n".encode()


def _run(folder: Path, message: bytes, **settings: str) -> dict[str, str]:
    configuration, file = folder / "opendkim.conf", folder / "message.eml"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    file.write_bytes(message)
    done = subprocess.run(
        [need("opendkim"), "-x", str(configuration), "-t", str(file), "-v", "-v"],
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    found = dict(_ADDED.findall(done.stdout.decode(errors="replace")))
    assert found, done.stderr.decode(errors="replace")
    return found
