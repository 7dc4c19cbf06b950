"""Keeps the lists new: fetches them before they end, and after a failure again and again, ever more rarely.

One process of a host does this (`relay/keeper_process.py` is its life), so that mail never waits for it. Each
address has a task of its own that fetches and sleeps; the files of the configuration are looked at every
few seconds. What is read is checked and kept by `intake.py`; whoever has to know is told by `tell`. What
a list means for a client is not known here. RFC 5280 5.1.2.5.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from relay.errors import Unavailable
from relay.revocation.folder import CrlFolder
from relay.revocation.intake import RefusedCrl, Taken, take_crls
from relay.revocation.sources import (
    MAX_SOURCES,
    SOURCES_FILE,
    Source,
    read_sources,
    write_sources,
)
from relay.revocation.tasks import Tasks
from relay.revocation.waiting import next_look, next_try
from relay.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from relay.material import AuthorityMaterial
    from relay.net.fetcher import Fetcher
    from relay.pki.certificate import Certificate
    from relay.ports import Clock
    from relay.settings.revocation import Revocation

__all__ = ["Keeper"]

log = structlog.get_logger("gatepost")

_LOOK_AT_FILES_SECONDS: Final = 0.25
"""A revocation ends live sessions within a second, the time to notice it included."""


class Keeper:
    """Keeps the lists of one folder.

    Args:
        folder: where they are kept.
        settings: how often, how long, how large.
        authorities: the CAs of which the configuration says where their lists are.
        clock: the time.
        fetcher: makes the requests.
        tell: called whenever a list has changed, and with the state of all sources.
        chance: a number from 0 to 1, so that many relays do not all come at the same time.
    """

    def __init__(
        self,
        folder: Path,
        settings: Revocation,
        authorities: Sequence[AuthorityMaterial],
        clock: Clock,
        fetcher: Fetcher,
        *,
        tell: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        self._folder_path = folder
        self._folder = CrlFolder(folder)
        self._settings = settings
        self._authorities = authorities
        self._clock = clock
        self._fetcher = fetcher
        self._tell = tell
        self._chance = chance
        self._sources: dict[str, Source] = {}
        self._watched: list[tuple[Path, FileWatch, Sequence[Certificate]]] = []
        self._tasks = Tasks("keeping revocation lists failed")
        self._reading = asyncio.Lock()  # one list at a time is in memory besides those on the wire

    async def prepare(self) -> None:
        """Look at what is kept, and read the files of the configuration."""
        for name in self._folder.prepare():
            log.warning("damaged revocation list removed", file=name)
        for authority in self._authorities:
            for path in authority.settings.crl_files:
                # First watched, then read: a change in between is not missed.
                self._watched.append((path, FileWatch([path]), authority.certificates))
                await self._read_file(path, authority.certificates)

    def start(self) -> None:
        """Begin to keep the lists new."""
        self._tasks.start(self._watch_files())
        if self._settings.fetch:
            self._take_up()

    def stop(self) -> None:
        """End all that was begun."""
        self._tasks.stop()

    def state(self) -> list[dict[str, Any]]:
        """What there is to say of each source, for people."""
        found = []
        for source in self._sources.values():
            header = self._folder.header(source.file_name) if source.file_name else None
            until = f"{header.next_update:%Y-%m-%dT%H:%M:%SZ}" if header else ""
            found.append({"url": source.url, "next_update": until, "problem": source.problem})
        return found

    # --- addresses ----------------------------------------------------------------------------

    def want(self, urls: Sequence[str], delta_urls: Sequence[str], issuer: Certificate) -> None:
        """A known client's certificate names addresses: fetch from them, from now on."""
        if self._settings.fetch:
            for url in (*urls, *delta_urls):
                self._add(url, issuer, is_wanted=True)

    def _take_up(self) -> None:
        """Begin with what the configuration says, and what was wanted before."""
        today = self._clock.now().date()
        kept = {each.url: each for each in read_sources(self._folder_path / SOURCES_FILE, today)}
        for authority in self._authorities:
            for url in authority.settings.crl_urls:
                known = kept.pop(url, None)
                for issuer in authority.certificates:
                    self._add(url, issuer, known=known)
        for source in kept.values():
            if source.wanted is not None:  # the others the configuration no longer names
                self._start_source(source)

    def _add(
        self,
        url: str,
        issuer: Certificate,
        *,
        known: Source | None = None,
        is_wanted: bool = False,
    ) -> None:
        source = self._sources.get(url)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                return
            source = known or Source(url, [])
            source.issuers = []
            source.wanted = self._clock.now().date() if is_wanted else None
            source.add_issuer(issuer)
            self._start_source(source)
        elif is_wanted and source.wanted is not None:
            source.wanted = self._clock.now().date()
        source.add_issuer(issuer)

    def _start_source(self, source: Source) -> None:
        self._sources[source.url] = source
        self._tasks.start(self._keep(source))

    async def _keep(self, source: Source) -> None:
        """Fetch from one address for ever."""
        header = self._folder.header(source.file_name) if source.file_name else None
        if header is None:
            source.file_name = source.etag = source.modified = ""
        else:
            wait = next_look(self._clock.now(), header.next_update, self._settings, self._chance())
            await asyncio.sleep(wait * self._chance())
        while True:
            wait = await self._refresh(source)
            await asyncio.sleep(wait)

    async def _refresh(self, source: Source) -> float:
        """Fetch once; return how long to wait until the next time, in seconds."""
        settings = self._settings
        try:
            until = await self._fetch(source)
        except (Unavailable, RefusedCrl, OSError) as error:
            return self._put_off(source, str(error))
        except Exception:
            log.exception("revocation list not refreshed", url=source.url)
            return self._put_off(source, "an error of our own, see the log")
        now = self._clock.now()
        if now > until:
            return self._put_off(source, f"the list there counted until {until:%Y-%m-%d %H:%M} UTC")
        if source.problem:
            log.info("revocation list is back", url=source.url)
            source.problem = ""
            self._tell()
        source.failures = 0
        return next_look(now, until, settings, self._chance())

    async def _fetch(self, source: Source) -> datetime:
        """Fetch and keep what is new; return until when the list there counts."""
        fetched = await self._fetcher.get(source.url, etag=source.etag, modified=source.modified)
        if fetched.is_unchanged:
            header = self._folder.header(source.file_name)
            if header is not None:
                return header.next_update
            source.etag = source.modified = ""
            raise Unavailable("the list kept has been removed")
        taken = (await self._take(fetched.body, source.issuers))[0]
        source.file_name, source.etag, source.modified = (
            taken.file_name,
            fetched.etag,
            fetched.modified,
        )
        self._remember()
        if taken.is_new:
            log.info("revocation list fetched", url=source.url, next_update=str(taken.next_update))
            self._tell()
        for url in taken.delta_urls:
            for issuer in source.issuers:
                self._add(url, issuer, is_wanted=True)
        return taken.next_update

    def _put_off(self, source: Source, problem: str) -> float:
        """Note a failure, and say so if it is another one than before; return how long to wait."""
        wait = next_try(source.failures, self._settings, self._chance())
        source.failures += 1
        if problem != source.problem:
            log.warning("revocation list not refreshed", url=source.url, problem=problem)
            source.problem = problem
            self._tell()
        return wait

    def _remember(self) -> None:
        try:
            write_sources(self._folder_path / SOURCES_FILE, self._sources.values())
        except OSError as error:
            log.error("sources of revocation lists not kept", error=str(error))

    # --- files --------------------------------------------------------------------------------

    async def _watch_files(self) -> None:
        """Read a file again when it has changed."""
        watched = self._watched
        while True:
            await asyncio.sleep(_LOOK_AT_FILES_SECONDS)
            for position, (path, watch, issuers) in enumerate(watched):
                if watch.has_changed():
                    watched[position] = (path, FileWatch([path]), issuers)
                    await self._read_file(path, issuers)

    async def _read_file(self, path: Path, issuers: Sequence[Certificate]) -> None:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            taken = await self._take(data, issuers)
        except (RefusedCrl, OSError) as error:
            log.warning("revocation list not used", file=str(path), problem=str(error))
            self._tell()  # some of the file's lists may be in the folder
            return
        now = self._clock.now()
        for each in taken:
            if now > each.next_update:
                log.warning("revocation list is stale", file=str(path), until=str(each.next_update))
        if any(each.is_new for each in taken):
            log.info("revocation list read", file=str(path))
            self._tell()

    async def _take(self, data: bytes, issuers: Sequence[Certificate]) -> list[Taken]:
        async with self._reading:
            return await asyncio.to_thread(
                take_crls,
                data,
                tuple(issuers),
                self._folder,
                self._clock.now(),
                self._settings.max_crl_bytes,
            )
