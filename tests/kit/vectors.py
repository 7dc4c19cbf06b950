"""Foreign suites: not ours and not part of the project, read from where they lie.

That is `../shared/vectors`, or the folder that `GATEPOST_VECTORS` names. Knows no suite.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_vectors", "read_vectors"]

_BESIDE = Path(__file__).parents[2] / "../shared/vectors"
_FOLDER = Path(os.environ.get("GATEPOST_VECTORS", _BESIDE))


def read_vectors(name: str) -> dict[str, Any]:
    """Return what a JSON file holds, compressed or not; nothing if it is not there."""
    path = _FOLDER / name
    if not path.exists():
        return {}
    content = path.read_bytes()
    found: dict[str, Any] = json.loads(
        gzip.decompress(content) if path.suffix == ".gz" else content
    )
    return found


def needs_vectors(name: str) -> pytest.MarkDecorator:
    """Skip a test, with the file's name, where it is not there."""
    return pytest.mark.skipif(
        not (_FOLDER / name).exists(), reason=f"needs {name}; GATEPOST_VECTORS names its folder"
    )
