"""Tasks of a keeper: none fails silently, all end together."""

import asyncio

from structlog.testing import capture_logs

from relay.revocation.tasks import Tasks


def test_what_fails_is_told_of_and_the_others_go_on():
    async def main():
        tasks, done = Tasks("looking failed"), asyncio.Event()

        async def fail():
            raise OSError("the disk is gone")

        async def work():
            await asyncio.sleep(0)
            done.set()

        tasks.start(fail())
        tasks.start(work())
        await asyncio.wait_for(done.wait(), 5)

    with capture_logs() as logged:
        asyncio.run(main())
    (told,) = logged
    assert (told["event"], told["log_level"]) == ("looking failed", "error")
    assert str(told["exc_info"]) == "the disk is gone"


def test_stopping_ends_what_has_begun_and_is_no_failure():
    async def main():
        tasks, ended = Tasks("looking failed"), asyncio.Event()
        begun = asyncio.Event()

        async def work():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        tasks.start(work())
        await asyncio.wait_for(begun.wait(), 5)
        tasks.stop()
        await asyncio.wait_for(ended.wait(), 5)

    with capture_logs() as logged:
        asyncio.run(main())
    assert logged == []
