"""A certificate and its key in one file with a password (PKCS#12), as Windows and Java want them. RFC 7292."""

from pathlib import Path
from typing import Annotated

import typer

from relay.cli.secrets import read_password
from relay.cli.site import Site
from relay.key_files import refuse_existing, write_new
from relay.pki.certificate import Certificate
from relay.pki.issuing import PrivateKey, pack_pkcs12

__all__ = ["NewP12", "P12PasswordOption"]

P12PasswordOption = Annotated[
    Path | None,
    typer.Option(help="File with the password of the PKCS#12 file.", show_default=False),
]


class NewP12:
    """A PKCS#12 file to be: whether it can be written is settled before anything is made."""

    def __init__(self, path: Path, password_file: Path | None) -> None:
        refuse_existing(path)
        self.path = path
        self._password = read_password(password_file, path.name, "--p12-password-file")

    def write(self, name: str, key: PrivateKey, certificate: Certificate, site: Site) -> None:
        """Write it, with the chain up to our root."""
        above = site.ca.chain(certificate)[1:]
        issuers = [each.x509 for each in (*above, site.ca.certificate())]
        content = pack_pkcs12(name, key, certificate.x509, issuers, self._password)
        write_new(self.path, content, is_secret=True)
