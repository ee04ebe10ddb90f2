"""The database's disk is full, and then has room again: "later" meanwhile, nothing acknowledged is lost (test 7).

The disk is a small one of its own, in memory; who may not mount one can't run this.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import httpx2
import pytest

from eim import api, demo, installation
from eim.client import Client
from eim.domain.ids import format_eid
from eim.errors import Unavailable
from eim.installation import Running
from eim.postgres import Embedded
from eim.postgres import home as homes
from eim.protocol.esipa import NO_PACKAGE
from eim.sim import messages
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Fleet, Make
from eim.sim.https import NoAnswer
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole, open_pool
from eim.supervisor import Role
from tests.chaos.evidence import faults
from tests.chaos.test_losses import _execute, _poll, _provide
from tests.services.rig import inner

pytestmark = pytest.mark.xdist_group("serving")

_CARDS: Final = 12
_MEGABYTES: Final = 160
_ENOUGH: Final = 15  # answers "later", of devices and of operators, before there is room again
_FULL_S: Final = 45.0  # longer than a supervisor of the database waits between its first tries
_RECOVERY_S: Final = 60.0
_FILLER: Final = "CREATE TABLE eim.filler AS SELECT repeat(md5(n::text), 50) FROM generate_series(1, 20000) n"
_MORE: Final = "INSERT INTO eim.filler SELECT * FROM eim.filler LIMIT 20000"
_STATES: Final = "SELECT id, state FROM operations WHERE ordered_by <> 'eim'"
_KNOWN: Final = "SELECT octets FROM results"


class Disk(StrEnum):
    ALL = "all"  # data and log on one disk
    LOG = "log"  # the write-ahead log on a disk of its own


class Small:
    """Guards a small disk at `place`, and the file that fills it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def mount(self) -> None:
        """Raises pytest's Skipped where that is not allowed."""
        self.place.mkdir(mode=0o711, parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m,mode=0711", "tmpfs", str(self.place)]
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root may mount a small disk")
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small disk may not be mounted here")

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def free(self) -> None:
        self._ballast.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], capture_output=True, check=False)
        shutil.rmtree(self.place, ignore_errors=True)


class Full:
    """Guards one installation: what devices and operators do while its disk is full, and what they hear."""

    def __init__(self, fleet: Fleet, running: Running, disk: Disk, small: Small) -> None:
        self._fleet = fleet
        self._running = running
        self._disk = disk
        self._small = small
        self._line = demo._connect(fleet, running)
        self._stop = asyncio.Event()
        self.heard: Counter[str] = Counter()
        self.accepted: list[UUID] = []  # orders that were answered
        self.acknowledged: list[bytes] = []  # results that their cards were told to forget

    async def play(self) -> None:
        host, port = self._running.operator
        token = self._running.token_file.read_text().strip()
        async with Client(f"http://{host}:{port}", token) as client:
            cards = [card.euicc for card in self._fleet.cards]
            await client.add_euiccs(api.NewEuiccs(tuple(api.NewEuicc(format_eid(card.eid)) for card in cards)))
            before = {role: self._running.supervisor.pid(role) for role in Role}
            async with asyncio.TaskGroup() as group:
                for card in cards:
                    group.create_task(self._live(card))
                ordering = group.create_task(self._order(client, cards))
                await self._fill_and_free()
                ordering.cancel()
                await self._until(self._all_done, "what was accepted is not done")
                self._stop.set()
            assert {role: self._running.supervisor.pid(role) for role in Role} == before, "a role was started anew"
        await self._judge()

    async def _fill_and_free(self) -> None:
        await self._until(lambda: self._came(self.heard["result 200"] > _CARDS), "nothing works before")
        self._small.fill()
        filling = asyncio.create_task(self._use_up())
        try:
            await self._until(lambda: self._came(self._later() >= _ENOUGH), "the disk is never full")
            if self._disk is Disk.LOG:  # with room for the log, what only reads is answered all the time
                await self._until(self._is_unready, "it says that it is ready")
            await asyncio.sleep(_FULL_S)
        finally:
            filling.cancel()
            self._small.free()
        began, before, orders = time.monotonic(), self.heard["result 200"], len(self.accepted)
        await self._until(
            lambda: self._came(self.heard["result 200"] > before + _CARDS and len(self.accepted) > orders),
            "it does not come back",
        )
        print(f"back after {time.monotonic() - began:.1f} s, {dict(self.heard)}")  # noqa: T201 - what it found
        assert time.monotonic() - began < _RECOVERY_S

    def _later(self) -> int:
        return sum(many for what, many in self.heard.items() if what.endswith(" 503"))

    async def _came(self, it: bool) -> bool:
        return it

    async def _until(self, holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        try:
            async with asyncio.timeout(_RECOVERY_S + _FULL_S):
                while not await holds():  # noqa: ASYNC110 - others are asked
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{otherwise}: {dict(self.heard)}") from None

    async def _is_unready(self) -> bool:
        (host, port), (name, other) = self._running.device, self._running.operator
        async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
            asked = [f"https://{host}:{port}/readyz", f"http://{name}:{other}/readyz"]
            return any([(await client.get(address)).status_code == 503 for address in asked])

    async def _use_up(self) -> None:
        """Take what room there is left, again and again: also what others may give back."""
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection = await asyncpg.connect(self._embedded.superuser_dsn("eim"), timeout=2)
                try:
                    await connection.execute(_FILLER)
                    while True:
                        await connection.execute(_MORE)
                finally:
                    connection.terminate()
            self._small.fill()
            await asyncio.sleep(0.5)

    @property
    def _embedded(self) -> Embedded:
        assert self._running.embedded is not None
        return self._running.embedded

    # --- Who asks -----------------------------------------------------------------------------------------------------

    async def _order(self, client: Client, cards: Sequence[VirtualEuicc]) -> None:
        for number in count():
            new = api.NewOrder("listProfileInfo", eid=format_eid(cards[number % len(cards)].eid))
            try:
                self.accepted.append((await client.order(new)).operations[0].operation)
            except Unavailable:
                self.heard["order 503"] += 1
            await asyncio.sleep(0.05)

    async def _live(self, card: VirtualEuicc) -> None:
        """A device: it polls, carries out, and brings its result until that is acknowledged."""
        eim_id = card.associations.entries[0].eim_id
        while not self._stop.is_set():
            answer = await self._ask("poll", _poll(card))
            if answer != NO_PACKAGE:
                result = _execute(card, inner(answer), eim_id)
                acknowledged = messages.acknowledged(await self._ask("result", _provide(card, result)))
                if acknowledged:
                    self.acknowledged.append(result)
                for seq in acknowledged:
                    card.remove_notification(seq)
            await asyncio.sleep(0.2)

    async def _ask(self, what: str, body: bytes) -> bytes:
        """Until it is answered by more than "later"."""
        while True:
            with suppress(NoAnswer):
                connection = await self._line.connect()
                try:
                    answer = await connection.post(body)
                finally:
                    connection.close()
                self.heard[f"{what} {answer.status}"] += 1
                if answer.status == 200:
                    return answer.body
                assert (answer.status, answer.body) == (503, b"try again later\n"), answer
            await asyncio.sleep(0.2)

    # --- Who judges ---------------------------------------------------------------------------------------------------

    async def _all_done(self) -> bool:
        states = await self._states()
        return all(states.get(operation) == "done" for operation in self.accepted)

    async def _states(self) -> Mapping[UUID, str]:
        pool = await open_pool(self._embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
        try:
            return {row["id"]: row["state"] for row in await pool.fetch(_STATES)}
        finally:
            pool.terminate()

    async def _judge(self) -> None:
        entries = self._fleet.journal.entries
        report = check(entries)
        assert report.sound, (report.twice, report.conflicting, report.repeated)
        pool = await open_pool(self._embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
        try:
            assert await faults(pool, entries) == []
            known = {row["octets"] for row in await pool.fetch(_KNOWN)}
        finally:
            pool.terminate()
        assert [each for each in self.acknowledged if each not in known] == []
        assert {what.split()[1] for what in self.heard} == {"200", "503"}, self.heard
        assert self.heard["poll 503"] + self.heard["result 503"], self.heard
        assert self.heard["order 503"], self.heard


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[Disk], Small]]:
    """Makes the small disk on which the installation in `tmp_path` has all of its database, or the log alone."""
    made: list[Small] = []

    def mount(disk: Disk) -> Small:
        home = homes.place(tmp_path / "data" / installation.POSTGRES)
        made.append(Small(home if disk is Disk.ALL else home.with_name(f"{home.name}-log")))
        made[0].mount()
        return made[0]

    yield mount
    for each in made:
        each.unmount()


async def _nothing(_: Running) -> None:
    """It has served once."""


async def _move_log(embedded: Embedded, to: Path) -> None:
    """As an administrator does it, with a stopped database."""
    await embedded.start()
    home = embedded._home
    await embedded.stop()
    assert home is not None
    log = home.data / "pg_wal"
    owner = log.stat().st_uid
    shutil.copytree(log, to / "pg_wal")
    shutil.rmtree(log)
    log.symlink_to(to / "pg_wal")
    for path in [to / "pg_wal", *(to / "pg_wal").rglob("*")]:
        os.chown(path, owner, owner)


@pytest.mark.slow
@pytest.mark.parametrize("disk", list(Disk))
async def test_while_the_disk_is_full_all_hear_later_and_nothing_is_lost(
    tmp_path: Path, small: Callable[[Disk], Small], disk: Disk
) -> None:
    made = small(disk)
    fleet = Fleet(Pki.new(), _CARDS, Journal(demo._now), Make(0, 0, 0))
    config = demo._configure(tmp_path, fleet.pki)
    embedded = Embedded(tmp_path / "data" / installation.POSTGRES)
    try:
        if disk is Disk.LOG:
            assert await installation.run(config, _nothing, tmp_path / "eim.log") == 0
            await _move_log(embedded, made.place)

        async def during(running: Running) -> None:
            await Full(fleet, running, disk, made).play()

        assert await installation.run(config, during, tmp_path / "eim.log") == 0
    finally:
        await embedded.remove()
    assert "Traceback" not in (tmp_path / "eim.log").read_text()
