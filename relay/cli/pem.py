"""PEM files that a command is given: a mistake in one is a mistake at its path."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from relay.errors import ConfigurationError
from relay.pki.certificate import MalformedCertificate

__all__ = ["parse_at"]

_T = TypeVar("_T")


def parse_at(path: Path, parse: Callable[[bytes], _T]) -> _T:
    """Read and parse a file. Raises ConfigurationError, OSError."""
    content = path.read_bytes()
    try:
        return parse(content)
    except ConfigurationError as error:
        raise ConfigurationError(error.problem, remedy=error.remedy, path=path) from error
    except MalformedCertificate as error:
        remedy = "give a PEM file that `openssl x509 -in FILE -text` can read"
        raise ConfigurationError("a malformed certificate", remedy=remedy, path=path) from error
