"""The tail under a mixed load: p50, p99 and p99.9 of empty polls at 50 % and 90 % of what saturates the server.

Two loads run beside each other over keep-alive TLS on a real `eim serve`: empty polls, whose latency is what is told,
and devices that bring the signed result of a package that they were handed shortly before.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import uvloop

from bench import _records
from bench._cards import CARRIERS, Card, inner, issue, settle_in
from bench._https import Device, Server, opened, request, wrapped
from bench._load import wrk
from bench._measuring import Cpu, Size, conditions, line, size
from bench._paced import CONNECTIONS, Requests, Seen
from bench._serving import by_process, door, logins, operator, serve
from eim import api
from eim.client import Client
from eim.domain.ids import Eid, format_eid
from eim.installation import Running
from eim.services.onboarding import Candidate
from eim.sim.pki import EIN, Pki, eids

_STANDARD: Final = Size(rounds=3, operations=10, euiccs=100_000)  # operations: seconds at each level
_LEVELS: Final = (0.5, 0.9)
_SHARE: Final = 0.02  # results, in polls
_WORKING: Final = 4  # connections of devices with results
_CARDS: Final = 4_000  # that may have work, half of them at once
_PREPARING: Final = 16  # connections
_PATIENCE_S: Final = 120
_GATE: Final = 20  # p99 may be that many p50

T = TypeVar("T")


class Level(msgspec.Struct, frozen=True):
    """What was seen at one level: empty polls, and the work beside them."""

    empty: Seen
    work: float  # results a second


class Working:
    """Guards the cards that have work: which carrier each is on."""

    def __init__(self, cards: Sequence[Card], client: Client, server: Server) -> None:
        self._on = [list(cards), list[Card]()]  # by carrier
        self._client = client
        self._server = server

    @property
    def most(self) -> int:
        """So many can be given work at once."""
        return max(map(len, self._on))

    async def prepare(self, many: int) -> list[bytes]:
        """Order, wait for the seal, hand out and let each card execute: the results they then bring."""
        of = 0 if len(self._on[0]) >= len(self._on[1]) else 1
        cards, self._on[of] = self._on[of][:many], self._on[of][many:]
        self._on[1 - of] += cards
        await self._order(cards, CARRIERS[1 - of])
        sent: list[bytes] = []

        async def execute(device: Device, card: Card) -> None:
            sent.append(wrapped(card.execute(inner(await device.post(wrapped(card.poll))))))

        await self._with_each(cards, execute)
        return sent

    async def finish(self, sent: Sequence[bytes]) -> None:
        """Bring the results again: whoever's did not get its turn has it now."""

        async def post(device: Device, result: bytes) -> None:
            await device.post(result)

        await self._with_each(sent, post)

    async def _order(self, cards: Sequence[Card], carrier: str) -> None:
        choice, named = api.ProfileChoice(service_provider=carrier), tuple(format_eid(card.eid) for card in cards)
        asked = api.NewOrder("enable", eids=named, profile=choice, confirm=len(named))
        order = await self._client.order(asked)
        async with asyncio.timeout(_PATIENCE_S):
            while (await self._client.order_progress(order.order)).states.get("accepted", 0):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _with_each(self, things: Sequence[T], call: Callable[[Device, T], Awaitable[None]]) -> None:
        waiting = iter(things)

        async def take_turns(device: Device) -> None:
            for thing in waiting:
                await call(device, thing)

        async with opened(self._server, _PREPARING) as devices:
            await asyncio.gather(*map(take_turns, devices))


class Bench:
    """Guards the two loads."""

    def __init__(self, working: Working, idle: Sequence[Eid], server: Server, cpu: Mapping[str, Cpu]) -> None:
        self._working = working
        self._cpu = cpu
        self.poll: Mapping[str, float] = {}  # microseconds of CPU time of an empty poll by process, after `saturation`
        self._url = f"https://127.0.0.1:{server.port}/"
        self._empty = Requests([request(eid) for eid in idle])

    def close(self) -> None:
        self._empty.close()

    async def saturation(self, seconds: int) -> float:
        """Empty polls a second that the server answers with some work beside them."""
        before = {name: cpu() for name, cpu in self._cpu.items()}
        alone = await self._empty.saturating(self._url, max(seconds // 2, 1))
        polls = alone.rate * max(seconds // 2, 1)
        self.poll = {name: (cpu() - before[name]) / polls * 1e6 for name, cpu in self._cpu.items()}
        level = await self._beside(lambda: self._empty.saturating(self._url, seconds), alone.rate / 2, seconds)
        return level.empty.rate

    async def level(self, rate: float, seconds: int) -> Level:
        return await self._beside(lambda: self._empty.paced(self._url, seconds, rate), rate, seconds)

    async def _beside(self, empties: Callable[[], Awaitable[Seen]], rate: float, seconds: int) -> Level:
        """Run `empties` with the work that belongs to so many polls a second."""
        many = max(1, min(self._working.most, round(_SHARE * rate * seconds)))
        sent = await self._working.prepare(many)
        work = Requests(sent, _WORKING)
        try:
            empty, worked = await asyncio.gather(empties(), work.paced(self._url, seconds, many / seconds))
        finally:
            work.close()
        await self._working.finish(sent)
        return Level(empty, worked.rate)


async def measure(running: Running, pki: Pki, wanted: Size) -> None:
    cards, candidates = issue(pki, min(_CARDS, wanted.euiccs))
    idle = eids(EIN, len(cards) + wanted.euiccs)[len(cards) :]
    await settle_in(logins(running), pki, [*candidates, *(Candidate(eid=format_eid(eid)) for eid in idle)])
    async with operator(running) as client:
        server = door(running)
        bench = Bench(Working(cards, client, server), idle, server, by_process(running))
        try:
            saturated = await bench.saturation(wanted.operations)
            seen = {share: list[Level]() for share in _LEVELS}
            for _ in range(wanted.rounds):
                for share in _LEVELS:
                    seen[share].append(await bench.level(share * saturated, wanted.operations))
        finally:
            bench.close()
    _report(seen, saturated, wanted)
    about = conditions(f"{CONNECTIONS} TLS connections", f"{wanted.euiccs:,} eUICCs", "nothing else")
    _records.cost("poll_tls", bench.poll["device"], bench.poll["postgres"], about)


def _report(seen: Mapping[float, Sequence[Level]], saturated: float, wanted: Size) -> None:
    for share, levels in seen.items():
        p50, p99, p999, rate = (
            statistics.median(getattr(level.empty, name) for level in levels) for name in ("p50", "p99", "p999", "rate")
        )
        ratio = statistics.median(_GATE * level.empty.p50 / level.empty.p99 for level in levels)
        work = statistics.median(level.work for level in levels)
        about = conditions(
            f"{share:.0%} of {saturated:,.0f} polls/s", f"{wanted.euiccs:,} eUICCs", f"{CONNECTIONS} TLS connections",
            f"{wanted.rounds} rounds of {wanted.operations} s", "client on the same cores",
        )  # fmt: skip
        line(
            f"mixed_{share * 100:.0f}",
            f"p50 {p50:.2f} ms  p99 {p99:.2f} ms  p99.9 {p999:.2f} ms",
            f"p50 x {_GATE} / p99 {ratio:.2f}",
            f"{rate:,.0f} empty polls/s with {work:,.0f} results/s beside them",
            about,
        )
        if share == _LEVELS[0]:
            _records.record("tail", p99, _GATE * p50, ratio, about)


async def main(wanted: Size) -> None:
    if wrk() is None:
        print("mixed: left out, wrk is not installed (apt-get install wrk)")
        return
    pki = Pki.new()

    async def during(running: Running) -> None:
        await measure(running, pki, wanted)

    await serve(pki, during)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
