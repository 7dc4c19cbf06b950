"""The tree walk against the test cases of the Public Suffix List, as if all registries had published a record.

RFC 9989 has done away with the list: public suffixes say by `psd=y` that they are. With such records the walk has to
find the registered domain that the list finds. The cases come from `../shared/vectors`, or the folder that
`GATEPOST_VECTORS` names.
"""

from __future__ import annotations

import asyncio

import pytest

from relay.mailauth.dmarc import dns_name, evaluate, is_same_organization
from relay.model import Address
from tests.kit.vectors import needs_vectors, read_vectors
from tests.kit.zones import FakeResolver

VECTORS = "psl-cases.json"


def cases():
    """Names in lower case, each with the domain that is registered; None for a suffix, which nobody can register."""
    return [
        (dns_name(name), registered and dns_name(registered))
        for name, registered in read_vectors(VECTORS, "cases")
        if name and not name.startswith(".")  # no names at all
    ]


CASES = cases()
pytestmark = needs_vectors(VECTORS)
REGISTERED = {registered for name, registered in CASES if registered}
SUFFIXES = {name for name, registered in CASES if not registered}
SUFFIXES |= {registered.partition(".")[2] for registered in REGISTERED}
ZONES = {
    **{f"_dmarc.{name}": {"TXT": "v=DMARC1; p=none; psd=y"} for name in SUFFIXES},
    **{f"_dmarc.{name}": {"TXT": "v=DMARC1; p=reject"} for name in REGISTERED},
}


@pytest.mark.parametrize(("name", "registered"), CASES)
def test_the_walk_finds_the_registered_domain(name, registered):
    resolver = FakeResolver(ZONES)
    verdict = asyncio.run(evaluate([Address("a", name)], None, (), resolver))
    assert verdict.policy is not None
    assert verdict.policy.domain == (registered or name)
    assert verdict.policy.asks_for.value == ("reject" if registered else "none")


@pytest.mark.parametrize(("name", "registered"), CASES)
def test_neighbours_below_a_suffix_are_strangers(name, registered):
    def is_same(other):
        return asyncio.run(is_same_organization(name, other, FakeResolver(ZONES)))

    own = registered or name
    assert is_same(own)
    if registered:
        assert is_same(f"mail.{own}")
        assert not is_same(f"stranger.{own.partition('.')[2]}")
        assert not is_same(own.partition(".")[2])
    else:
        assert not is_same(f"stranger.{own}")
