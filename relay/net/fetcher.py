"""HTTP as we use it: one small request, a deadline, a size limit, and no way into inside networks.

The addresses in certificates are written by others. So every request is bounded in time and bytes,
redirects are followed one by one and never to another scheme than https, and the address that is
connected to is looked at, not the name: a name that points to a private address (today, or at the
second look-up) is refused like the address itself. Knows nothing of what it fetches. RFC 9110.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from relay.errors import Unavailable
from relay.names import PRODUCT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from types import TracebackType

    from aiohttp import AddrInfoType

__all__ = ["Fetched", "Fetcher", "is_public"]

_MAX_REDIRECTS: Final = 5
_CHUNK_BYTES: Final = 2**16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Fetched(NamedTuple):
    """An answer: 200 with its body, or 304 without. `etag` and `modified` make the next one cheap."""

    status: int
    body: bytes
    etag: str = ""
    modified: str = ""

    @property
    def is_unchanged(self) -> bool:
        """Whether it is what was fetched before (RFC 9110 15.4.5)."""
        return self.status == 304


class _ForbiddenAddress(OSError):
    """A private address where only public ones may be connected to."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is a private address, see `allow_private_addresses`")


class Fetcher:
    """Makes requests; an asynchronous context manager.

    Args:
        timeout: for a whole request, redirects included; waiting for others does not count.
        max_bytes: the largest body.
        allow_private_addresses: whether addresses that are not of the public internet may be
            connected to.
        at_a_time: how many requests; the others wait.
    """

    def __init__(
        self,
        timeout: timedelta,
        max_bytes: int,
        *,
        allow_private_addresses: bool = False,
        at_a_time: int = 4,
    ) -> None:
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._allow_private_addresses = allow_private_addresses
        self._slots = asyncio.Semaphore(at_a_time)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, socket_factory=self._open_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A compressed body could be a thousand times larger than what was counted.
            headers={"User-Agent": PRODUCT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),  # ours counts redirects too
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, url: str, *, etag: str = "", modified: str = "") -> Fetched:
        """Fetch; with `etag` or `modified` of an earlier answer, only if it is another one now.

        Raises:
            Unavailable: no usable answer came; the text says why.
        """
        conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
        headers = {name: value for name, value in conditions.items() if value}
        return await self._request("GET", url, headers, None)

    async def post(self, url: str, body: bytes, content_type: str) -> Fetched:
        """Send a body and return the answer; it is not sent on to where a redirect points.

        Raises:
            Unavailable: no usable answer came; the text says why.
        """
        return await self._request("POST", url, {"Content-Type": content_type}, body)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Fetched:
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout.total_seconds()):
                    return await self._follow(method, url, headers, body)
            except TimeoutError:
                seconds = self._timeout.total_seconds()
                raise Unavailable(f"no whole answer within {seconds:g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise Unavailable(_reason(error)) from error

    async def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Fetched:
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                target = response.headers.get("Location", "")
                if method != "GET" or response.status not in _REDIRECTS or not target:
                    return await self._read(
                        response, is_conditional=method == "GET" and bool(headers)
                    )
                url = _redirected(url, target)
        raise Unavailable(f"more than {_MAX_REDIRECTS} redirects")

    async def _read(self, response: aiohttp.ClientResponse, *, is_conditional: bool) -> Fetched:
        etag = response.headers.get("ETag", "")
        modified = response.headers.get("Last-Modified", "")
        if response.status == 304 and is_conditional:
            return Fetched(304, b"", etag, modified)
        if response.status != 200:
            raise Unavailable(f"the server answers {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unavailable("the server answers in a coding that was not asked for")
        too_large = f"the answer is larger than {self._max_bytes} bytes"
        if (response.content_length or 0) > self._max_bytes:
            raise Unavailable(too_large)
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise Unavailable(too_large)
        return Fetched(200, bytes(body), etag, modified)

    def _open_socket(self, address: AddrInfoType) -> socket.socket:
        """Make the socket to connect to an address with: the last word on whether that may be."""
        family, kind, protocol, _, place = address
        if not self._allow_private_addresses and not is_public(str(place[0])):
            raise _ForbiddenAddress(str(place[0]))
        return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also where another is wrapped in it."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _unwrap(found) if isinstance(found, IPv6Address) else None
    if inner is not None and not is_public(str(inner)):
        return False
    return (found.is_global or inner is not None) and not found.is_multicast


def _unwrap(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address may end up at."""
    if address in _NAT64:  # RFC 6052 2.1
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _redirected(url: str, target: str) -> str:
    joined = urljoin(url, target)
    before, after = urlsplit(url).scheme, urlsplit(joined).scheme
    if after not in {before, "https"}:
        raise Unavailable(f"a redirect from {before} to {after or 'no scheme'} is not followed")
    return joined


def _reason(error: Exception) -> str:
    """Say it without the lists of Python objects that some of these errors print."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _ForbiddenAddress):
            return str(found)
        found = getattr(found, "os_error", None) or found.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the server's name is not known"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "no URL that can be fetched"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the server has hung up before the end"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
