"""A configuration with a policy and an audit trail, and no relay: for commands about rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["write_site", "write_trail"]

_SETTINGS = """
hostname = "edge.example.org"
allowlist = "allowlist.toml"
state_dir = "state"
[[listener]]
name = "partners"
address = "127.0.0.1:2525"
certificate = [{ chain = "edge.pem", key = "edge.key" }]
client_certificate = "optional"
policy = [%s]
[route."example.org"]
hosts = ["127.0.0.1:2526"]
tls = "off"
"""


def write_site(folder: Path, policies: Mapping[str, str], allowlist: str = "") -> Path:
    """Write a configuration whose listener has these policy files; "defaults" needs no text."""
    names = ", ".join(f'"{name}"' for name in policies)
    config = folder / "gatepost.toml"
    config.write_text(_SETTINGS % names)
    (folder / "allowlist.toml").write_text(allowlist)
    for name, text in policies.items():
        if text:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return config


def write_trail(folder: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write the audit trail of that configuration."""
    path = folder / "state" / "audit.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.writelines(orjson.dumps(record) + b"\n" for record in records)
    return path
