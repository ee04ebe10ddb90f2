"""What a poll costs that is handed a signed package for the first time: committed, audited, then answered."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvloop

from bench._estate import counted, database, here, one_connection, order_and_seal, settle_in, vacuum
from bench._https import kept_alive, opened, servers
from bench._measuring import Contender, Done, Size, compete, conditions, line, size
from eim.app import now
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.protocol.esipa import NO_PACKAGE, Poll, receive
from eim.services.polls import Polls, Seen
from eim.services.waiting import Waiters
from eim.sim import messages
from eim.store.connect import DbRole
from tests.database import Database

_STANDARD: Final = Size(rounds=5, operations=800, euiccs=10_000)
_CONNECTIONS: Final = 32
_BATCH: Final = 1000


async def over_https(made: Database, fresh: Iterator[Eid], wanted: Size) -> None:
    """First deliveries, beside the constant answer."""
    with servers(made) as (eim, constant):
        async with opened(eim, _CONNECTIONS) as ours, opened(constant, _CONNECTIONS) as theirs:

            async def deliver() -> Done:
                return await kept_alive(ours, list(itertools.islice(fresh, wanted.operations)))

            async def say_nothing() -> Done:
                return await kept_alive(theirs, [Eid(bytes(16))] * wanted.operations)

            both = [Contender("eim", deliver, eim.cpu), Contender("constant", say_nothing, constant.cpu)]
            scores = await compete(both, wanted.rounds)
    package, bare = scores["eim"], scores["constant"]
    line(
        "poll_package",
        f"{package.over(bare):.2f}x CPU of constant answer",
        f"{package.micros:,.0f} against {bare.micros:,.0f} us",
        f"{package.rate:,.0f} polls/s (baseline {bare.rate:,.0f})",
        f"p50 {package.percentile(0.5):.1f} ms p99 {package.percentile(0.99):.1f} ms",
        conditions("https keep-alive", f"{_CONNECTIONS} connections", "first deliveries", "durable commits", "pool=8"),
    )


async def in_the_service(made: Database, fresh: Iterator[Eid], wanted: Size) -> None:
    """One after the other on one connection, beside bare round trips on it."""
    pool = await one_connection(made, DbRole.DEVICE)
    polls = Polls(pool, Waiters(pool, 0.0), Seen(pool), now, NO_PACKAGE)

    async def poll() -> Done:
        for eid in itertools.islice(fresh, wanted.operations):
            assert len(await polls.answer(_received(eid), "127.0.0.1")) > len(NO_PACKAGE)
        return Done(wanted.operations)

    async def select() -> Done:
        async with pool.acquire() as connection:
            for _ in range(wanted.operations):
                await connection.fetchval("SELECT 1")
        return Done(wanted.operations)

    scores = await compete([Contender("poll", poll, here()), Contender("select", select, here())], wanted.rounds)
    async with counted(pool) as seen:
        await polls.answer(_received(next(fresh)), "127.0.0.1")
    await pool.close()
    ours, bare = scores["poll"], scores["select"]
    line(
        "package_service",
        f"{ours.over(bare):.2f}x CPU of a bare SELECT 1",
        f"{ours.micros:,.0f} against {bare.micros:,.0f} us",
        f"{len(seen)} statements a poll",
        conditions("no HTTP", "one after the other on 1 connection", "Postgres counted"),
    )


def _received(eid: Eid) -> Poll:
    received = receive(messages.poll(eid, Speaks.V1_2, None, None))
    assert isinstance(received, Poll)
    return received


async def main(wanted: Size) -> None:
    needed = 2 * (wanted.rounds + 1) * wanted.operations + 1  # nobody is handed its package twice
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as folder:
        async with database() as made:
            eids = await settle_in(made, max(needed, wanted.euiccs))
            fresh = iter(eids)
            await order_and_seal(made, Path(folder), len(eids), _BATCH)
            await vacuum(made)
            await over_https(made, fresh, wanted)
            await in_the_service(made, fresh, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
