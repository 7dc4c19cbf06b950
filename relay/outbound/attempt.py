"""One question to a route: on a kept connection or a new one, at the first host that answers.

Decides what may be tried again: another host as long as none has begun, and a new connection if
a kept one proves dead before it has said a word. It must not know what the question is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from relay.errors import ConnectionLost, StreamError, Unavailable
from relay.outbound.pool import LeftAlone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.outbound.connection import Connection
    from relay.outbound.pool import Pool
    from relay.smtp.client import ClientEngine, Dialogue

__all__ = ["Answer", "attempt"]

_T = TypeVar("_T")


class Answer(NamedTuple, Generic[_T]):
    """Either a `result` or an `error`, and how far we came: host and connection."""

    result: _T | None
    error: StreamError | Unavailable | None
    pool: Pool
    connection: Connection | None


async def attempt(
    pools: Sequence[Pool], begin: Callable[[ClientEngine], Dialogue[_T]]
) -> Answer[_T]:
    """Have one dialogue with the first host that is there; failures come back as a value.

    A message may have arrived when a connection dies without an answer, so only a kept connection
    that has not said a byte since it lay idle is given up for a new one: most likely it was dead
    before. Should it have been alive after all, the message is there twice, as it would be if the
    sender came again after our 451 (RFC 1047); it is never lost.
    """
    for fresh in (False, True):
        pool, error = pools[0], None
        connection = None if fresh else pool.take_idle()
        if connection is None:
            pool, connection, error = await _connect(pools, fresh=fresh)
        if connection is None:
            break
        connection.messages += 1
        try:
            result = await connection.converse(begin(connection.engine))
        except (StreamError, Unavailable) as problem:
            pool.discard(connection)
            error = problem
            is_silent = connection.is_reused and not connection.heard
            if not (is_silent and isinstance(problem, ConnectionLost)):
                break
        except BaseException:
            pool.discard(connection)
            raise
        else:
            pool.release(connection)
            return Answer(result, None, pool, connection)
    return Answer(None, error, pool, connection)


async def _connect(
    pools: Sequence[Pool], *, fresh: bool
) -> tuple[Pool, Connection | None, StreamError | Unavailable | None]:
    """Go through the hosts in their order, and then through those first left alone."""
    tried = pools[0]
    failure: StreamError | Unavailable | None = None
    left_alone: list[Pool] = []
    for pool in pools:
        try:
            return pool, await pool.acquire(fresh=fresh), None
        except LeftAlone:
            left_alone.append(pool)
        except (StreamError, Unavailable) as error:
            tried, failure = pool, error
    for pool in left_alone:
        try:
            return pool, await pool.acquire(fresh=fresh, as_last_resort=True), None
        except LeftAlone as error:  # somebody else is trying it in this moment
            failure = failure or error
        except (StreamError, Unavailable) as error:
            tried, failure = pool, error
    return tried, None, failure
