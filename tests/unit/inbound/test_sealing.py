"""What is sealed, with what we have found, and what can't be."""

import asyncio

import pytest

from relay.checks import arc as check
from relay.inbound.sealing import Sealing
from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.signing import SigningKey
from relay.mailauth.verification import DkimResult
from tests.kit.checks import Offloading, message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, record, rsa_key
from tests.kit.turns import with_turns
from tests.kit.zones import FakeResolver

ZONES = {
    f"s1._domainkey.{name}": {"TXT": record(rsa_key())} for name in ("edge.example", "x.example")
}
OURS = b"Received: by edge.example\r\nAuthentication-Results: edge.example; spf=pass\r\n"


def sealing(domain="edge.example", resolver=None, offload=None, seconds=1.0):
    hands = tools(resolver or FakeResolver(ZONES), clock=FakeClock(NOW), offload=offload)
    check.build(check.Settings(), hands)
    return Sealing(SigningKey(domain, "s1", rsa_key()), domain, hands, seconds)


def sealed(message, results="edge.example; spf=pass", **how):
    about, by = message_case(message), sealing(**how)

    async def run():
        await by.prepare(about)
        return await by.seal([OURS, message], about, results)

    return b"".join(asyncio.run(run()))


def chain_of(message):
    return asyncio.run(arc.verify(split(message), FakeResolver(ZONES), Offloading(), NOW))


def test_the_first_set_says_what_we_have_found():
    chain = chain_of(sealed(MESSAGE))
    assert chain.result is DkimResult.PASS
    assert [(each.domain, each.authentication_results) for each in chain.sets] == [
        ("edge.example", "edge.example; spf=pass")
    ]


def test_ours_goes_on_top_of_others():
    chain = chain_of(sealed(sealed(MESSAGE, domain="x.example")))
    assert chain.result is DkimResult.PASS
    assert [each.domain for each in chain.sets] == ["x.example", "edge.example"]


def test_a_chain_that_is_broken_is_sealed_as_broken():
    chain = chain_of(sealed(sealed(MESSAGE).replace(b"hungry", b"thirsty")))
    assert (chain.result, chain.has_ended) == (DkimResult.FAIL, True)


def test_one_that_has_ended_is_left_alone():
    broken = sealed(sealed(MESSAGE).replace(b"hungry", b"thirsty"))
    assert sealed(broken) == OURS + broken


def test_without_results_it_says_so():
    chain = chain_of(sealed(MESSAGE, ""))
    assert chain.sets[0].authentication_results.split() == ["edge.example;", "none"]


@pytest.mark.parametrize("how", ["failing", "hanging"])
def test_what_can_not_be_verified_now_goes_without_our_seal(how):
    once = sealed(MESSAGE, domain="x.example")
    resolver = FakeResolver(ZONES, **{how: ["s1._domainkey.x.example"]})
    assert sealed(once, resolver=resolver, seconds=0.05) == OURS + once


def test_a_large_message_is_hashed_in_turns_with_others():
    message = MESSAGE + b"line\r\n" * 200_000
    about, by = message_case(message), sealing()
    asyncio.run(by.prepare(about))
    chunks, turns = with_turns(by.seal([OURS, message], about, "edge.example; spf=pass"))
    assert chain_of(b"".join(chunks)).result is DkimResult.PASS
    assert turns > len(message) // (64 * 1024) - 2


def test_a_long_header_is_sealed_beside_the_event_loop():
    offload = Offloading()
    long = sealed(
        b"X-Long: " + b"%b\r\n " % (b"x" * 90) * 1_300 + b"x\r\n" + MESSAGE, offload=offload
    )
    assert offload.times == 1
    assert chain_of(long).result is DkimResult.PASS
