"""What all fuzz targets share: how many examples to run, and byte-level mutations of good input.

`GATEPOST_FUZZ_EXAMPLES` is the number of examples of each target: 500 unless told (a few seconds
for each target), 100000 for the full run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

__all__ = ["fuzz_settings", "mutant", "mutated", "split_at"]

_DEFAULT_EXAMPLES = 500
_MAX_MUTATIONS = 6
_PIECES = (b"\r", b"\n", b"\r\n", b"\0", b" ", b".", b"\xff", b"-", b":", b"<", b">")


def fuzz_settings() -> settings:
    """The hypothesis settings of every fuzz target; use it as a decorator."""
    return settings(
        max_examples=int(os.environ.get("GATEPOST_FUZZ_EXAMPLES", _DEFAULT_EXAMPLES)),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def split_at(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut `data` at `places` (taken modulo its length), leaving out empty pieces."""
    cuts = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:stop] for start, stop in zip(cuts, cuts[1:], strict=False)]


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the seeds, or several joined, with up to six small damages (or none)."""
    joined = st.lists(st.sampled_from(list(seeds)), min_size=1, max_size=3).map(b"".join)
    # Half of the inserted bytes are pieces of the seeds, so that structure meets structure.
    piece = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from(_PIECES),
        st.sampled_from(list(seeds)),
    )
    damage = st.tuples(
        st.sampled_from(_DAMAGES),
        st.integers(min_value=0, max_value=2**16),
        st.integers(min_value=1, max_value=16),
        piece,
    )
    return st.builds(_apply, joined, st.lists(damage, max_size=_MAX_MUTATIONS))


def mutant(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """What `mutated` gives, without hypothesis: a hundred times as quick, and it does not shrink."""
    data = b"".join(chance.choices(seeds, k=chance.randint(1, 5)))
    for _ in range(chance.randint(0, _MAX_MUTATIONS)):
        piece = chance.choice(
            [chance.randbytes(chance.randint(1, 8)), *_PIECES, chance.choice(seeds)]
        )
        change = chance.choice(_DAMAGES)
        data = change(data, chance.randint(0, len(data)), chance.randint(1, 16), piece)
    return data


_Damage = tuple["Callable[[bytes, int, int, bytes], bytes]", int, int, bytes]


def _apply(data: bytes, damages: list[_Damage]) -> bytes:
    for change, place, length, piece in damages:
        data = change(data, place % (len(data) + 1), length, piece)
    return data


def _insert(data: bytes, at: int, _length: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at:]


def _overwrite(data: bytes, at: int, _length: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def _delete(data: bytes, at: int, length: int, _piece: bytes) -> bytes:
    return data[:at] + data[at + length :]


def _repeat(data: bytes, at: int, length: int, _piece: bytes) -> bytes:
    return data[:at] + data[at : at + length] + data[at:]


def _cut_off(data: bytes, at: int, _length: int, _piece: bytes) -> bytes:
    return data[:at]


def _flip_bit(data: bytes, at: int, length: int, _piece: bytes) -> bytes:
    if at == len(data):
        return data
    return data[:at] + bytes([data[at] ^ (1 << length % 8)]) + data[at + 1 :]


_DAMAGES = (_insert, _overwrite, _delete, _repeat, _cut_off, _flip_bit)
