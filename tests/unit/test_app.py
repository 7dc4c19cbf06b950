"""A worker and its supervisor's orders, without a process and without a network."""

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.app import Worker
from relay.reception import Reception
from relay.supervisor_link import SupervisorLink


def worker():
    settings = SimpleNamespace(state_dir=Path("state"))
    blueprint = SimpleNamespace(material=SimpleNamespace(settings=settings))
    made = Worker(blueprint, {}, None, None)
    made._reception = Reception(settings, {}, None, None)
    return made


@pytest.mark.parametrize(
    "end",
    [
        lambda supervisor: supervisor.close(),  # what we told it lies there unread: a reset
        lambda supervisor: (supervisor.recv(100), supervisor.close()),
        lambda supervisor: supervisor.sendall(b'{"order": "allowlist"}\n'),
        lambda supervisor: supervisor.sendall(b"{\n"),
    ],
    ids=["killed before it read", "gone", "an order that fails", "no order at all"],
)
def test_who_hears_no_orders_any_more_serves_no_more(end):
    made = worker()
    supervisor, control = socket.socketpair()

    async def script():
        made._stopped = asyncio.Event()
        made._link = await SupervisorLink.open(control)
        made._link.tell("ready")
        end(supervisor)
        async with asyncio.timeout(10):
            await made._obey()
        made._link._writer.close()

    with supervisor:
        asyncio.run(script())
    assert made._stopped.is_set()
