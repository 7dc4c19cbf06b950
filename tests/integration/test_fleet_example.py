"""The example of a fleet as it stands there: its rights for Redis are enough, and its nodes hear of each other."""

import contextlib
import shutil
import smtplib
from pathlib import Path

import pytest
import tomlkit

from tests.kit import clients
from tests.kit.fleet import Node
from tests.kit.redis_server import RedisServer
from tests.kit.relay_process import accepts, free_port, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "fleet"
PASSWORD = "change-me"  # noqa: S105  that of users.acl
CLIENT = "198.51.100.25"


class Balanced(Node):
    """A node that speaks to nobody but the load balancer."""

    def _is_ready(self):
        return accepts(self.port)


@pytest.fixture(scope="module")
def redis(site, tmp_path_factory):
    """The state, with TLS and the rights of `users.acl`."""
    rights = shutil.copy(EXAMPLE / "users.acl", tmp_path_factory.mktemp("redis"))
    settings = [
        f"tls-cert-file {site.edge.chain}",
        f"tls-key-file {site.edge.key}",
        f"tls-ca-cert-file {site.ca}",
        "tls-auth-clients no",
        f"aclfile {rights}",
    ]
    login = {"ssl": True, "ssl_ca_certs": str(site.ca), "username": "gatepost"}
    with RedisServer(settings, login | {"password": PASSWORD}) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(site, upstream, redis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(node_of(name, folder, site, upstream, redis))
            for name in ("edge-1", "edge-2")
        ]


def node_of(name, folder, site, upstream, redis):
    """A node with the files of the example; only names, addresses and certificates are the test's."""
    own = folder / name
    (own / "conf.d").mkdir(parents=True)
    shutil.copy(EXAMPLE / "policy.toml", own)
    (own / "state-password").write_text(PASSWORD)
    shared = tomlkit.parse((EXAMPLE / "fleet.toml").read_text()).unwrap()
    shared["state"] |= {"url": [redis.url], "ca": str(site.ca)}
    shared["route"]["example.org"] |= {
        "hosts": [f"127.0.0.1:{upstream.port}"], "ca": [str(site.ca)], "server_name": "localhost",
    }  # fmt: skip
    (own / "conf.d" / "fleet.toml").write_text(tomlkit.dumps(shared))
    settings = tomlkit.parse((EXAMPLE / f"{name}.toml").read_text()).unwrap()
    settings |= {"state_dir": "state", "user": "", "workers": 2}
    settings["dns"] = {"servers": [site.name_server]}
    settings["admin"] = {"address": f"127.0.0.1:{free_port()}"}
    settings["listener"][0] |= {
        "address": f"127.0.0.1:{free_port()}",
        "proxy_protocol_from": ["127.0.0.1/32"],
        "certificate": [{"chain": str(site.edge.chain), "key": str(site.edge.key)}],
        "client_ca": [str(site.ca)],
    }
    return Balanced(own, settings, site.allowlist())


def greeting(node):
    """The code that a client is greeted with that the load balancer brings to a node."""
    try:
        with clients.Proxied(node.port, CLIENT):
            return 220
    except smtplib.SMTPConnectError as refused:
        return refused.smtp_code


def test_the_nodes_of_the_example_take_mail_and_charge_limits(nodes, site, upstream):
    for node in nodes:
        with clients.Proxied(node.port, CLIENT) as smtp:
            smtp.starttls(context=site.context(site.pinned))
            smtp.ehlo("client.example")
            answer = clients.transact(smtp, recipients=["user@example.org"])
            assert answer.code == 250, answer
    assert len(upstream.received("user@example.org")) == 2


def test_the_nodes_of_the_example_share_bans_and_suspensions(nodes):
    one, other = nodes
    assert [greeting(node) for node in nodes] == [220, 220]
    done = one.command("ban", "add", "198.51.100.0/24", "--reason", "flood", "--for", "2h")
    assert done.returncode == 0, done.stderr
    wait_until("known on the other", lambda: greeting(other) == 554, 5)
    done = other.command("pin", "suspend", "acme-billing", "--reason", "key stolen")
    assert done.returncode == 0, done.stderr
    listed = one.command("ban", "list")
    assert "acme-billing" in listed.stdout
    assert "198.51.100.0/24" in listed.stdout
    for node in nodes:
        assert "state is away" not in node.log()
