"""Two relays and one Redis through the real binary: limits, suspensions, and a store that is killed."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import clients
from tests.kit.redis_server import RedisServer
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.site import SENDER

LIMITS = """
[[limit]]
name = "messages"
tier = { verified = ["100/1d"] }
"""


@pytest.fixture
def redis():
    with RedisServer(["appendonly yes"]) as running:
        yield running


@pytest.fixture
def nodes(site, upstream, redis, tmp_path):
    """Two relays that know of each other by nothing but the store."""
    started = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "limits.toml").write_text(LIMITS)
        settings = site.settings(
            upstream.port,
            listener={"policy": ["defaults", "limits.toml"]},
            state={"kind": "redis", "url": [redis.url], "timeout": "500ms"},
        )
        started.append(RelayProcess(folder, settings, site.allowlist()))
    with started[0], started[1]:
        yield started


def send(node, site):
    return clients.send(node.port, site.context(site.pinned))


def told(node, site):
    """What the relay says to a sender that is not trusted, before it closes the connection."""
    with clients.session(node.port, site.context(site.pinned)) as smtp:
        code, text = smtp.ehlo("client.example")
        if code == 250:
            code, text = smtp.mail(SENDER)
    return code, text[:6].decode()


REFUSED = (550, "5.7.13")


def suspend(node):
    done = node.command("pin", "suspend", "acme-billing", "--reason", "test")
    assert done.returncode == 0, done.stderr


def restore(node):
    done = node.command("pin", "restore", "acme-billing")
    assert done.returncode == 0, done.stderr


def test_a_limit_of_100_admits_100_of_200_whatever_the_split(nodes, site):
    with ThreadPoolExecutor(6) as senders:
        split = [nodes[number % 3 > 0] for number in range(200)]
        codes = list(senders.map(lambda node: send(node, site).code, split))
    assert sorted(codes) == [250] * 100 + [451] * 100


def test_a_suspension_on_one_ends_sessions_on_the_other_within_a_second(nodes, site):
    one, other = nodes
    with clients.session(other.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert smtp.mail(SENDER)[0] == 250
        suspend(one)
        begun = time.monotonic()
        smtp.sock.settimeout(5)
        code, text = smtp.getreply()
        assert (code, text[:5]) == (421, b"4.7.0")
        assert time.monotonic() - begun < 1
    assert told(other, site) == REFUSED
    restore(one)
    wait_until("restored on the other", lambda: told(other, site)[0] == 250, 3)


def test_redis_killed_and_restarted_under_load(nodes, site, redis):
    one, other = nodes

    def timed(node):
        begun = time.monotonic()
        return send(node, site).code, time.monotonic() - begun

    with ThreadPoolExecutor(4) as senders:
        before = [senders.submit(timed, (one, other)[number % 2]) for number in range(20)]
        redis.kill()
        during = [senders.submit(timed, (one, other)[number % 2]) for number in range(20)]
        answers = [each.result(30) for each in (*before, *during)]
    # A limit that can't be counted defers (on_error); nothing waits for the store for long.
    assert {code for code, _ in answers} <= {250, 451}
    assert timed(one)[0] == timed(other)[0] == 451
    assert max(seconds for _, seconds in answers) < 5
    redis.start()
    for node in nodes:
        wait_until("the store is found again", lambda node=node: send(node, site).code == 250, 5)


def test_a_known_suspension_stays_while_redis_is_away_even_for_new_workers(nodes, site, redis):
    one, other = nodes
    suspend(one)
    wait_until("known on the other", lambda: told(other, site) == REFUSED, 3)
    redis.kill()
    assert told(other, site) == REFUSED
    known = set(other.workers())
    for worker in known:
        os.kill(worker, signal.SIGKILL)
    wait_until("new workers", lambda: (now := set(other.workers())) and not now & known)
    assert told(other, site) == REFUSED
    redis.start()
    restore(one)
    wait_until("restored", lambda: told(other, site)[0] == 250, 5)
