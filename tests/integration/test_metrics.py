"""The metrics of the real relay where nothing went well: dead next hops, failed handshakes, too many connections."""

import contextlib
import smtplib
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.clients import send
from tests.kit.http_client import ask
from tests.kit.relay_process import accepts, free_port, wait_until


class Measured:
    """A relay, and what its page for Prometheus says."""

    def __init__(self, relay, admin):
        self.relay = relay
        self._admin = admin

    def value(self, name, **labels):
        page = ask(self._admin, "GET", "/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == f"gatepost_{name}" and labels.items() <= sample.labels.items()
        )


@pytest.fixture
def start(start_relay):
    def start(*ports, **tables):
        admin = free_port()
        relay = start_relay(*ports, admin={"address": f"127.0.0.1:{admin}"}, **tables)
        wait_until("the metrics are served", lambda: accepts(admin))
        return Measured(relay, admin)

    return start


def test_a_next_hop_that_has_died(start, site, own_upstream):
    port = own_upstream.port
    measured = start(port)
    context = site.context(site.pinned)
    assert send(measured.relay.port, context).code == 250
    assert measured.value("deliveries_total", route="*", outcome="delivered") == 1
    assert measured.value("delivery_seconds_count") == 1
    assert measured.value("next_hops_failing") == 0
    own_upstream.stop()
    wait_until(
        "it fails for somebody",
        lambda: (
            send(measured.relay.port, context).code // 100 == 4
            and measured.value("next_hops_failing", route="*", next_hop=f"127.0.0.1:{port}")
        ),
    )


def test_a_handshake_that_comes_to_nothing(start, site, upstream):
    measured = start(upstream.port)
    with smtplib.SMTP("127.0.0.1", measured.relay.port, timeout=20) as client:
        client.ehlo("client.example")
        assert client.docmd("STARTTLS")[0] == 220
        client.sock.sendall(b"this is no ClientHello, however long one looks at it\r\n")
        while client.sock.recv(1024):
            pass
        client.close()
    measured.relay.wait_for_audit(kind="handshake", listener="partners")
    assert measured.value("handshakes_total", listener="partners", status="failed") == 1
    assert measured.value("handshakes_total") == 1


def test_too_many_connections_of_one_address(start, upstream):
    measured = start(upstream.port, listener={"max_connections_per_address": 1})
    # Who has asked whether the relay is up may still count: the first to be greeted is the one.
    greetings = []
    with contextlib.ExitStack() as connected:

        def is_greeted():
            connection = socket.create_connection(("127.0.0.1", measured.relay.port), 20)
            greetings.append(connected.enter_context(connection).recv(100))
            return greetings[-1].startswith(b"220 ")

        wait_until("a connection is free", is_greeted)
        assert not is_greeted()
    refused = [each for each in greetings if each.startswith(b"421 4.7.0 Too many connections")]
    assert len(refused) == len(greetings) - 1
    assert measured.value("refusals_total", rule="too_many_connections") == len(refused)


def test_totals_survive_workers_and_reloads(start, site, upstream):
    measured = start(upstream.port)
    context = site.context(site.pinned)
    for _ in range(2):
        assert send(measured.relay.port, context).code == 250
        measured.relay.reload()
    wait_until(
        "the old workers have gone",
        lambda: measured.value("deliveries_total", outcome="delivered") == 2,
    )
    assert measured.value("handshakes_total", status="pinned") == 2
