"""What a poll costs when nothing waits: over HTTPS against a constant answer, in the service against `SELECT 1`."""

import itertools
from collections.abc import Sequence
from typing import Final

import uvloop

from bench._estate import counted, database, here, one_connection, settle_in, vacuum
from bench._https import Device, Server, kept_alive, newly_connected, opened, servers
from bench._measuring import Contender, Done, Score, Size, compete, conditions, line, size
from eim.app import now
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.protocol.esipa import NO_PACKAGE, Poll, receive
from eim.services.polls import Polls, Seen
from eim.services.waiting import Waiters
from eim.sim import messages
from eim.store.connect import DbRole, Pool
from tests.database import Database

_STANDARD: Final = Size(rounds=7, operations=3000, euiccs=10_000)
_CONNECTIONS: Final = 32
_HANDSHAKE_SHARE: Final = 5  # a handshake costs as much as many polls


async def over_https(made: Database, eids: Sequence[Eid], wanted: Size) -> None:
    """Keep-alive and a new connection each, both beside the constant answer."""
    turn = itertools.cycle(eids)

    def some(count: int) -> list[Eid]:
        return list(itertools.islice(turn, count))

    def kept(name: str, server: Server, devices: Sequence[Device]) -> Contender:
        return Contender(name, lambda: kept_alive(devices, some(wanted.operations)), server.cpu)

    def fresh(name: str, server: Server) -> Contender:
        count = max(wanted.operations // _HANDSHAKE_SHARE, _CONNECTIONS)
        return Contender(name, lambda: newly_connected(server, some(count), _CONNECTIONS), server.cpu)

    with servers(made) as (eim, constant):
        async with opened(eim, _CONNECTIONS) as ours, opened(constant, _CONNECTIONS) as theirs:
            alive = [kept("eim", eim, ours), kept("constant", constant, theirs)]
            scores = await compete([*alive, fresh("eim new", eim), fresh("new", constant)], wanted.rounds)
    about = (f"{_CONNECTIONS} connections", f"{wanted.euiccs:,} eUICCs", "pool=8", f"{wanted.rounds} rounds")
    show("poll_nothing", scores["eim"], scores["constant"], "constant answer", "https keep-alive", *about)
    show(
        "poll_nothing_new", scores["eim new"], scores["new"], "constant answer", "https, TLS 1.3 handshake each", *about
    )
    ratio = scores["eim new"].over(scores["eim"])
    line("poll_connection", f"{ratio:.2f}x CPU of a keep-alive poll when each poll has its own TLS connection")


def show(name: str, ours: Score, baseline: Score, called: str, *about: str) -> None:
    line(
        name,
        f"{ours.over(baseline):.2f}x CPU of {called}",
        f"{ours.micros:,.0f} against {baseline.micros:,.0f} us",
        f"{ours.rate:,.0f} polls/s (baseline {baseline.rate:,.0f})",
        f"p50 {ours.percentile(0.5):.1f} ms p99 {ours.percentile(0.99):.1f} ms",
        conditions(*about),
    )


async def in_the_service(made: Database, eids: Sequence[Eid], wanted: Size) -> None:
    """One poll after the other on one connection, beside bare round trips on it."""
    pool = await one_connection(made, DbRole.DEVICE)
    polls = Polls(pool, Waiters(pool, 0.0), Seen(pool), now, NO_PACKAGE)
    turn = itertools.cycle(eids)

    async def poll() -> Done:
        for eid in itertools.islice(turn, wanted.operations):
            assert await polls.answer(_received(eid), "127.0.0.1") == NO_PACKAGE
        return Done(wanted.operations)

    async def select() -> Done:
        async with pool.acquire() as connection:
            for _ in range(wanted.operations):
                await connection.fetchval("SELECT 1")
        return Done(wanted.operations)

    scores = await compete([Contender("poll", poll, here()), Contender("select", select, here())], wanted.rounds)
    statements = await _statements(pool, polls, eids[0])
    await pool.close()
    ours, bare = scores["poll"], scores["select"]
    line(
        "poll_service",
        f"{ours.over(bare):.2f}x CPU of a bare SELECT 1",
        f"{ours.micros:,.0f} against {bare.micros:,.0f} us",
        f"{statements} statement a poll",
        conditions("no HTTP", "one after the other on 1 connection", "Postgres counted"),
    )


async def _statements(pool: Pool, polls: Polls, eid: Eid) -> int:
    async with counted(pool) as seen:
        await polls.answer(_received(eid), "127.0.0.1")
    return len(seen)


def _received(eid: Eid) -> Poll:
    received = receive(messages.poll(eid, Speaks.V1_2, None, None))
    assert isinstance(received, Poll)
    return received


async def main(wanted: Size) -> None:
    async with database() as made:
        eids = await settle_in(made, wanted.euiccs)
        await vacuum(made)
        await over_https(made, eids, wanted)
        await in_the_service(made, eids, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
