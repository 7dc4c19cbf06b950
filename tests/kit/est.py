"""An EST server on loopback with a CA and an allowlist of its own, and what a client sends it.

The relay's own HTTP side, without a relay around it.
"""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, NameOID

from relay.admin.est import MAX_BODY_BYTES, Est, server_context
from relay.admin.server import HttpServer
from relay.ca_folder import create_ca, issue_to_files
from relay.invitations import Invitations
from relay.pki.est import encode_request
from relay.pki.issuing import Subject
from relay.policy.restrictions import Restrictions
from relay.settings import Settings
from relay.settings.ca import Ca
from relay.settings.ca import Est as EstSettings
from relay.settings.listener import Listener
from relay.settings.operation import Audit
from relay.settings.route import Route
from relay.settings.table import CertificateFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay.ca_folder import IssuedFiles

Key = ec.EllipticCurvePrivateKey


class EstSite:
    """Everything in one folder; `server` is to be served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.allowlist = folder / "allowlist.toml"
        self.ca = create_ca(folder / "ca", "Our CA")
        edge = issue_to_files(
            self.ca, Subject("edge", ("dns:localhost",), "server"), folder, file_name="edge"
        )
        self.files = CertificateFiles(chain=edge.chain_path, key=edge.key_path)
        self.settings = Settings(
            hostname="edge.example.org",
            allowlist=self.allowlist,
            listener=(Listener(name="edge", address="127.0.0.1:25", certificate=(self.files,)),),
            route={"*": Route(hosts=("127.0.0.1:26",))},
            ca=Ca(folder=self.ca.folder),
            est=EstSettings(address="127.0.0.1:0", certificate=self.files),
            audit=Audit(path=folder / "audit.jsonl"),
        )
        self.restrictions = Restrictions()
        self.restrictions.is_known = True
        self.est = Est(self.settings, self.ca, None, self.restrictions)
        self.server = HttpServer(
            self.est.routes,
            max_body_bytes=MAX_BODY_BYTES,
            tls=server_context(self.files, self.ca),
        )

    def invite(self, name: str = "acme", names: tuple[str, ...] = (), *, days: float = 30) -> str:
        """Invite somebody who is not known yet; return the token."""
        return Invitations(self.ca.folder).invite(
            Subject(name, names),
            lifetime=timedelta(days=days),
            valid_for=timedelta(hours=1),
            identity={"senders": ["@acme.example"]},
            by="ann",
        )

    def issue(self, name: str, *, days: float = 30) -> IssuedFiles:
        """Issue a certificate to files, without a pin."""
        return issue_to_files(self.ca, Subject(name), self.folder, days=days)

    def context(self, chain: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """Return a TLS client context that knows the CA, with a certificate if one is given."""
        context = ssl.create_default_context(cafile=self.ca.certificate_path)
        if chain is not None:
            context.load_cert_chain(chain, key)
        return context

    def audit(self) -> list[dict[str, Any]]:
        """Return what is on record."""
        path = self.settings.audit.path
        return [orjson.loads(line) for line in path.read_text().splitlines()]


def make_request(
    name: str = "acme",
    *,
    key: Key | None = None,
    dns: Sequence[str] = (),
    challenge: bytes | None = None,
) -> bytes:
    """Make the body of an enrolment; with a new key unless one is given."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(each) for each in dns])
        builder = builder.add_extension(names, critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return encode_request(signed)
