"""Our own certificate by EST, in files: the first one for a token, the next one for the current one.

A key is on disk before its certificate is asked for, so that an answer that was lost can be asked for
again. Knows nothing of the command line or of a configuration. RFC 7030.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from relay.ca_folder import encode_chain
from relay.errors import ConfigurationError
from relay.est_client import EstClient, Trusted, ask_for, ask_for_successor, chain_of
from relay.key_files import (
    KeyType,
    encode_private_key,
    key_type_of,
    load_private_key,
    make_private_key,
    refuse_existing,
    replace_file,
    write_new,
)
from relay.renewal import read_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from relay.pki.certificate import Certificate

__all__ = ["ROOT_NAME", "EnrolledFiles", "enroll_to_files", "renew_by_est"]

ROOT_NAME = "gatepost-root.pem"
"""What partners have the relay's root as."""


class EnrolledFiles(NamedTuple):
    """A certificate and where its chain, its key and the root of its CA are."""

    certificate: Certificate
    chain_path: Path
    key_path: Path
    root_path: Path


def enroll_to_files(
    client: EstClient, name: str, token: str, folder: Path, key_type: KeyType
) -> EnrolledFiles:
    """Get a first certificate: `NAME.pem`, `NAME.key` and the root beside them.

    Args:
        client: speaks with the server.
        name: of the invitation.
        token: of the invitation.
        folder: where to.
        key_type: of a key that is made; one that is there without a certificate is used.

    Raises:
        Unavailable: the server does not answer, or not with a certificate.
        ConfigurationError: a file is there already, or the server is not who it should be.
    """
    chain_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    root_path = folder / ROOT_NAME
    refuse_existing(chain_path)
    authorities = client.ca_certificates()
    root = _root_of(authorities)
    _check_root(root_path, root)
    if not key_path.exists():
        write_new(key_path, encode_private_key(make_private_key(key_type)), is_secret=True)
    leaf = client.enroll(name, token, ask_for(name, load_private_key(key_path)))
    write_new(chain_path, encode_chain(chain_of(leaf, authorities)))
    if not root_path.exists():
        write_new(root_path, _pem(root))
    return EnrolledFiles(leaf, chain_path, key_path, root_path)


def renew_by_est(
    chain_path: Path, key_path: Path, url: str, ca: Path | None, *, keeps_key: bool = False
) -> Certificate:
    """Replace a certificate, and its key unless it is kept, by what the server gives for it.

    Args:
        chain_path: PEM file with the certificate and its chain.
        key_path: PEM file with its key.
        url: the server's.
        ca: PEM file of the CA the server is known by; else the root beside the certificate, or the system's.
        keeps_key: whether to have the same key certified again.

    Raises:
        Unavailable: the server does not answer, or not with a certificate; nothing has changed.
        ConfigurationError: a file cannot be used.
        OSError: a file cannot be read or written.
    """
    current, key = read_leaf(chain_path), load_private_key(key_path)
    beside = chain_path.with_name(ROOT_NAME)
    trusted = Trusted(ca or (beside if beside.exists() else None))
    client = EstClient(url, trusted, (chain_path, key_path))
    authorities = client.ca_certificates()
    if not keeps_key:
        key = make_private_key(key_type_of(key))
    new = client.reenroll(ask_for_successor(current, key))
    if not keeps_key:
        replace_file(key_path, encode_private_key(key), is_secret=True)
    replace_file(chain_path, encode_chain(chain_of(new, authorities)))
    return new


def _root_of(authorities: Iterable[Certificate]) -> Certificate:
    root = next((each for each in authorities if each.subject == each.issuer), None)
    if root is None:
        raise ConfigurationError(
            "the server tells of no root", remedy="ask whoever runs it for its root certificate"
        )
    return root


def _check_root(path: Path, root: Certificate) -> None:
    if path.exists() and read_leaf(path) != root:
        remedy = "choose another folder with --out, or move it away"
        raise ConfigurationError("the root of another CA is here", remedy=remedy, path=path)


def _pem(certificate: Certificate) -> bytes:
    return certificate.x509.public_bytes(Encoding.PEM)
