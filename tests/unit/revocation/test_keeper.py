"""The keeper with a fetcher of the test's own: what it fetches when, and what failures do."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest

from relay.errors import Unavailable
from relay.net.fetcher import Fetched
from relay.pki.crl import issuer_ids
from relay.revocation.folder import CrlFolder
from relay.revocation.keeper import Keeper
from relay.settings.revocation import Revocation, RevocationAuthority
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl
from tests.kit.services import FakeClock

CA = Authority("CA")
URL = "http://ca.example/list.crl"
QUICK = Revocation(retry="10ms", refresh="20ms")
SLOW = Revocation(retry="1h", refresh="1h")


class FakeFetcher:
    """Gives one answer after the other, the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def get(self, url, *, etag="", modified=""):
        self.asked.append((url, etag))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Fetched) else Fetched(200, answer, etag='"1"')


def clock():
    made = FakeClock()
    made.time = NOW
    return made


def authority(*, urls=(), files=()):
    settings = RevocationAuthority(certificate="ca.pem", crl_urls=urls, crl_files=files)
    return SimpleNamespace(certificates=(CA.certificate,), settings=settings)


async def keep(folder, fetcher, until, *authorities, settings=QUICK, want=()):
    """Run a keeper until something is so; return it."""
    told = []
    keeper = Keeper(
        folder, settings, authorities, clock(), fetcher,
        tell=lambda: told.append(keeper.state()), chance=lambda: 0.0,
    )  # fmt: skip
    await keeper.prepare()
    keeper.start()
    if want:
        keeper.want(want, (), CA.certificate)
    try:
        async with asyncio.timeout(10):
            while not until(keeper, told):
                await asyncio.sleep(0.002)
    finally:
        keeper.stop()
    return keeper


def number(folder):
    lists = CrlFolder(folder).read().get(issuer_ids(CA.certificate), ())
    return lists[0].complete.header.number if lists else None


def test_what_is_wanted_is_fetched_and_kept(tmp_path):
    fetcher = FakeFetcher(make_crl(CA, number=3))
    asyncio.run(keep(tmp_path, fetcher, lambda _, told: told, want=[URL], settings=SLOW))
    assert number(tmp_path) == 3
    assert fetcher.asked == [(URL, "")]


def test_what_the_configuration_names_is_fetched(tmp_path):
    fetcher = FakeFetcher(make_crl(CA, number=3))
    asyncio.run(
        keep(tmp_path, fetcher, lambda _, told: told, authority(urls=(URL,)), settings=SLOW)
    )
    assert number(tmp_path) == 3


def test_nothing_is_fetched_where_that_is_off(tmp_path):
    fetcher = FakeFetcher(make_crl(CA))
    settings = Revocation(fetch=False)
    asyncio.run(keep(tmp_path, fetcher, lambda *_: True, settings=settings, want=[URL]))
    assert fetcher.asked == []


def test_after_a_restart_it_asks_only_for_something_newer(tmp_path):
    asyncio.run(keep(tmp_path, FakeFetcher(make_crl(CA)), lambda _, told: told, want=[URL]))
    fetcher = FakeFetcher(Fetched(304, b""))
    asyncio.run(keep(tmp_path, fetcher, lambda *_: len(fetcher.asked) > 2))
    assert set(fetcher.asked) == {(URL, '"1"')}


def test_a_list_removed_by_hand_is_fetched_anew(tmp_path):
    asyncio.run(keep(tmp_path, FakeFetcher(make_crl(CA)), lambda _, told: told, want=[URL]))
    for path in tmp_path.glob("*.index"):
        path.unlink()
    fetcher = FakeFetcher(make_crl(CA))
    asyncio.run(keep(tmp_path, fetcher, lambda _, told: told))
    assert fetcher.asked[0] == (URL, "")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (Unavailable("the server answers 404"), "the server answers 404"),
        (b"<html>", "it is no CRL, neither in DER nor in PEM"),
        (make_crl(CA, number=1), "it is list 1, and the newer list 5 is in use"),
        (RuntimeError("a bug"), "an error of our own, see the log"),
    ],
)
def test_a_failure_changes_nothing_and_is_tried_again(tmp_path, bad, problem):
    good = make_crl(CA, number=5)
    newer = make_crl(CA, number=6, at=NOW + timedelta(seconds=1))
    fetcher = FakeFetcher(good, bad, bad, newer)
    seen = []

    def until(keeper, told):
        seen.extend(each["problem"] for state in told for each in state)
        return number(tmp_path) == 6 and told[-1][0]["problem"] == ""

    asyncio.run(keep(tmp_path, fetcher, until, want=[URL]))
    assert problem in seen


def test_failures_are_tried_again_ever_more_rarely(tmp_path):
    settings = Revocation(retry="10s", refresh="1m")

    async def run():
        keeper = Keeper(
            tmp_path, settings, (), clock(), FakeFetcher(Unavailable("down")),
            tell=lambda: None, chance=lambda: 1.0,
        )  # fmt: skip
        keeper.want([URL], (), CA.certificate)
        source = keeper._sources[URL]
        waits = [await keeper._refresh(source) for _ in range(5)]
        keeper.stop()
        return waits

    assert asyncio.run(run()) == [10, 20, 40, 60, 60]


def test_a_stale_list_is_kept_and_a_better_one_looked_for(tmp_path):
    stale = make_crl(CA, at=NOW - timedelta(days=9), until=NOW - timedelta(days=2))
    fetcher = FakeFetcher(stale)
    until = lambda _, told: told and "the list there counted until" in told[-1][0]["problem"]  # noqa: E731
    asyncio.run(keep(tmp_path, fetcher, until, want=[URL]))
    assert number(tmp_path) == 1


def test_files_are_read_before_it_starts_and_again_when_they_change(tmp_path):
    path, folder = tmp_path / "ca.crl", tmp_path / "crl"
    path.write_bytes(make_crl(CA, number=1))

    async def run():
        seen = []

        def until(_, told):
            if told and not seen:
                seen.append(number(folder))
                path.write_bytes(make_crl(CA, number=2))
            return number(folder) == 2

        await keep(folder, FakeFetcher(b""), until, authority(files=(path,)))
        assert seen == [1]

    asyncio.run(run())


def test_a_file_that_is_no_list_is_passed_over(tmp_path):
    path = tmp_path / "ca.crl"
    path.write_bytes(b"rubbish")
    asyncio.run(keep(tmp_path / "crl", FakeFetcher(b""), lambda *_: True, authority(files=(path,))))
    assert number(tmp_path / "crl") is None
