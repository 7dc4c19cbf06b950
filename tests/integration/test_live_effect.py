"""Trust that is lost ends live sessions: within a second, in every worker, and nobody else's."""

import asyncio
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from tests.kit import clients
from tests.kit.relay_process import wait_until
from tests.kit.revocation import make_crl
from tests.kit.site import RECIPIENT, SENDER

EACH = 250
OTHER = '[[identity]]\nname = "other"\npins = ["{pin}"]\n'


class Live:
    """A client's live session, on a listener with implicit TLS."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self.told = ""
        self.ended_at = 0.0

    @classmethod
    async def open(cls, port, context):
        made = cls(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
        )
        assert (await made.reply()).startswith("220 ")
        assert (await made.say("EHLO client.example")).startswith("250 ")
        return made

    async def reply(self):
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 30)).decode()
            if line[3:4] != "-":
                return line.rstrip()

    async def say(self, *lines):
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return [await self.reply() for _ in lines][-1]

    async def up_to_the_dot(self):
        """Send a message; its reply is still to be read."""
        await self.say(f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA")
        self._writer.write(clients.MESSAGE + b".\r\n")

    async def watch(self):
        """Wait for the end, and note when it came."""
        self.told = await self.reply()
        self.ended_at = time.time()
        assert await self.reply() == "", "there is a last word after the last word"

    def close(self):
        self._writer.transport.abort()


@asynccontextmanager
async def live(port, context, number):
    sessions = []
    try:
        for _ in range(number):
            sessions.append(await Live.open(port, context))
        yield sessions
    finally:
        for each in sessions:
            each.close()


@pytest.fixture
def revocations(site, tmp_path):
    """The list of what the clients' CA has revoked: nothing yet."""
    path = tmp_path / "ca.crl"
    path.write_bytes(make_crl(site.authority))
    return path


@pytest.fixture
def relay(site, own_upstream, start_relay, revocations):
    return start_relay(
        own_upstream.port,
        allowlist=site.allowlist(OTHER.format(pin=site.unpinned.pin)),
        listener={"tls": "implicit", "client_ca": [str(site.ca)]},
        revocation={
            "authority": [{"certificate": str(site.ca), "crl_files": [str(revocations)]}],
        },
    )


# --- ways to lose it; each returns when it was lost ---------------------------------------------


def remove_the_pin(site, relay):
    relay.write_allowlist(OTHER.format(pin=site.unpinned.pin))
    return time.time()


def remove_by_command(site, relay):
    done = relay.command("pin", "remove", "acme-billing")
    assert done.returncode == 0, done.stderr
    return (relay.folder / "allowlist.toml").stat().st_mtime


def suspend(site, relay):
    done = relay.command("pin", "suspend", "acme-billing", "--reason", "key stolen")
    assert done.returncode == 0, done.stderr
    return (relay.folder / "allowlist.toml").stat().st_mtime


def let_the_pin_expire(site, relay):
    end = datetime.now(UTC) + timedelta(seconds=3)
    text = (relay.folder / "allowlist.toml").read_text()
    relay.write_allowlist(
        text.replace(
            'name = "acme-billing"', f'name = "acme-billing"\nnot_after = {end.isoformat()}'
        )
    )
    return end.timestamp()


TOLD_AND_RECORDED = {
    "unpinned": ("Client certificate not on the allowlist", "no identity has its key"),
    "suspended": ("Identity suspended", "key stolen"),
    "revoked": ("Client certificate has been revoked", "revoked"),
    "expired": ("Client certificate or its pin has expired", "counted until"),
}


def revoke(site, relay):
    (certificate,) = x509.load_pem_x509_certificates(site.pinned.chain.read_bytes())
    path = relay.folder.parent / "ca.crl"
    made = path.with_suffix(".new")
    made.write_bytes(make_crl(site.authority, [certificate.serial_number], number=2))
    made.replace(path)
    return time.time()


@pytest.mark.parametrize(
    ("lose", "status"),
    [
        (remove_the_pin, "unpinned"),
        (remove_by_command, "unpinned"),
        (suspend, "suspended"),
        (let_the_pin_expire, "expired"),
        (revoke, "revoked"),
    ],
)
def test_its_sessions_end_within_a_second_and_no_other_notices(
    lose, status, site, relay, own_upstream
):
    words, reason = TOLD_AND_RECORDED[status]

    async def script():
        async with (
            live(relay.port, site.context(site.pinned), EACH) as losing,
            live(relay.port, site.context(site.unpinned), EACH) as staying,
        ):
            workers = json.loads(relay.command("status", "--json").stdout)["workers"]
            assert len(workers) == 2
            assert all(worker["sessions"] >= 2 for worker in workers)
            watching = [asyncio.create_task(each.watch()) for each in losing]
            lost_at = await asyncio.to_thread(lose, site, relay)
            await asyncio.gather(*watching)
            for each in staying:
                assert (await each.say("NOOP")).startswith("250 ")
            await staying[0].up_to_the_dot()
            assert (await staying[0].reply()).startswith("250 ")
        return [(each.told, each.ended_at - lost_at) for each in losing]

    ends = asyncio.run(script())
    assert all(told.startswith(f"421 4.7.0 {words}, closing") for told, _ in ends)
    assert max(seconds for _, seconds in ends) < 1
    records = relay.audit(kind="refusal", rule="trust", status=status, identity="acme-billing")
    assert sorted(record["reply"] for record in records) == sorted(told for told, _ in ends)
    assert all(reason in record["reason"] for record in records)
    assert relay.audit(kind="refusal", identity="other") == []
    assert len(own_upstream.messages) == 1


def test_a_message_in_flight_is_acknowledged_then_421(site, relay, own_upstream):
    own_upstream.script.delay = {"final": 1.5}

    async def script():
        session = await Live.open(relay.port, site.context(site.pinned))
        await session.up_to_the_dot()
        await asyncio.to_thread(_wait_for_data, own_upstream)
        remove_the_pin(site, relay)
        await asyncio.to_thread(relay.wait_for_audit, kind="refusal", status="unpinned")
        assert own_upstream.messages == []
        return await session.reply(), await session.reply(), await session.reply()

    sent, then, after = asyncio.run(script())
    assert sent.startswith("250 ")
    assert then.startswith("421 4.7.0 ")
    assert after == ""
    assert len(own_upstream.messages) == 1


def test_immediately_cuts_it_all_the_same(site, start_relay, own_upstream):
    relay = start_relay(own_upstream.port, listener={"tls": "implicit", "terminate": "immediately"})
    own_upstream.script.delay = {"final": 3}

    async def script():
        session = await Live.open(relay.port, site.context(site.pinned))
        await session.up_to_the_dot()
        await asyncio.to_thread(_wait_for_data, own_upstream)
        lost_at = remove_the_pin(site, relay)
        with suppress(ConnectionError):
            assert await session.reply() == ""
        return time.time() - lost_at

    assert asyncio.run(script()) < 1
    assert own_upstream.messages == []
    assert "reply" not in relay.wait_for_audit(kind="refusal", status="unpinned")
    assert relay.wait_for_audit(kind="transaction")["outcome"] == "delivered"


def _wait_for_data(upstream):
    wait_until("the message is in flight", lambda: "DATA" in upstream.commands)


def test_its_tickets_give_sessions_that_are_refused(site, relay):
    context = site.context(site.pinned)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Python resumes these without ado

    def mail(session=None):
        with (
            socket.create_connection(("127.0.0.1", relay.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as sealed,
            sealed.makefile("rwb", buffering=0) as lines,
        ):
            assert lines.readline().startswith(b"220 ")
            lines.write(b"HELO client.example\r\n")
            assert lines.readline().startswith(b"250 ")
            lines.write(f"MAIL FROM:<{SENDER}>\r\n".encode())
            return lines.readline().decode(), sealed.session, sealed.session_reused

    reply, ticket, _ = mail()
    assert reply.startswith("250 ")
    reply, _, is_resumed = mail(ticket)
    assert (reply[:3], is_resumed) == ("250", True)
    assert suspend(site, relay)
    relay_refuses = "550 5.7.13 Identity suspended"
    wait_until("the suspension counts", lambda: mail()[0].startswith(relay_refuses), 5)
    reply, _, is_resumed = mail(ticket)
    assert reply.startswith(relay_refuses)
    assert is_resumed
    done = relay.command("pin", "restore", "acme-billing")
    assert done.returncode == 0, done.stderr
    wait_until("it is over", lambda: mail(ticket)[0].startswith("250 "), 5)


def test_workers_of_an_older_configuration_hear_of_it_too(site, relay):
    async def script():
        session = await Live.open(relay.port, site.context(site.pinned))
        remove_the_pin(site, relay)
        relay.write_settings(relay.config.read_text() + '\n[log]\nlevel = "debug"\n')
        await asyncio.to_thread(relay.reload)  # takes over both files at once
        return await session.reply()

    assert asyncio.run(script()).startswith("421 4.7.0 ")


@pytest.mark.parametrize("key", ["names", "pins"])
def test_a_certificate_that_expires_ends_its_session_where_it_counts(key, site, relay):
    """Under `pins` a chain is required; a pin alone would go on counting (docs/certificates.md)."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    issued = site.authority.issue(
        "short", dns=("short.example",), not_before=end - timedelta(days=1), days=1
    )
    known = {"names": "dns:short.example", "pins": issued.pin}[key]
    identity = f'[[identity]]\nname = "short"\n{key} = ["{known}"]\nchain = "required"\n'
    relay.write_allowlist(site.allowlist(OTHER.format(pin=site.unpinned.pin) + identity))
    relay.reload()

    async def script():
        async with (
            live(relay.port, site.context(site.files("short", issued)), 1) as (session,),
            live(relay.port, site.context(site.pinned), 1) as (other,),
        ):
            assert (await session.say("NOOP")).startswith("250 ")
            await session.watch()
            assert (await other.say("NOOP")).startswith("250 ")
            return session.told, session.ended_at

    told, ended_at = asyncio.run(script())
    assert told.startswith("421 4.7.0 Client certificate or its pin has expired, closing")
    assert 1 <= ended_at - end.timestamp() < 2  # its last second counts
    assert relay.wait_for_audit(kind="refusal", identity="short")["status"] == "expired"


def test_a_ca_that_is_removed_takes_its_sessions_along(site, relay):
    """The sessions are of workers of the configuration before; the new ones never meet them."""
    issued = site.authority.issue("named", dns=("named.example",))
    identity = '[[identity]]\nname = "named"\nnames = ["dns:named.example"]\n'
    relay.write_allowlist(site.allowlist(identity))
    relay.reload()

    async def script():
        async with (
            live(relay.port, site.context(site.files("named", issued)), 1) as (session,),
            live(relay.port, site.context(site.pinned), 1) as (other,),
        ):
            text = relay.config.read_text()
            before = f'client_ca = ["{site.ca}"]'
            assert before in text
            relay.write_settings(text.replace(before, "client_ca = []"))
            await asyncio.to_thread(relay.reload)
            await session.watch()
            assert (await other.say("NOOP")).startswith("250 ")
            return session.told

    assert asyncio.run(script()).startswith("421 4.7.0 Client certificate not trusted, closing")
