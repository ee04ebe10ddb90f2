"""What a whole cycle costs: bulk order over REST, seal, poll, signed result and acknowledgement over keep-alive TLS,
and the order that says "done".

A real `eim serve`: supervisor, three roles, its Postgres. The devices are in this process, which is not counted.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench import _records
from bench._cards import CARRIERS, Card, issue, settle_in
from bench._estate import postgres
from bench._https import Device, Server, opened, wrapped
from bench._measuring import Cpu, Size, conditions, cpu_of, line, size, tree
from eim import api, app, credentials, installation, logs
from eim.client import Client
from eim.config import Config, LogFormat, LogLevel
from eim.config_loading import load
from eim.installation import Running
from eim.postgres import Embedded
from eim.protocol.esipa import NO_PACKAGE
from eim.sim.https import trusting
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from eim.supervisor import Role

_STANDARD: Final = Size(rounds=3, operations=100_000, euiccs=100_000)
_CONNECTIONS: Final = 64
_HEAD: Final = 3  # octets of BF4F and a short length, before what is handed out
_FLUSHED_S: Final = 2.5  # after that long the last-seen times are written, too
_PATIENCE_S: Final = 60.0
_NOT_YET_S: Final = 0.02


class Round(msgspec.Struct, frozen=True):
    """One order for all cards, to its end."""

    cycles: int
    wall: float  # seconds
    cpu: Mapping[str, float]  # seconds of CPU time by process
    early: int  # polls that came before their package was sealed

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
        self._early = 0

    async def round(self) -> Round:
        """All cards to the other carrier."""
        async with opened(self._server, _CONNECTIONS) as devices:
            self._early = 0
            before, began = self._spent(), time.perf_counter()
            order = await self._order()
            waiting = iter(self._cards)
            await asyncio.gather(*(self._serve(device, waiting) for device in devices))
            await self._until_seen(order)
            wall = time.perf_counter() - began
            await asyncio.sleep(_FLUSHED_S)
            after = self._spent()
        self._to, self._from = self._from, self._to
        return Round(len(self._cards), wall, {name: after[name] - before[name] for name in after}, self._early)

    def _spent(self) -> dict[str, float]:
        return {name: cpu() for name, cpu in self._cpu.items()}

    async def _order(self) -> api.OrderAccepted:
        choice = api.ProfileChoice(service_provider=CARRIERS[self._to])
        asked = api.NewOrder("enable", all=True, profile=choice, confirm=len(self._cards))
        return await self._client.order(asked)

    async def _serve(self, device: Device, waiting: Iterator[Card]) -> None:
        for card in waiting:
            while (answer := await device.post(wrapped(card.poll))) == NO_PACKAGE:
                self._early += 1
                await asyncio.sleep(_NOT_YET_S)
            provided = await device.post(wrapped(card.execute(_inner(answer))))
            assert card.is_acknowledged(provided), provided.hex()

    async def _until_seen(self, order: api.OrderAccepted) -> None:
        until = time.monotonic() + _PATIENCE_S
        while (stands := await self._client.order_progress(order.order)).states.get("done", 0) < len(self._cards):
            assert time.monotonic() < until, f"all results are acknowledged, but the order says {stands.states}"
            await asyncio.sleep(0.2)


def _inner(answer: bytes) -> bytes:
    return answer[_HEAD:] if answer[2] < 0x80 else answer[_HEAD + (answer[2] & 0x7F) :]


def _report(rounds: Sequence[Round], wanted: Size) -> None:
    figure = statistics.median(each.a_second for each in rounds)
    shares = {name: statistics.median(each.micros(name) for each in rounds) for name in rounds[0].cpu}
    about = conditions(
        f"{wanted.euiccs:,} eUICCs",
        "enable",
        f"{_CONNECTIONS} TLS connections kept alive",
        "durable commits",
        f"{len(rounds)} rounds",
    )
    line(
        "full_cycle",
        f"{figure:,.0f} cycles a CPU-second of server and database",
        ", ".join(f"{name} {micros:,.0f} us" for name, micros in shares.items()),
        f"{statistics.median(each.cycles / each.wall for each in rounds):,.0f} cycles/s seen",
        f"{sum(each.early for each in rounds):,} polls before the seal",
        about,
    )
    _records.record("full_cycle", figure, None, figure, about)
    database = shares["postgres"]
    _records.cost("cycle", sum(shares.values()) - database, database, about)


async def measure(running: Running, pki: Pki, wanted: Size) -> None:
    assert running.embedded is not None
    cards, candidates = issue(pki, wanted.euiccs)
    embedded = running.embedded
    logins = (embedded.dsn(DbRole.OPERATOR), embedded.dsn(DbRole.OWNER), embedded.superuser_dsn("eim"))
    await settle_in(logins, pki, candidates)
    host, port = running.operator
    token = running.token_file.read_text().strip()
    async with Client(f"http://{host}:{port}", token) as client:
        bench = Bench(cards, client, _server(running), _by_process(running))
        rounds = [await bench.round() for _ in range(wanted.rounds + 1)]
    _report(rounds[1:], wanted)


def _by_process(running: Running) -> dict[str, Cpu]:
    def of(role: Role) -> Cpu:
        pid = running.supervisor.pid(role)
        assert pid is not None, f"the {role} role is down"
        return cpu_of(lambda: tree(pid))

    return {role.value: of(role) for role in Role} | {"postgres": cpu_of(postgres)}


def _server(running: Running) -> Server:
    config = running.config
    files = credentials.device_tls(config, credentials.own_identity(config), app.now())
    assert files.ca is not None
    return Server(running.device[1], trusting(files.ca.read_text()), float)


def _configure(folder: Path, pki: Pki) -> Config:
    root = folder / "root.pem"
    root.write_bytes(pki.root_pem)
    ours = {
        "EIM_SERVER_DATA_DIR": str(folder / "data"),
        "EIM_SERVER_LOG_LEVEL": "warning",
        "EIM_DEVICE_HOST": "127.0.0.1",
        "EIM_DEVICE_PORT": "0",
        "EIM_OPERATOR_PORT": "0",
        "EIM_TRUST_ROOTS": str(root),
    }
    return load(None, ours).config


async def main(wanted: Size) -> None:
    logs.configure(LogLevel.WARNING, LogFormat.TEXT, "bench")
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as name:
        folder, pki = Path(name), Pki.new()
        config = _configure(folder, pki)

        async def during(running: Running) -> None:
            await measure(running, pki, wanted)

        try:
            await installation.run(config, during)
        finally:
            await Embedded(config.server.data_dir / installation.POSTGRES).remove()


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
