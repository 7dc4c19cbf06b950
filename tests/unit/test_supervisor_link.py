"""A worker's line to its supervisor: what is told comes whole, and does not fill the memory."""

import asyncio
import base64
import json
import socket
from types import SimpleNamespace

from relay import supervisor_link
from relay.supervisor_link import SupervisorLink
from tests.kit.pki import Authority

CA = Authority("CA").certificate


def test_what_the_supervisor_does_not_read_yet_waits_whole():
    ours, theirs = socket.socketpair()
    messages = [{"filler": "x" * 10_000, "number": n} for n in range(100)]

    async def script():
        link = await SupervisorLink.open(theirs)
        for message in messages:
            link.tell("want", **message)  # a hundred times what the socket takes
        reader, writer = await asyncio.open_connection(sock=ours)
        heard = [json.loads(await reader.readline()) for _ in messages]
        for each in (writer, link._writer):
            each.close()
            await each.wait_closed()
        return heard

    async def bounded():
        async with asyncio.timeout(10):
            return await script()

    assert asyncio.run(bounded()) == [{"event": "want"} | each for each in messages]


def test_what_nobody_reads_at_all_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(supervisor_link, "_MAX_UNHEARD_BYTES", 1000)
    written = []
    writer = SimpleNamespace(
        transport=SimpleNamespace(get_write_buffer_size=lambda: sum(map(len, written))),
        write=written.append,
    )
    link = SupervisorLink(None, writer)
    for _ in range(100):
        link.tell("want", filler="x" * 100)
    assert 1000 <= sum(map(len, written)) < 1200


def test_orders_come_one_by_one_until_there_is_no_supervisor():
    ours, theirs = socket.socketpair()

    async def script():
        link = await SupervisorLink.open(theirs)
        ours.sendall(b'{"order": "reopen"}\n{"order": ')
        first = await link.next_order()
        ours.sendall(b'"drain"}\n')
        ours.close()
        found = [first, await link.next_order(), await link.next_order()]
        link._writer.close()
        return found

    assert asyncio.run(asyncio.wait_for(script(), 10)) == [
        {"order": "reopen"},
        {"order": "drain"},
        None,
    ]


def test_certificates_are_told_as_text():
    told = []
    link = SupervisorLink(None, None)
    link.tell = lambda event, **fields: told.append((event, fields))
    link.share(CA)
    link.want(["http://ca.example/1"], [], CA)
    link.ask("key", CA, CA)
    text = base64.b64encode(CA.der).decode()
    assert json.loads(json.dumps(told)) == [
        ["intermediate", {"certificate": text}],
        ["want", {"urls": ["http://ca.example/1"], "delta_urls": [], "issuer": text}],
        ["ask", {"key": "key", "certificate": text, "issuer": text}],
    ]
