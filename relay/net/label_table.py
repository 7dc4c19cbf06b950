"""Counters with labels in shared memory: which labels there are shows only while counting.

Theory: a table belongs to one worker, which alone writes it; each counter has a fixed number of places in
it. Labels that have not been seen before get the next free place and their text is written there; whoever
adds up several tables does so by that text. The last place of a counter takes all labels for which
no place is left, under the name "other": a page of figures stays small, whatever clients do.

Knows neither who counts nor what the figures are for.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LABELLED", "OTHER", "TABLE_BYTES", "LabelTable", "Labelled"]

OTHER: Final = "other"


class Labelled(NamedTuple):
    """A counter with labels: what it means, their names, and for how many of them there is room."""

    meaning: str
    labels: tuple[str, ...]
    places: int
    is_gauge: bool = False


LABELLED: Final = MappingProxyType(
    {
        "handshakes": Labelled(
            "TLS handshakes of clients by the trust decision; unasked: the listener wants no "
            "certificate; failed: no TLS came about.",
            ("listener", "tls_version", "status"),
            256,
        ),
        "downgrades": Labelled(
            "Clients that came with less protection than there could be.", ("downgrades",), 8
        ),
        "refusals": Labelled("Refusals by the rule that refused.", ("rule",), 128),
        "revocations": Labelled(
            "Handshakes for which revocation was asked about, by what came of it.",
            ("revocation", "revocation_source"),
            32,
        ),
        "deliveries": Labelled(
            "Messages that a next hop was asked to take.", ("route", "outcome"), 192
        ),
        "domain_problems": Labelled(
            "What is not in order about a domain of `[doctor]`.", ("domain",), 64, is_gauge=True
        ),
        "next_hops_failing": Labelled(
            "Workers that find a next hop failing.", ("route", "next_hop"), 64, is_gauge=True
        ),
    }
)
"""What is counted by label: names as in the audit records."""

_PLACE_BYTES: Final = 128
_HEAD_BYTES: Final = 10  # the count, and the length of the text
_TEXT_BYTES: Final = _PLACE_BYTES - _HEAD_BYTES
_SEPARATOR: Final = "\x1f"
TABLE_BYTES: Final = _PLACE_BYTES * sum(each.places for each in LABELLED.values())


def _first_places() -> dict[str, int]:
    found, start = {}, 0
    for name, each in LABELLED.items():
        found[name] = start
        start += each.places
    return found


_FIRST: Final = _first_places()


class LabelTable:
    """One worker's table.

    Args:
        memory: `TABLE_BYTES` of it, all zero at first, shared by those who read.
    """

    __slots__ = ("_free", "_memory", "_places", "counts")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._places: dict[tuple[str, ...], int] = {}
        self._free = dict(_FIRST)
        self.counts = memory.cast("q")
        """Where `place` says."""

    def place(self, key: tuple[str, ...]) -> int:
        """Say where a counter's name and its labels are counted."""
        found = self._places.get(key)
        return self._find(key) if found is None else found

    def samples(self, counter: str) -> Iterator[tuple[tuple[str, ...], int]]:
        """The labels of one counter and what was counted, where it is not nought."""
        first, (_, labels, places, _) = _FIRST[counter], LABELLED[counter]
        for place in range(first, first + places):
            value = self.counts[place * _PLACE_BYTES // 8]
            found = tuple(self._text(place).split(_SEPARATOR)) if value else ()
            # Another processor's writes may show in another order: the next look sees it whole.
            if len(found) == len(labels):
                yield found, value

    def forget(self) -> None:
        """Be as new: the memory has been wiped."""
        self._places.clear()
        self._free = dict(_FIRST)

    def _find(self, key: tuple[str, ...]) -> int:
        """Give labels a place of their own, or the common one; returns where the count is."""
        counter, labels = key[0], key[1:]
        last = _FIRST[counter] + LABELLED[counter].places - 1
        place = self._free[counter]
        if place >= last:
            self._write(last, (OTHER,) * len(labels))
            return last * _PLACE_BYTES // 8  # not remembered: there may be any number of these
        self._free[counter] = place + 1
        self._write(place, labels)
        self._places[key] = place * _PLACE_BYTES // 8
        return place * _PLACE_BYTES // 8

    def _write(self, place: int, labels: tuple[str, ...]) -> None:
        """Write the text before anything is counted: what is nought is not read."""
        share = _TEXT_BYTES // len(labels)
        text = _SEPARATOR.join(_cut(each, share - 1) for each in labels).encode()
        start = place * _PLACE_BYTES + 8
        self._memory[start : start + 2] = len(text).to_bytes(2, "little")
        self._memory[start + 2 : start + 2 + len(text)] = text

    def _text(self, place: int) -> str:
        start = place * _PLACE_BYTES + 8
        size = int.from_bytes(self._memory[start : start + 2], "little")
        return bytes(self._memory[start + 2 : start + 2 + size]).decode("utf-8", "replace")


def _cut(label: str, size_bytes: int) -> str:
    """Cut a label to so many bytes; what would be mistaken for the space between two is replaced."""
    clean = label.replace(_SEPARATOR, " ").encode("utf-8", "replace")
    return clean[:size_bytes].decode("utf-8", "ignore")
