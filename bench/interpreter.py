"""How the Python that runs this was built: by profile (PGO) and across modules (LTO), or not.

    python bench/interpreter.py     succeeds if it is optimised and can make a virtual environment

Knows nothing of the relay. `make setup` asks it, and every bench result says what it says.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import sysconfig

OLDEST = (3, 11)


def is_optimised() -> bool:
    """Whether it was built by profile, or by a distribution: they do, though Debian does not tell."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "--enable-optimizations" in arguments or sys.base_prefix == "/usr"


def describe() -> str:
    """Name the version and the build, for the report."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    if "--enable-optimizations" in arguments:
        build = "built with PGO and LTO" if "--with-lto" in arguments else "built with PGO"
    else:
        build = "the distribution's build" if is_optimised() else "built without PGO"
    return f"Python {platform.python_version()}, {build}"


def _makes_environments() -> bool:
    """Whether `python -m venv` works: Debian has it in a package of its own, python3-venv."""
    return all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


if __name__ == "__main__":
    sys.exit(not (sys.version_info >= OLDEST and is_optimised() and _makes_environments()))
