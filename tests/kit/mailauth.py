"""The npm package `mailauth` as a judge and as a signer: another's reading of DKIM and ARC.

A list of requests is one run of node. The package is brought by `tests.kit.apt`; where it is not there,
the test is skipped.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit.apt import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ask", "seal", "sign", "verify"]

_SCRIPT = Path(__file__).with_name("mailauth.cjs")


def verify(message: bytes, records: Mapping[str, str]) -> dict[str, Any]:
    """A request: which signatures pass ("dkim", a list with "result") and whether the chain does ("arc")."""
    return _request("verify", message, records=dict(records))


def sign(
    message: bytes,
    domain: str,
    selector: str,
    key: bytes,
    *,
    algorithm: str = "rsa-sha256",
    canonicalization: str = "relaxed/relaxed",
    length: int | None = None,
) -> dict[str, Any]:
    """A request: a DKIM-Signature ("fields") by a key in PEM."""
    return _request(
        "sign", message, domain=domain, selector=selector, key=key.decode(), algorithm=algorithm,
        canonicalization=canonicalization, length=length,
    )  # fmt: skip


def seal(
    message: bytes, domain: str, selector: str, key: bytes, *, results: str, status: str
) -> dict[str, Any]:
    """A request: a set of ARC ("fields") that finds the chain so far to be `status`."""
    return _request(
        "seal", message, domain=domain, selector=selector, key=key.decode(), results=results,
        status=status,
    )  # fmt: skip


def ask(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have requests answered, in their order."""
    done = subprocess.run(
        [need("node"), str(_SCRIPT), need("mailauth")], input=json.dumps(requests).encode(),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _request(operation: str, message: bytes, **more: object) -> dict[str, Any]:
    return {"operation": operation, "message": base64.b64encode(message).decode(), **more}
