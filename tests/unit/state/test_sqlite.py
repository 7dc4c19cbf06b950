"""The SQLite store on its own: turns between processes, growth, files of all sorts. See also tests/contract."""

import asyncio
import os
import sqlite3
import stat
import time
from datetime import timedelta

import pytest
import structlog

from relay.errors import ConfigurationError, Unavailable
from relay.model import Charge, Restriction, RestrictionKind, Score
from relay.state import sqlite_upkeep
from relay.state.sqlite import FADING_TABLES, SqliteStore
from relay.state.sqlite_file import FILE_NAME, Lock, checkpoint, log_bytes
from relay.state.sqlite_upkeep import keep_up

NOW = 1_800_000_000.0


def hourly(key="a", limit=10):
    return Charge(key, 1, limit, 3600.0)


def store_in(folder, seconds=5.0):
    return SqliteStore.open(folder, timedelta(seconds=seconds))


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 30))


# --- turns ----------------------------------------------------------------------------------


def test_who_finds_somebody_writing_waits_for_its_turn_and_holds_nobody_up(tmp_path):
    async def scenario():
        store, lock = store_in(tmp_path), Lock(tmp_path / "store.lock")
        lock.take()
        calls = [asyncio.create_task(store.spend([hourly()], NOW)) for _ in range(20)]
        begun, longest = time.monotonic(), 0.0
        while time.monotonic() < begun + 0.1:
            turn = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - turn)
        assert not any(call.done() for call in calls)
        assert longest < 0.05
        lock.give()
        answers = await asyncio.gather(*calls)
        assert [not any(answer) for answer in answers] == [True] * 10 + [False] * 10
        lock.close()
        await store.close()

    run(scenario)


def test_who_waits_in_vain_is_told_and_not_charged(tmp_path):
    async def scenario():
        store, lock = store_in(tmp_path, 0.1), Lock(tmp_path / "store.lock")
        lock.take()
        with pytest.raises(Unavailable, match="others write all the time"):
            await store.spend([hourly(limit=1)], NOW)
        lock.give()
        assert not any(await store.spend([hourly(limit=1)], NOW))
        lock.close()
        await store.close()

    run(scenario)


def test_a_shell_that_holds_the_file_is_waited_for_too(tmp_path):
    async def scenario():
        store = store_in(tmp_path, 0.2)
        shell = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        assert list(await store.scores(["a"], NOW)) == [0.0]  # readers never wait
        with pytest.raises(Unavailable):
            await store.spend([hourly()], NOW)
        shell.execute("ROLLBACK")
        assert not any(await store.spend([hourly()], NOW))
        shell.close()
        await store.close()

    run(scenario)


def test_one_call_that_fails_takes_nothing_along(tmp_path):
    async def scenario():
        store, lock = store_in(tmp_path), Lock(tmp_path / "store.lock")
        with pytest.raises(TypeError):
            await store.add_scores([Score("a", "much", 60.0)], NOW)
        lock.take()
        good = asyncio.create_task(store.put("a", b"1", NOW))
        bad = asyncio.create_task(store.put("b", object(), NOW))
        await asyncio.sleep(0.01)
        lock.give()
        answers = await asyncio.gather(good, bad, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in answers)
        await store.put("a", b"2", NOW)
        assert await store.get("a", NOW - 1) == b"2"
        lock.close()
        await store.close()

    run(scenario)


# --- growth ---------------------------------------------------------------------------------


def rows(folder, table):
    with sqlite3.connect(folder / FILE_NAME) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return count


async def forget_all(store, now):
    for table in FADING_TABLES:
        after = ""
        while True:
            after, _ = await store.forget(table, after, now)
            if not after:
                break
    await store.forget_restrictions(now)


def test_what_is_over_is_forgotten_and_nothing_else(tmp_path):
    async def scenario():
        store = store_in(tmp_path)
        for number in range(500):
            lasting = number % 5 == 0
            await store.spend([Charge(f"{number}", 1, 1, 1e6 if lasting else 60.0)], NOW)
            await store.add_scores([Score(f"{number}", 1.0, 1e6 if lasting else 6.0)], NOW)
            await store.put(f"{number}", b"", NOW + (1e6 if lasting else 60))
            end = NOW + (1e6 if lasting else 60)
            subject = f"10.0.{number >> 8}.{number & 255}/32"
            await store.restrict(Restriction(RestrictionKind.BAN, subject, "", "", NOW, end))
        await forget_all(store, NOW + 100_000)
        for table in (*FADING_TABLES, "restriction"):
            assert rows(tmp_path, table) == 100, table
        assert (await store.spend([Charge("5", 1, 1, 1e6)], NOW))[0] > 0
        await store.close()

    run(scenario)


def test_upkeep_tidies_up_and_shortens_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_upkeep, "_LONG_LOG_BYTES", 20_000)
    monkeypatch.setattr(sqlite_upkeep, "_LOOK_SECONDS", 0.02)

    async def scenario():
        store = store_in(tmp_path)
        upkeep = asyncio.create_task(keep_up(store, tmp_path))
        for number in range(300):
            await store.spend([Charge(f"{number}", 1, 1, 1.0)], NOW - 1e9)
        async with asyncio.timeout(10):
            while rows(tmp_path, "rate") or log_bytes(tmp_path) > 20_000:
                await asyncio.sleep(0.02)
        upkeep.cancel()
        await asyncio.wait([upkeep])
        await store.close()

    run(scenario)


def test_one_process_of_a_host_does_the_upkeep(tmp_path):
    async def scenario():
        store, duty = store_in(tmp_path), Lock(tmp_path / "store.upkeep")
        duty.take()
        upkeep = asyncio.create_task(keep_up(store, tmp_path))
        await store.put("over", b"", NOW - 1e9)
        await asyncio.sleep(0.05)
        assert rows(tmp_path, "value") == 1
        upkeep.cancel()
        await asyncio.wait([upkeep])
        duty.close()
        await store.close()

    run(scenario)


def test_a_checkpoint_while_others_read_and_write_loses_nothing(tmp_path):
    async def scenario():
        store = store_in(tmp_path)
        checkpoints = asyncio.create_task(repeat())
        done = 0
        while not checkpoints.done():
            await store.spend([Charge("a", 1, 10**8, 1e8)], NOW)
            done += 1
            await asyncio.sleep(0)
        await checkpoints
        (wait,) = await store.spend([Charge("a", 10**8, 10**8, 1e8)], NOW)
        assert round(wait) == done > 10
        await store.close()

    async def repeat():
        for _ in range(20):
            await asyncio.to_thread(checkpoint, tmp_path)

    run(scenario)


# --- the file -------------------------------------------------------------------------------


def test_what_was_kept_is_there_after_a_restart(tmp_path):
    async def scenario():
        for expected in (True, False):
            store = store_in(tmp_path)
            assert (not any(await store.spend([hourly(limit=1)], NOW))) is expected
            await store.close()

    run(scenario)


def test_nobody_else_may_read_it(tmp_path):
    async def scenario():
        store = store_in(tmp_path)
        await store.put("a", b"", NOW)
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        await store.close()

    run(scenario)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path):
    async def scenario():
        os.chown(tmp_path, 65534, 65534)
        store = store_in(tmp_path)
        await store.put("a", b"", NOW)
        assert {path.stat().st_uid for path in tmp_path.iterdir()} == {65534}
        await store.close()

    run(scenario)


@pytest.mark.parametrize(
    "damage", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_damaged_file_is_put_aside_and_mail_goes_on(tmp_path, damage):
    (tmp_path / FILE_NAME).write_bytes(damage)

    async def scenario():
        with structlog.testing.capture_logs() as logs:
            store = store_in(tmp_path)
        assert [entry["log_level"] for entry in logs] == ["error"]
        assert not any(await store.spend([hourly()], NOW))
        await store.close()

    run(scenario)
    (kept,) = tmp_path.glob("*.damaged-*")
    assert kept.read_bytes() == damage


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    run_empty(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer Gatepost") as caught:
        store_in(tmp_path)
    assert caught.value.path == tmp_path / FILE_NAME
    assert not list(tmp_path.glob("*.damaged-*"))


def run_empty(folder):
    async def scenario():
        await store_in(folder).close()

    run(scenario)


def test_a_folder_that_is_not_there_is_a_mistake_with_a_remedy(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        store_in(tmp_path / "nowhere")


def test_a_file_that_breaks_later_makes_calls_unavailable(tmp_path):
    async def scenario():
        store = store_in(tmp_path)
        with sqlite3.connect(tmp_path / FILE_NAME) as connection:
            connection.execute("DROP TABLE rate")
            connection.execute("DROP TABLE score")
        connection.close()
        for call in (store.spend([hourly()], NOW), store.scores(["a"], NOW)):
            with pytest.raises(Unavailable, match="no such table"):
                await call
        await store.put("a", b"x", NOW + 1)  # and what is whole goes on
        await store.close()

    run(scenario)
