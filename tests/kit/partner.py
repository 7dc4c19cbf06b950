"""A partner with a CA of its own, known by the name in its certificate, in front of a real relay.

What is published of its certificate, and where, is the test's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kit.clients import Answer, session, transact
from tests.kit.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cryptography import x509

    from tests.kit.pki import Issued
    from tests.kit.relay_process import RelayProcess
    from tests.kit.site import Files, Site

__all__ = ["Partner"]

_NAME = "named.acme.example"
_IDENTITY = f"""
[[identity]]
name = "named"
names = ["dns:{_NAME}"]
senders = ["@acme.example"]
"""


class Partner:
    """Its CA, the certificate that it sends with, and relays that look at `[revocation]` for it.

    Args:
        site: the relay's side.
        folder: for its files.
        start_relay: the fixture of that name.
        revocation: what `[revocation]` of its relays holds, unless a test says otherwise.
    """

    issued: Issued
    files: Files

    def __init__(
        self,
        site: Site,
        folder: Path,
        start_relay: Callable[..., RelayProcess],
        revocation: Mapping[str, Any],
    ) -> None:
        self.root = Authority("Partner Root")
        self.folder = folder
        self.ca = folder / "partner-root.pem"
        self.ca.write_bytes(self.root.pem)
        self._site = site
        self._start = start_relay
        self._revocation = revocation

    def issue(
        self, *extensions: tuple[x509.ExtensionType, bool], by: Authority | None = None
    ) -> Issued:
        """Make the certificate that it sends with; its CA signs, or another one of its own."""
        self.issued = (by or self.root).issue(_NAME, dns=(_NAME,), extensions=extensions)
        self.files = self._site.files("named", self.issued)
        return self.issued

    def relay(
        self, port: int, mode: str, *, authority: Mapping[str, Any] | None = None, **revocation: Any
    ) -> RelayProcess:
        """Start a relay that knows it.

        Args:
            port: of the next hop.
            mode: how strictly its listener takes revocation.
            authority: what `[[revocation.authority]]` says of its CA.
            revocation: keys of `[revocation]`.
        """
        table = {**self._revocation, **revocation}
        if authority is not None:
            table["authority"] = [{"certificate": str(self.ca), **authority}]
        return self._start(
            port,
            allowlist=self._site.allowlist(_IDENTITY),
            listener={"client_ca": [str(self.ca)], "revocation": mode},
            revocation=table,
        )

    def send(self, relay: RelayProcess) -> Answer:
        """Send a message on a connection of its own; the answer that decided."""
        with session(relay.port, self._site.context(self.files)) as client:
            client.ehlo("client.example")
            return transact(client)  # and no QUIT: a refusal is the end

    def last(self, relay: RelayProcess) -> dict[str, Any]:
        """What is on record of its last handshake."""
        return [each for each in relay.audit(kind="handshake") if _NAME in str(each)][-1]
