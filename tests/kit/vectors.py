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


def read_vectors(name: str, key: str) -> list[Any]:
    """Return a list of a JSON file, compressed or not; an empty one if there is no such file.

    Raises:
        KeyError: there is such a file, but no such list in it.
    """
    path = _FOLDER / name
    if not path.exists():
        return []
    content = path.read_bytes()
    found: list[Any] = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)[
        key
    ]
    return found


def needs_vectors(name: str) -> pytest.MarkDecorator:
    """Skip a test, with the file's name, where it is not there."""
    return pytest.mark.skipif(
        not (_FOLDER / name).exists(), reason=f"needs {name}; GATEPOST_VECTORS names its folder"
    )
