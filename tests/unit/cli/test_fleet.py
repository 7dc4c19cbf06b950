"""Suspended, restored and revoked by command: what the nodes that share a state hear of it."""

import asyncio
import time

import pytest

from relay.allowlist_file import read_allowlist
from relay.cli.new_site import create_site
from relay.model import Restriction, RestrictionKind
from relay.settings.state import State
from relay.state.opening import open_store
from tests.kit.command_line import gatepost
from tests.kit.redis_server import RedisServer

SUSPENSION, REVOCATION = RestrictionKind.SUSPENSION, RestrictionKind.REVOCATION
CLIENT = "first-client"


@pytest.fixture(scope="module")
def server():
    with RedisServer() as running:
        yield running


class Node:
    """A site as `gatepost init` makes it, and the state that it shares."""

    def __init__(self, folder, *urls):
        self.folder = folder
        self.site = create_site(folder, "edge.example.com")
        (folder / "state").mkdir(exist_ok=True)
        kind = "redis" if urls else "sqlite"
        self.state = State.model_validate({"kind": kind, "url": urls, "timeout": "500ms"})
        if urls:
            with self.site.configuration.open("a") as file:
                file.write(f'\n[state]\nkind = "redis"\ntimeout = "500ms"\nurl = ["{urls[0]}"]\n')

    @property
    def name(self):
        return self.identity.name

    @property
    def identity(self):
        (found,) = read_allowlist(self.folder / "allowlist.toml")
        return found

    def run(self, *words):
        return gatepost(*words, "--config", self.site.configuration)

    def ask(self, act):
        async def asked():
            store = open_store(self.state, self.folder / "state")
            try:
                return await act(store)
            finally:
                await store.close()

        return asyncio.run(asked())

    def in_force(self):
        now = time.time()
        found = self.ask(lambda store: store.restrictions())
        return [each for each in found if each.is_in_force(now)]


@pytest.fixture
def node(server, tmp_path):
    """A node of a fleet."""
    with server.client() as client:
        client.flushall()
    return Node(tmp_path, server.url)


@pytest.fixture
def alone(tmp_path):
    """A relay with a state of its own."""
    return Node(tmp_path)


def suspension(node, seconds=600):
    now = time.time()
    return Restriction(SUSPENSION, node.name, "too much", "flood", now, now + seconds)


def test_a_suspension_is_in_force_on_all_nodes_until_its_end(node):
    outcome = node.run("pin", "suspend", node.name, "--reason", "key stolen", "--for", "2h")
    assert (outcome.code, outcome.errors) == (0, "")
    (found,) = node.in_force()
    assert (found.kind, found.subject, found.reason) == (SUSPENSION, node.name, "key stolen")
    assert found.until == node.identity.suspended.until.timestamp()
    assert found.by == node.identity.suspended.by


def test_restoring_ends_it_everywhere(node):
    node.run("pin", "suspend", node.name, "--reason", "x")
    assert node.in_force()
    assert node.run("pin", "restore", node.name).code == 0
    assert node.in_force() == []
    assert node.identity.suspended is None


@pytest.mark.parametrize("which", ["node", "alone"])
def test_restoring_ends_what_a_rule_or_another_node_has_imposed(which, request):
    node = request.getfixturevalue(which)
    node.ask(lambda store: store.restrict(suspension(node)))
    assert node.run("pin", "restore", node.name).code == 0
    assert node.in_force() == []
    outcome = node.run("pin", "restore", node.name)
    assert outcome.code == 2
    assert f"{node.name} is not suspended" in outcome.errors


def test_alone_the_allowlist_says_it_all(alone):
    assert alone.run("pin", "suspend", alone.name, "--reason", "x").code == 0
    assert alone.in_force() == []


@pytest.mark.parametrize("which", ["node", "alone"])
def test_a_revoked_certificate_is_refused_by_all_for_good(which, request):
    node = request.getfixturevalue(which)
    outcome = node.run("cert", "issue", "branch", "--pin", "--senders", "@branch.example")
    assert outcome.code == 0, outcome.errors
    outcome = node.run("cert", "revoke", "branch", "--reason", "keyCompromise", "--json")
    assert (outcome.code, outcome.errors) == (0, "")
    (found,) = node.in_force()
    assert (found.kind, found.reason, found.until) == (REVOCATION, "keyCompromise", None)
    assert found.subject.startswith("cert:sha256:")


def test_before_the_first_start_nobody_is_told(alone):
    (alone.folder / "state").rmdir()
    alone.run("cert", "issue", "branch", "--pin", "--senders", "@branch.example")
    outcome = alone.run("cert", "revoke", "branch")
    assert (outcome.code, outcome.errors) == (0, "")
    assert not (alone.folder / "state").exists()


@pytest.fixture
def cut_off(tmp_path):
    """A node whose Redis is away."""
    return Node(tmp_path, "redis://127.0.0.1:1")


def test_what_nodes_cannot_be_told_is_done_here_and_said(cut_off):
    outcome = cut_off.run("pin", "suspend", cut_off.name, "--reason", "x")
    assert outcome.code == 1
    assert outcome.errors.startswith("suspended here, other nodes have not heard of it: redis://")
    assert cut_off.identity.suspended is not None
    outcome = cut_off.run("pin", "restore", cut_off.name)
    assert outcome.code == 1
    assert outcome.errors.startswith("other suspensions may be in force: redis://")
    assert cut_off.identity.suspended is None
    cut_off.run("cert", "issue", "branch", "--pin", "--senders", "@branch.example")
    outcome = cut_off.run("cert", "revoke", "branch")
    assert outcome.code == 1
    assert outcome.errors.startswith("revoked; workers hear of it by the list only: redis://")
    assert (cut_off.folder / "ca" / "revoked.jsonl").exists()
