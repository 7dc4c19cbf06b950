"""What every table of the configuration is made from.

Knows no table by name; `relay/settings/__init__.py` has them all.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["CertificateFiles", "Table"]


class Table(BaseModel):
    """A table of the configuration: frozen, unknown keys are mistakes, field docstrings are its manual."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, arbitrary_types_allowed=True
    )


class CertificateFiles(Table):
    """A certificate chain and its private key."""

    chain: Path
    """PEM file: our certificate first, then the intermediates."""

    key: Path
    """PEM file with the private key, unencrypted, readable by nobody else (mode 0600)."""
