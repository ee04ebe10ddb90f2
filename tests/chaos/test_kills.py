"""A fleet changes carrier, and back, while the roles and the database are killed: the cards' journals judge."""

import asyncio
import os
import random
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
import pytest
import structlog

from eim import api, demo, installation
from eim.client import Client
from eim.demo import Patient
from eim.domain.ids import Eid, format_eid, format_iccid
from eim.installation import Running
from eim.postgres import Embedded
from eim.postgres.processes import living_in
from eim.sim.behaviour import Behaviour
from eim.sim.fleet import CARRIER_A, CARRIER_B, Fleet, Kind, Make, Pace
from eim.sim.journal import Journal, Report, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole, Pool, open_pool
from eim.supervisor import Role
from tests.chaos.evidence import faults

_FAULTY: Final = Behaviour(lossy=0.05, duplicating=0.1, dies=0.05, reboot=1.0)
_OPEN: Final = """
    SELECT count(*) FROM operations
     WHERE state NOT IN ('done', 'failed', 'withdrawn', 'expired') AND NOT eid = ANY ($1::bytea[])
"""
_ASKED: Final = "SELECT count(*) FROM requests WHERE NOT eid = ANY ($1::bytea[])"
_BELIEVED: Final = "SELECT eid, iccid FROM profiles WHERE state = 'enabled'"
_LEASES: Final = (
    "SELECT count(DISTINCT holder) AS holders, count(*) FILTER (WHERE expires_at > now()) AS held FROM leases"
)
_ORDERED: Final = """
    SELECT o.size, count(p.id) AS operations FROM orders o LEFT JOIN operations p ON p.order_id = o.id GROUP BY o.id
"""

_log = structlog.get_logger()


class Size(msgspec.Struct, frozen=True):
    devices: int
    kills: int
    pause: float  # seconds between two kills, about
    patience: float  # seconds for the whole


class Chaos:
    """Guards one run: a fleet that is ordered to and fro, and who kills meanwhile."""

    def __init__(self, fleet: Fleet, size: Size, seed: int) -> None:
        self._fleet = fleet
        self._size = size
        self._chance = random.Random(seed)
        self._asleep = [card.euicc.eid for card in fleet.cards if card.kind is Kind.SLEEPER]
        self._killed = asyncio.Event()
        self.kills: list[str] = []
        self.orders = 0
        self.found: list[str] = []

    async def during(self, running: Running) -> None:
        """What happens while the installation runs."""
        async with asyncio.timeout(self._size.patience):
            await self._play(running)

    async def _play(self, running: Running) -> None:
        host, port = running.operator
        address, token = f"http://{host}:{port}", running.token_file.read_text().strip()
        line, stop = demo._connect(self._fleet, running), asyncio.Event()
        assert running.embedded is not None
        async with Client(address, token, transport=Patient(30)) as client, asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(line, stop, Pace(ramp=1.0, interval=1.5)))
            group.create_task(self._kill(running))
            try:
                await self._order_around(client, running.embedded)
            finally:
                stop.set()
        await self._judge(running.embedded)

    async def _order_around(self, client: Client, embedded: Embedded) -> None:
        """To B and back to A as long as there are kills to come, and once without."""
        new = tuple(api.NewEuicc(format_eid(card.euicc.eid)) for card in self._fleet.cards)
        await client.add_euiccs(api.NewEuiccs(new))
        await self._quiet(embedded)
        carriers = [CARRIER_B, CARRIER_A]
        last = False
        while not last or self.orders < 2:
            last = self._killed.is_set()
            choice = api.ProfileChoice(service_provider=carriers[self.orders % 2])
            many = (await client.summary()).euiccs  # an order this large says how many it means
            await client.order(api.NewOrder("enable", all=True, profile=choice, rollback=True, confirm=many))
            self.orders += 1
            await self._quiet(embedded)

    async def _quiet(self, embedded: Embedded) -> None:
        """Until nothing is left to do for devices that are awake."""
        while await self._left(embedded):  # noqa: ASYNC110 - the database is asked
            await asyncio.sleep(0.5)

    async def _left(self, embedded: Embedded) -> int:
        """How much there is to do; something, when the database can't say."""
        try:
            pool = await _owner(embedded)
        except Exception:  # noqa: BLE001 - it was just killed
            return 1
        try:
            return int(await pool.fetchval(_OPEN, self._asleep)) + int(await pool.fetchval(_ASKED, self._asleep))
        except Exception:  # noqa: BLE001
            return 1
        finally:
            pool.terminate()

    async def _kill(self, running: Running) -> None:
        """Kill each role in turn by chance, and the database every fifth time."""
        while len(self.kills) < self._size.kills:
            await asyncio.sleep(self._size.pause * self._chance.uniform(0.3, 1.7))
            role = self._chance.choice(list(Role))
            if len(self.kills) % 5 == 2:
                _kill_database(running.embedded)
                self.kills.append("database")
            elif (pid := running.supervisor.pid(role)) is not None:
                os.kill(pid, signal.SIGKILL)
                self.kills.append(role.value)
        self._killed.set()

    async def _judge(self, embedded: Embedded) -> None:
        report = check(self._fleet.journal.entries)
        pool = await _owner(embedded)
        try:
            self.found += await faults(pool, self._fleet.journal.entries)
            self.found += await self._differing(pool, report)
            leases = await pool.fetchrow(_LEASES)
            if leases is None or (leases["holders"], leases["held"]) != (1, 1024):
                self.found.append(f"the leases are held by somebody who is gone: {leases}")
            for row in await pool.fetch(_ORDERED):
                if row["size"] != row["operations"]:
                    self.found.append(f"an order of {row['size']} has {row['operations']} operations")
        finally:
            pool.terminate()

    async def _differing(self, pool: Pool, report: Report) -> list[str]:
        believed = {format_eid(Eid(row["eid"])): format_iccid(row["iccid"]) for row in await pool.fetch(_BELIEVED)}
        awake = self._awake()
        return [
            f"{eid} has {report.enabled[eid]} enabled, the eIM believes {believed.get(eid)}"
            for eid in awake
            if believed.get(eid) != report.enabled[eid]
        ]

    def _awake(self) -> Collection[str]:
        return [format_eid(card.euicc.eid) for card in self._fleet.cards if card.kind is not Kind.SLEEPER]


@pytest.mark.xdist_group("serving")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(Size(devices=60, kills=5, pause=2.5, patience=110), id="smoke"),
        pytest.param(Size(devices=300, kills=20, pause=3.0, patience=600), id="full", marks=pytest.mark.slow),
    ],
)
async def test_a_fleet_survives_the_kills_of_roles_and_database(tmp_path: Path, size: Size) -> None:
    with Journal.to_file(demo._now, tmp_path / "journal.ndjson") as journal:
        fleet = Fleet(Pki.new(), size.devices, journal, Make(0, 0.04, 0.02, _FAULTY))
        config = demo._configure(tmp_path, fleet.pki)
        chaos = Chaos(fleet, size, seed=int.from_bytes(os.urandom(4), "big"))
        try:
            code = await installation.run(config, chaos.during, tmp_path / "eim.log")
        finally:
            await Embedded(tmp_path / "data" / "postgres").remove()
    report = check(fleet.journal.entries)
    _log.info("chaos", kills=chaos.kills, orders=chaos.orders, executed=report.executed, back=report.rolled_back)
    assert report.sound, (report.twice, report.conflicting, report.repeated)
    assert chaos.found == []
    assert code == 0
    assert report.executed >= size.devices * (1 + chaos.orders) * 0.8
    assert _unforeseen((tmp_path / "eim.log").read_text()) == []


def _unforeseen(log: str) -> list[str]:
    """What a role did not expect: the last lines of each traceback in its log."""
    return ["\n".join(part.split("\n20")[0].splitlines()[-8:]) for part in log.split("Traceback")[1:]]


async def _owner(embedded: Embedded) -> Pool:
    return await open_pool(embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)


def _kill_database(embedded: Embedded | None) -> None:
    """The postmaster and all its children, as when the machine's memory runs out."""
    assert embedded is not None
    assert embedded._home is not None
    for pid in living_in(embedded._home.data):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
