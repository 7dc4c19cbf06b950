"""The openspf suite for RFC 7208, through a resolver of data and through the real one and a name server."""

import asyncio
from ipaddress import ip_address

import pytest
import uvloop

from relay.mailauth.spf import Claim, SpfResult, evaluate
from relay.net.name_servers import parse_name_server
from relay.net.resolver import DnsResolver
from relay.settings.dns import Dns
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.spf_suite import VECTORS, load_cases
from tests.kit.vectors import needs_vectors
from tests.kit.zones import FakeResolver

CASES = load_cases()
NEEDS_SUITE = needs_vectors(VECTORS)


def claim_of(case):
    return Claim(ip_address(case.ip), case.local, case.domain, case.hello)


def assert_right(case, evaluation):
    assert evaluation.result in case.results, evaluation
    if case.explanation and evaluation.result is SpfResult.FAIL:
        assert evaluation.explanation == case.explanation


@NEEDS_SUITE
def test_the_suite_is_whole():
    assert len(CASES) == 203
    assert sum(case.explanation is not None for case in CASES) == 14


@NEEDS_SUITE
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_case_of_the_suite(case):
    resolver = FakeResolver(case.zones, failing=case.failing)
    assert_right(case, asyncio.run(evaluate(claim_of(case), resolver, explain=True)))
    assert len(resolver.asked) <= 122


@NEEDS_SUITE
def test_the_suite_over_the_network():
    async def run():
        for case in CASES:
            server.zones = {name: dict(records) for name, records in case.zones.items()}
            server.faults = {entry: (Fault.SERVFAIL,) for entry in case.failing}
            resolver = DnsResolver(Dns(), [parse_name_server(server.address)])
            evaluation = await evaluate(claim_of(case), resolver, explain=True)
            await resolver.close()
            assert_right(case, evaluation)

    with DnsServer() as server:
        uvloop.run(asyncio.wait_for(run(), 60))
