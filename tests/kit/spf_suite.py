"""The openspf suite for RFC 7208: its cases, and its zones as our fakes spell them.

The cases are not ours and not part of the project: `../shared/vectors`, or the folder that
`GATEPOST_VECTORS` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.kit.vectors import read_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["VECTORS", "SuiteCase", "load_cases"]

VECTORS = "spf-rfc7208.json"
_KINDS = ("A", "AAAA", "MX", "TXT", "PTR")


class SuiteCase(NamedTuple):
    """One case; `failing` are "name KIND" without an answer, `explanation` None if any will do."""

    name: str
    ip: str
    local: str
    domain: str
    hello: str
    zones: Mapping[str, Mapping[str, Sequence[str]]]
    failing: tuple[str, ...]
    results: tuple[str, ...]
    explanation: str | None


def load_cases() -> list[SuiteCase]:
    """Read all cases; none if the file is not there."""
    made = []
    for scenario in read_vectors(VECTORS, "scenarios"):
        zones, failing = _read_zones(scenario["zonedata"])
        for name, test in scenario["tests"].items():
            made.append(_read_case(name, test, zones, failing))
    return made


def _read_case(
    name: str,
    test: Mapping[str, Any],
    zones: Mapping[str, Mapping[str, Sequence[str]]],
    failing: tuple[str, ...],
) -> SuiteCase:
    results = test["result"]
    explanation = test.get("explanation")
    local, _, domain = test["mailfrom"].rpartition("@")
    return SuiteCase(
        name,
        test["host"],
        local or "postmaster",
        (domain or test["helo"]).lower(),
        test["helo"],
        zones,
        failing,
        tuple(results) if isinstance(results, list) else (results,),
        None if explanation == "DEFAULT" else explanation,
    )


def _read_zones(
    zonedata: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, dict[str, list[str]]], tuple[str, ...]]:
    zones: dict[str, dict[str, list[str]]] = {}
    failing: list[str] = []
    for owner, entries in zonedata.items():
        name = owner.lower()
        records = zones.setdefault(name, {})
        has_txt = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        for entry in entries:
            if entry == "TIMEOUT":  # for all types that are not listed before it
                failing += [f"{name} {kind}" for kind in _KINDS if kind not in records]
                continue
            ((kind, value),) = entry.items()
            if value == "TIMEOUT":
                failing.append(f"{name} {kind}")
            elif value != "NONE" and not (kind == "SPF" and has_txt):
                # A record of the old type SPF stands for a TXT record too.
                records.setdefault(kind.replace("SPF", "TXT"), []).append(_spell(kind, value))
    return zones, tuple(failing)


def _spell(kind: str, value: Any) -> str:
    if kind in {"SPF", "TXT"}:
        return value if isinstance(value, str) else "".join(value)
    if kind == "MX":
        return f"{value[0]} {value[1].lower()}"
    return str(value).lower().removesuffix(".")
