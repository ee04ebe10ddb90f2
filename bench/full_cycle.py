"""What a whole cycle costs: bulk order over REST, seal, poll, signed result and acknowledgement over keep-alive TLS,
and the order that says "done".

A real `eim serve`: supervisor, three roles, its Postgres. The devices are in this process, which is not counted.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec
import uvloop

from bench import _records
from bench._cards import CARRIERS, Card, inner, issue, settle_in
from bench._https import Device, Server, opened, wrapped
from bench._measuring import Cpu, Size, conditions, line, size
from bench._serving import by_process, door, logins, operator, serve
from eim import api
from eim.client import Client
from eim.installation import Running
from eim.protocol.esipa import NO_PACKAGE
from eim.sim.pki import Pki

_STANDARD: Final = Size(rounds=3, operations=100_000, euiccs=100_000)
_CONNECTIONS: Final = 256
_FEW: Final = 64  # connections: less that comes at once shares a transaction
_KIB: Final = 1024
_STORED: Final = """
    SELECT pg_database_size(current_database()),
           pg_total_relation_size('eim.mailbox') + pg_relation_size('eim.euiccs_pkey'),
           pg_current_wal_lsn() - '0/0'::pg_lsn
"""
_FLUSHED_S: Final = 2.5  # after that long the last-seen times are written, too
_PATIENCE_S: Final = 60.0
_NOT_YET_S: Final = 0.02
_BUSY_S: Final = 0.5


class Round(msgspec.Struct, frozen=True):
    """One order for all cards, to its end."""

    cycles: int
    wall: float  # seconds
    cpu: Mapping[str, float]  # seconds of CPU time by process
    early: int  # polls that came before their package was sealed
    busy: int  # answers that said "later"

    @property
    def a_second(self) -> float:
        """Cycles a second of CPU time, of server and database together."""
        return self.cycles / sum(self.cpu.values())

    def micros(self, process: str) -> float:
        return self.cpu[process] / self.cycles * 1e6


class Bench:
    """Guards the cards and which carrier they are on."""

    def __init__(self, cards: Sequence[Card], client: Client, server: Server, cpu: Mapping[str, Cpu]) -> None:
        self._cards = cards
        self._client = client
        self._server = server
        self._cpu = cpu
        self._to, self._from = 1, 0
        self._early = self._busy = 0

    async def round(self, connections: int = _CONNECTIONS) -> Round:
        """All cards to the other carrier."""
        async with opened(self._server, connections) as devices:
            self._early = self._busy = 0
            before, began = self._spent(), time.perf_counter()
            order = await self._order()
            waiting = iter(self._cards)
            await asyncio.gather(*(self._serve(device, waiting) for device in devices))
            await self._until_seen(order)
            wall = time.perf_counter() - began
            await asyncio.sleep(_FLUSHED_S)
            after = self._spent()
        self._to, self._from = self._from, self._to
        return Round(
            len(self._cards), wall, {name: after[name] - before[name] for name in after}, self._early, self._busy
        )

    def _spent(self) -> dict[str, float]:
        return {name: cpu() for name, cpu in self._cpu.items()}

    async def _order(self) -> api.OrderAccepted:
        choice = api.ProfileChoice(service_provider=CARRIERS[self._to])
        asked = api.NewOrder("enable", all=True, profile=choice, confirm=len(self._cards))
        return await self._client.order(asked)

    async def _serve(self, device: Device, waiting: Iterator[Card]) -> None:
        for card in waiting:
            while (answer := await self._post(device, card.poll)) == NO_PACKAGE:
                self._early += 1
                await asyncio.sleep(_NOT_YET_S)
            provided = await self._post(device, card.execute(inner(answer)))
            assert card.is_acknowledged(provided), provided.hex()

    async def _post(self, device: Device, body: bytes) -> bytes:
        """The answer, asked for again as often as the server says that it is busy."""
        request = wrapped(body)
        while True:
            try:
                return await device.post(request)
            except ConnectionError as error:
                if "b'503" not in str(error):
                    raise
                self._busy += 1
                await asyncio.sleep(_BUSY_S)

    async def _until_seen(self, order: api.OrderAccepted) -> None:
        until = time.monotonic() + _PATIENCE_S
        while (stands := await self._client.order_progress(order.order)).states.get("done", 0) < len(self._cards):
            assert time.monotonic() < until, f"all results are acknowledged, but the order says {stands.states}"
            await asyncio.sleep(0.2)


def _report(rounds: Sequence[Round], few: Sequence[Round], wanted: Size) -> None:
    figure = statistics.median(each.a_second for each in rounds)
    with_few = statistics.median(each.a_second for each in few)
    shares = {name: statistics.median(each.micros(name) for each in rounds) for name in rounds[0].cpu}
    about = conditions(
        f"{wanted.euiccs:,} eUICCs",
        "enable",
        f"{_CONNECTIONS} TLS connections kept alive (with {_FEW}: {with_few:,.0f})",
        "durable commits",
        f"{len(rounds)} rounds",
    )
    line(
        "full_cycle",
        f"{figure:,.0f} cycles a CPU-second of server and database",
        ", ".join(f"{name} {micros:,.0f} us" for name, micros in shares.items()),
        f"{statistics.median(each.cycles / each.wall for each in rounds):,.0f} cycles/s seen",
        f"{sum(each.early for each in rounds):,} polls before the seal",
        f"{sum(each.busy for each in rounds):,} times busy",
        about,
    )
    _records.record("full_cycle", figure, None, figure, about)
    database = shares["postgres"]
    _records.cost("cycle", sum(shares.values()) - database, database, about)


async def measure(running: Running, pki: Pki, wanted: Size) -> None:
    cards, candidates = issue(pki, wanted.euiccs)
    await settle_in(logins(running), pki, candidates)
    async with operator(running) as client, _looking(running) as stored:
        before = await stored()
        bench = Bench(cards, client, door(running), by_process(running))
        rounds = [(await bench.round(), await bench.round(_FEW)) for _ in range(wanted.rounds + 1)]
        after = await stored()
    many, few = zip(*rounds[1:], strict=True)
    _report(many, few, wanted)
    _report_stored(before, after, wanted)


class Stored(msgspec.Struct, frozen=True):
    """Octets: of the database, of what every poll reads of it, and of WAL written so far."""

    whole: int
    hot: int
    wal: int


@asynccontextmanager
async def _looking(running: Running) -> AsyncIterator[Callable[[], Awaitable[Stored]]]:
    connection = await asyncpg.connect(logins(running)[2])

    async def look() -> Stored:
        row = await connection.fetchrow(_STORED)
        assert row is not None
        return Stored(*map(int, row))

    try:
        yield look
    finally:
        await connection.close()


def _report_stored(before: Stored, after: Stored, wanted: Size) -> None:
    cycles = 2 * (wanted.rounds + 1) * wanted.euiccs
    euicc, hot = before.whole / wanted.euiccs / _KIB, before.hot / wanted.euiccs / _KIB
    kept, wal = ((getattr(after, name) - getattr(before, name)) / cycles / _KIB for name in ("whole", "wal"))
    about = conditions(f"{wanted.euiccs:,} eUICCs", f"{cycles:,} cycles", "full-page writes on")
    line(
        "full_cycle_disk",
        f"{euicc:.1f} KiB an eUICC, {hot:.2f} KiB of it read by polls",
        f"{kept:.1f} KiB stay of a cycle, {wal:.1f} KiB of WAL",
        about,
    )
    for name, kib in (("stored_euicc", euicc), ("hot_euicc", hot), ("stored_cycle", kept), ("wal_cycle", wal)):
        _records.cost(name, 0.0, kib, about)


async def main(wanted: Size) -> None:
    pki = Pki.new()

    async def during(running: Running) -> None:
        await measure(running, pki, wanted)

    await serve(pki, during)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
