"""Fetching: what comes back, what is refused, and that every bad server ends in time and in bounds."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from relay.errors import Unavailable
from relay.net.fetcher import Fetched, Fetcher, is_public

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: "1"\r\n\r\nabc'
LIMIT = 100_000


@asynccontextmanager
async def server(*answers, hold=False):
    """Serve one answer a connection; bytes, or a function that writes. Yields the URL and the requests."""
    requests, waiting = [], list(answers)

    async def serve(reader, writer):
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            requests.append(request.decode())
            answer = waiting.pop(0)
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
                await writer.drain()
            if hold:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield f"http://127.0.0.1:{port}/list.crl", requests


def get(*answers, seconds=5, private=True, hold=False, **conditions):
    async def run():
        async with server(*answers, hold=hold) as (url, requests):
            limits = (timedelta(seconds=seconds), LIMIT)
            async with Fetcher(*limits, allow_private_addresses=private) as fetcher:
                return await fetcher.get(url, **conditions), requests

    return asyncio.run(run())


def failure(*answers, **options):
    with pytest.raises(Unavailable) as caught:
        get(*answers, **options)
    return str(caught.value)


def test_a_body_comes_back_with_what_makes_the_next_request_cheap():
    fetched, requests = get(OK)
    assert fetched == Fetched(200, b"abc", etag='"1"')
    assert "accept-encoding: identity" in requests[0].lower()


def test_what_is_unchanged_is_not_sent_again():
    fetched, requests = get(b"HTTP/1.1 304 Not Modified\r\n\r\n", etag='"1"', modified="yesterday")
    assert fetched.is_unchanged
    assert 'if-none-match: "1"\r\nif-modified-since: yesterday' in requests[0].lower()


def test_an_answer_to_a_condition_that_was_not_made_is_no_answer():
    assert failure(b"HTTP/1.1 304 Not Modified\r\n\r\n") == "the server answers 304"


def test_a_redirect_is_followed():
    moved = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    fetched, requests = get(moved, OK)
    assert fetched.body == b"abc"
    assert requests[1].startswith("GET /other ")


def test_a_body_is_posted_and_not_sent_on():
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"

    async def run(answer):
        async with server(answer) as (url, requests):
            limits = (timedelta(seconds=5), LIMIT)
            async with Fetcher(*limits, allow_private_addresses=True) as fetcher:
                return await fetcher.post(url, b"", "application/ocsp-request"), requests

    fetched, requests = asyncio.run(run(OK))
    assert fetched.body == b"abc"
    assert "content-type: application/ocsp-request" in requests[0].lower()
    with pytest.raises(Unavailable, match="answers 307"):
        asyncio.run(run(moved))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ftp://ca.example/list", "a redirect from http to ftp is not followed"),
        ("file:///etc/passwd", "a redirect from http to file is not followed"),
        ("ldap://ca.example/cn=x", "a redirect from http to ldap is not followed"),
        ("http://[", "no URL that can be fetched"),
    ],
)
def test_a_redirect_elsewhere_is_refused(target, reason):
    answer = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    assert failure(answer) == reason


def test_redirects_in_a_circle_end():
    again = b"HTTP/1.1 301 Moved\r\nLocation: /list.crl\r\nContent-Length: 0\r\n\r\n"
    assert failure(*[again] * 9) == "more than 5 redirects"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answers 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", "larger than 100000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "hung up before the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "not asked for"),
        (b"", "hung up before the end"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
    ],
)  # fmt: skip
def test_a_bad_answer_is_unavailable(answer, reason):
    assert reason in failure(answer)


def test_a_body_without_an_end_is_cut_off_at_the_limit():
    sent = 0

    async def pour(writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16

    assert failure(pour) == "the answer is larger than 100000 bytes"
    assert sent < 20 * 2**20  # what lies in the buffers of two sockets


def test_a_server_that_never_answers_costs_the_deadline():
    assert failure(b"", hold=True, seconds=0.2) == "no whole answer within 0.2 s"


def test_a_server_that_drips_costs_the_deadline():
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert failure(drip, seconds=0.3) == "no whole answer within 0.3 s"


def test_a_private_address_is_not_connected_to():
    reason = failure(OK, private=False)
    assert reason == "127.0.0.1 is a private address, see `allow_private_addresses`"


def test_a_name_of_a_private_address_is_not_connected_to():
    async def run():
        async with server(OK) as (url, requests):
            async with Fetcher(timedelta(seconds=5), LIMIT) as fetcher:
                with pytest.raises(Unavailable, match="private address"):
                    await fetcher.get(url.replace("127.0.0.1", "localhost"))
            return requests

    assert asyncio.run(run()) == []


def test_a_server_that_is_not_there_is_unavailable():
    async def run():
        async with server() as (url, _):
            pass
        async with Fetcher(timedelta(seconds=5), LIMIT, allow_private_addresses=True) as fetcher:
            await fetcher.get(url)

    with pytest.raises(Unavailable, match="Cannot connect"):
        asyncio.run(run())


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"],
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.9.9", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1",
     "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2002:7f00:1::", "not an address"],
)  # fmt: skip
def test_private_addresses(address):
    assert not is_public(address)
