"""Two relays and one state, with each kind of server: what is done on one node counts on the other."""

import itertools
import json
import shutil
import smtplib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from redis.crc import key_slot

from tests.kit import clients
from tests.kit.clients import Proxied
from tests.kit.fleet import ended, fleet, sessions_from, sessions_of
from tests.kit.redis_server import MASTER, RedisServer, cluster, sentinels
from tests.kit.relay_process import wait_until
from tests.kit.site import SENDER

RULES = """
[[rule]]
name = "trap"
at = "hello"
when = 'hello.name == "trap.example"'
then = "ban"
duration = "1h"
reply = "554 5.7.1 Trapped"

[[rule]]
name = "leak"
at = "sender"
when = 'sender.local == "leak"'
then = "suspend"
duration = "1h"
reply = "550 5.7.13 Suspended for an hour"

[[limit]]
name = "each_sender"
count = "messages"
key = ["sender.address"]
rate = ["100/1d"]
"""
EACH = 6
NAME = "acme-billing"
BANNED = "421 4.7.0 Your address is banned here, closing the connection"
SUSPENDED = "421 4.7.0 Identity suspended, closing the connection"
REVOKED = "421 4.7.0 Client certificate has been revoked, closing the connection"


class Away(NamedTuple):
    """The state of a fleet: the table `[state]`, and the server that matters, to be killed and started."""

    table: dict[str, object]
    server: RedisServer
    is_replaced: bool = False


@pytest.fixture(scope="module", params=["standalone", "sentinel", "cluster"])
def state(request):
    """Each kind of server. None writes a log: who is started again is empty."""
    if request.param == "standalone":
        with RedisServer() as server:
            yield Away({"url": [server.url]}, server)
    elif request.param == "sentinel":
        with sentinels() as (master, _, watchers):
            urls = [each.url for each in watchers]
            yield Away(
                {"url": urls, "topology": "sentinel", "service": MASTER}, master, is_replaced=True
            )
    else:
        with cluster() as servers:
            urls = [each.url for each in servers]
            holder = servers[key_slot(b"restrictions") * len(servers) // 16384]
            yield Away({"url": urls, "topology": "cluster"}, holder)


@pytest.fixture(scope="module")
def nodes(site, upstream, state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    table = {"kind": "redis", "timeout": "1s", **state.table}
    with fleet(site, folder, upstream.port, state=table, rules=RULES) as running:
        yield running


def send(node, context, sender=SENDER):
    with clients.session(node.port, context) as smtp:
        smtp.ehlo("client.example")
        return clients.transact(smtp, sender=sender)


def trip(node, site, address):
    """Walk into the trap."""
    with Proxied(node.public, address) as smtp:
        smtp.ehlo("client.example")
        smtp.starttls(context=site.context())
        assert smtp.ehlo("trap.example")[0] == 554


def greeting(node, address):
    """The code that a client from an address is greeted with."""
    try:
        with Proxied(node.public, address):
            return 220
    except smtplib.SMTPConnectError as refused:
        return refused.smtp_code


def command(node, *words):
    done = node.command(*words)
    assert done.returncode == 0, done.stderr


def restored(node, nodes, context):
    command(node, "pin", "restore", NAME)
    wait_until(
        "both take mail again", lambda: all(send(each, context).code == 250 for each in nodes), 5
    )


def test_a_suspension_by_command_ends_sessions_on_the_other_node(nodes, site):
    one, other = nodes
    context = site.context(site.pinned)
    with sessions_of(other.port, context, EACH) as held:
        end = ended(held, lambda: command(one, "pin", "suspend", NAME, "--reason", "key stolen"))
    assert end.told == {SUSPENDED}
    assert end.seconds < 1
    assert send(other, context).code == 550
    restored(one, nodes, context)


def test_a_suspension_by_a_rule_does_too(nodes, site):
    one, other = nodes
    context = site.context(site.pinned)
    with sessions_of(other.port, context, EACH) as held:
        end = ended(held, lambda: send(one, context, "leak@acme.example"))
    assert end.told == {SUSPENDED}
    assert end.seconds < 1
    restored(other, nodes, context)  # whichever node is asked


def test_a_ban_by_a_rule_ends_sessions_and_keeps_out_on_the_other_node(nodes, site):
    one, other = nodes
    address = "192.0.2.66"
    with sessions_from(other.public, address, EACH) as held:
        end = ended(held, lambda: trip(one, site, address))
    assert end.told == {BANNED}
    assert end.seconds < 1
    assert len(other.audit(kind="refusal", rule="banned")) == EACH
    for node in nodes:
        assert greeting(node, address) == 554
        assert greeting(node, "192.0.2.67") == 220


def test_a_ban_by_command_does_too_until_it_is_taken_back(nodes):
    one, other = nodes
    address = "203.0.113.5"
    with sessions_from(other.public, address, EACH) as held:
        end = ended(held, lambda: command(one, "ban", "add", "203.0.113.0/24", "--reason", "flood"))
    assert end.told == {BANNED}
    assert end.seconds < 1
    assert greeting(other, address) == 554
    command(other, "ban", "remove", "203.0.113.0/24")
    wait_until("let in again", lambda: all(greeting(each, address) == 220 for each in nodes), 3)


def test_a_revocation_by_command_ends_sessions_on_the_other_node(nodes, site):
    one, other = nodes
    command(one, "ca", "init")
    command(one, "cert", "issue", "branch", "--pin", "--senders", "@acme.example")
    shutil.copy(one.folder / "allowlist.toml", other.folder)
    context = site.context()
    folder = one.folder / "clients"
    context.load_cert_chain(folder / "branch.pem", folder / "branch.key")
    wait_until("both know it", lambda: all(send(each, context).code == 250 for each in nodes), 5)
    with sessions_of(other.port, context, EACH) as held:
        end = ended(held, lambda: command(one, "cert", "revoke", "branch"))
    assert end.told == {REVOKED}
    assert end.seconds < 1
    assert [send(node, context).code for node in nodes] == [554, 554]


@pytest.mark.parametrize(("here", "there"), [(100, 100), (180, 20), (200, 0)])
def test_a_limit_of_100_admits_100_of_200_however_they_are_split(nodes, site, here, there):
    context = site.context(site.pinned)
    sender = f"split-{here}@acme.example"

    def messages(node, number):
        """Send some on one connection; the codes."""
        with clients.session(node.port, context) as smtp:
            smtp.ehlo("client.example")
            return [clients.transact(smtp, sender=sender).code for _ in range(number)]

    shares = [(nodes[0], here // 2)] * 2 + [(nodes[1], there // 2)] * 2
    with ThreadPoolExecutor(len(shares)) as senders:
        codes = [
            code for each in senders.map(lambda share: messages(*share), shares) for code in each
        ]
    assert sorted(codes) == [250] * 100 + [451] * 100


class Load:
    """Senders and banned clients at a node, until told to stop; what they were told, and after how long."""

    def __init__(self, node, context, banned):
        self.codes, self.greetings, self.seconds = [], [], []
        self._node, self._context, self._banned = node, context, banned
        self._is_over = threading.Event()

    def send(self):
        for number in itertools.count():
            if self._is_over.is_set():
                break
            begun = time.monotonic()
            sender = f"{number}@acme.example"
            self.codes.append(send(self._node, self._context, sender).code)
            self.seconds.append(time.monotonic() - begun)

    def knock(self):
        while not self._is_over.is_set():
            self.greetings.append(greeting(self._node, self._banned))

    def stop(self):
        self._is_over.set()


def test_a_server_that_dies_under_load_lets_nobody_in_and_is_found_again(
    nodes, site, state, upstream
):
    one, other = nodes
    known, new = "192.0.2.77", "192.0.2.78"
    trip(one, site, known)
    wait_until("both know the ban", lambda: all(greeting(each, known) == 554 for each in nodes), 3)
    workers = [node.workers() for node in nodes]
    before = len(upstream.messages)
    context = site.context(site.pinned)
    loads = [Load(node, context, known) for node in nodes]
    with ThreadPoolExecutor(len(loads) * 2) as pool:
        running = [pool.submit(work) for each in loads for work in (each.send, each.knock)]
        try:
            wait_until("mail passes", lambda: all(250 in each.codes for each in loads))
            state.server.kill()
            wait_until("mail is deferred", lambda: all(451 in each.codes for each in loads))
            trip(one, site, new)
            if not state.is_replaced:
                state.server.start()
            for each in loads:
                seen = len(each.codes)
                wait_until("mail passes again", lambda: 250 in each.codes[seen:], 30)  # noqa: B023
            wait_until("the new ban is known", lambda: greeting(other, new) == 554, 5)
        finally:
            for each in loads:
                each.stop()
    for each in running:
        each.result()
    for each in loads:
        assert set(each.codes) == {250, 451}
        assert set(each.greetings) == {554}
        assert max(each.seconds) < 4
    passed = sum(each.codes.count(250) for each in loads)
    assert len(upstream.messages) - before == passed
    assert [node.workers() for node in nodes] == workers
    # Who was started empty has been told what was in force.
    wait_until("all is listed", lambda: {f"{known}/32", f"{new}/32"} <= banned_by(other), 10)


def banned_by(node):
    listed = node.command("ban", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {each["subject"] for each in json.loads(listed.stdout)}
