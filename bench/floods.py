"""What known devices notice of a flood: the tail of their polls alone, and beside strangers or the very slow.

Strangers poll for EIDs that nobody onboarded, as many a second as asked for, with the limit on guessing switched off:
as if each came from a network of its own. The slow open thousands of connections and never end their handshake, or
never end their request. Beside as many polls of known devices is what the machine itself makes of that load: client
and server share its cores.
"""

import asyncio
import resource
import ssl
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import uvloop

from bench._estate import database, settle_in, vacuum
from bench._https import Server, request, servers
from bench._load import wrk
from bench._measuring import Size, conditions, line, size
from bench._paced import Requests, Seen
from bench.tls_memory import resident
from eim.domain.ids import Eid
from eim.sim.pki import EIN, eids

_STANDARD: Final = Size(rounds=3, operations=10, euiccs=20_000)  # operations: seconds of each load
_DEVICES: Final = 200  # polls of known devices a second, whose latency is what is told
_FLOOD: Final = 20_000  # polls a second
_STRANGERS: Final = 100_000
_SLOW: Final = 5_000  # connections
_AT_ONCE: Final = 200
_HALF: Final = 40  # octets of a request; of a handshake there comes nothing
_MIB: Final = 1 << 20
_SETTINGS: Final = {"EIM_DEVICE_GUESSES_A_SECOND": "0"}


class Beside(msgspec.Struct):
    """What known devices saw beside one kind of load, a figure a round, and what it cost in memory."""

    seen: list[Seen] = []
    memory: int = 0  # octets, the most that the process grew by

    @property
    def p99(self) -> float:
        """Milliseconds, the median of the rounds."""
        return statistics.median(each.p99 for each in self.seen)


class Bench:
    """Guards the loads on one device process."""

    def __init__(self, server: Server, known: Sequence[Eid], wanted: Size) -> None:
        self._server = server
        self._url = f"https://127.0.0.1:{server.port}/"
        self._seconds = wanted.operations
        self._devices = Requests([request(eid) for eid in known], 32)
        self._crowd = Requests([request(eid) for eid in known])
        strangers = eids(EIN, len(known) + _STRANGERS)[len(known) :]
        self._strangers = Requests([request(eid) for eid in strangers])

    def close(self) -> None:
        for load in (self._devices, self._crowd, self._strangers):
            load.close()

    async def round(self, kinds: dict[str, Beside]) -> None:
        """Each kind of load once."""
        await self._watch(kinds["alone"], None)
        await self._watch(kinds["crowd"], self._crowd)
        await self._watch(kinds["strangers"], self._strangers)
        for name, octets in (("no handshake", None), ("half a request", request(Eid(bytes(16)))[:_HALF])):
            before = resident(self._server.pid)
            async with _slow(self._server, octets):
                await self._watch(kinds[name], None, before)

    async def _watch(self, kind: Beside, load: Requests | None, before: int | None = None) -> None:
        """The known devices' polls beside `load`; the process's memory is set against what it was `before`."""
        before = resident(self._server.pid) if before is None else before
        # The load lasts longer than what is watched, so that none of that runs without it.
        flood = asyncio.create_task(load.paced(self._url, self._seconds + 1, _FLOOD)) if load else None
        kind.seen.append(await self._devices.paced(self._url, self._seconds, _DEVICES))
        if flood is not None:
            await flood
        kind.memory = max(kind.memory, resident(self._server.pid) - before)


@asynccontextmanager
async def _slow(server: Server, octets: bytes | None) -> AsyncIterator[None]:
    """Connections that have sent these octets, or no handshake when there are none, and go on sending nothing.

    Whatever the server has dropped at its deadline is opened anew, all the time.
    """
    context: ssl.SSLContext | None = None if octets is None else server.context

    async def keep() -> None:
        while True:
            with suppress(OSError, ssl.SSLError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", server.port, ssl=context, server_hostname="localhost" if context else None
                )
                try:
                    writer.write(octets or b"")
                    await reader.read()
                finally:
                    writer.close()

    many: list[asyncio.Task[None]] = []
    try:
        for _ in range(0, _SLOW, _AT_ONCE):
            many += [asyncio.create_task(keep()) for _ in range(_AT_ONCE)]
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        yield
    finally:
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)


def _show(kinds: dict[str, Beside], wanted: Size) -> None:
    about = conditions(
        f"{_DEVICES} polls/s of {wanted.euiccs:,} known devices",
        f"{_FLOOD:,} polls/s beside them",
        f"{_SLOW:,} slow connections",
        f"{wanted.rounds} rounds of {wanted.operations} s",
        "clients on the same cores",
    )
    alone, crowd = kinds["alone"], kinds["crowd"]
    for name, kind in kinds.items():
        line(
            f"floods_{name.replace(' ', '_')}",
            f"p99 {kind.p99:.2f} ms",
            f"{kind.p99 / alone.p99:.2f}x of alone",
            f"{kind.p99 / crowd.p99:.2f}x of beside known devices",
            f"{kind.memory / _MIB:.1f} MiB more memory",
            about,
        )


async def main(wanted: Size) -> None:
    if wrk() is None:
        print("floods: left out, wrk is not installed (apt-get install wrk)")
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with database() as made:
        known = await settle_in(made, wanted.euiccs)
        await vacuum(made)
        kinds = {name: Beside() for name in ("alone", "crowd", "strangers", "no handshake", "half a request")}
        with servers(made, _SETTINGS) as (eim, _):
            bench = Bench(eim, known, wanted)
            try:
                for _ in range(wanted.rounds):
                    await bench.round(kinds)
            finally:
                bench.close()
        rows = await made.owner().fetchval("SELECT count(*) FROM euiccs")
        assert rows == wanted.euiccs, "a stranger made a row"
    _show(kinds, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
