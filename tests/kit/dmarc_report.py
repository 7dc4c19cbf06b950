"""Reads DMARC reports as their receivers do: unpacked, and refused if they are not what the schema of RFC 9990 allows."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

from xmlschema import XMLSchema

__all__ = ["read_report"]

_SCHEMA = Path(__file__).with_name("dmarc-2.0.xsd")


@cache
def _schema() -> XMLSchema:
    return XMLSchema(_SCHEMA)


def read_report(packed: bytes) -> ET.Element:
    """The `feedback` element of a report. Raises `XMLSchemaValidationError` with the place where it is wrong."""
    root = ET.fromstring(gzip.decompress(packed))
    _schema().validate(root)
    return root
