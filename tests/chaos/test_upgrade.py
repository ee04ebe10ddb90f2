"""Two releases on one schema, and back, under load: the upgrade runbook (docs/upgrading.md)."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
import pytest

import eim
from eim import api, credentials
from eim.client import Client
from eim.config_loading import load
from eim.domain.ids import format_eid
from eim.keys.export import TlsTrust, export
from eim.services.tokens import SETUP, NewToken, Scope, Tokens
from eim.sim.fleet import CARRIER_A, CARRIER_B, Fleet, Make, Pace
from eim.sim.https import Line, Server, trusting
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from tests.chaos.evidence import faults
from tests.database import Database
from tests.serving.served import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]

_PHASE_S: Final = 4.0
_PATIENCE_S: Final = 60.0
_NEXT: Final = """
ALTER TABLE euiccs ADD COLUMN next_note text NOT NULL DEFAULT 'none';
CREATE TABLE next_things (id integer PRIMARY KEY);
GRANT SELECT ON next_things TO eim_device, eim_operator, eim_worker;
"""
_KNOWN: Final = "SELECT count(DISTINCT eid) FROM profiles"
_OPEN: Final = "SELECT count(*) FROM operations WHERE state NOT IN ('done', 'failed', 'withdrawn', 'expired')"


class Release:
    """Guards the processes of one release: a device, an operator and a worker process, each on its own."""

    def __init__(self, code: Path, environment: Mapping[str, str], log: Path) -> None:
        self.device, self.operator = free_port(), free_port()
        ports = {"EIM_DEVICE_PORT": self.device, "EIM_OPERATOR_PORT": self.operator, "EIM_DEVICE_HOST": "127.0.0.1"}
        self._environment = {**environment, **ports, "PYTHONPATH": str(code)}
        self._log = log
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, *words: str) -> str:
        """A command of this release that ends by itself; what it says."""
        command = [sys.executable, "-m", "eim", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def start(self) -> None:
        """Start all three, and wait until the ports are ready."""
        for role in ("worker", "device", "operator"):
            command = [sys.executable, "-m", "eim", "serve", "--role", role]
            with self._log.open("ab") as log:
                self._running[role] = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                    command, env=self._environment, stdout=log, stderr=log
                )
        async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
            for address in (f"https://127.0.0.1:{self.device}", f"http://127.0.0.1:{self.operator}"):
                async with asyncio.timeout(_PATIENCE_S):
                    while not await self._is_ready(client, address):  # noqa: ASYNC110 - other processes become it
                        await asyncio.sleep(0.1)

    async def _is_ready(self, client: httpx2.AsyncClient, address: str) -> bool:
        assert self.died() == [], self._log.read_text()
        try:
            return (await client.get(f"{address}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

    def died(self) -> list[str]:
        """Those that ended without being asked."""
        return [role for role, process in self._running.items() if process.poll() is not None]

    async def stop(self) -> None:
        """One after the other, as the runbook says; each has to end well."""
        assert self.died() == []
        for role in ("worker", "device", "operator"):
            process = self._running.pop(role)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0, f"{role} did not end well"

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


class Balancer:
    """Passes each connection on to the next of `ports`, as a load balancer in front of the device processes does."""

    def __init__(self) -> None:
        self.ports: tuple[str, ...] = ()
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self.ports[self.connections % len(self.ports)]
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    def close(self) -> None:
        if self.ports:
            self._server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while octets := await reader.read(65536):
            writer.write(octets)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def under_load(fleet: Fleet, line: Line) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.run(line, stop, Pace(ramp=1.0, interval=1.0)))
        try:
            yield
        finally:
            stop.set()


def next_release(folder: Path) -> Path:
    """The program with one expand migration more."""
    source = Path(eim.__file__).parent
    shutil.copytree(source, folder / "eim", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "eim" / "store" / "migrations" / "9000_expand_next.sql").write_text(_NEXT)
    return folder


class Upgrade:
    """Guards the fleet, both releases and the balancer in front of their devices."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.log = folder / "roles.log"
        self.fleet = Fleet(Pki.new(), 30, Journal(lambda: datetime.now(UTC)), Make(cannot_attach=0, sleepers=0))
        (folder / "root.pem").write_bytes(self.fleet.pki.root_der)
        dsns = {f"EIM_DATABASE_{role.value.upper()}_DSN": database.dsn(role) for role in DbRole}
        dsns["EIM_DATABASE_DSN"] = dsns.pop("EIM_DATABASE_OWNER_DSN")
        self._ours = {"EIM_SERVER_DATA_DIR": str(folder / "data"), "EIM_TRUST_ROOTS": str(folder / "root.pem"), **dsns}
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("EIM_", "PYTHONPATH"))}
        environment = {**inherited, **self._ours}
        self.now = Release(Path(eim.__file__).parents[1], environment, self.log)
        self.then = Release(next_release(folder / "next"), environment, self.log)
        self.balancer = Balancer()

    async def begin(self) -> Line:
        """N serves, the cards are loaded and onboarded; the way that devices go."""
        self.now.run("migrate")
        await self.now.start()
        config = load(None, self._ours).config
        identity = credentials.own_identity(config)
        files = credentials.device_tls(config, identity, datetime.now(UTC))
        assert files.ca is not None
        signer = credentials.key_store(config).load(identity.key_name)
        self.fleet.associate(export(identity, signer.spki, files, TlsTrust.CA).request)
        self.balancer.ports = (self.now.device,)
        created = await Tokens(self.database.pool(DbRole.OPERATOR)).create(SETUP, NewToken("test", frozenset(Scope)))
        self._token = created.secret
        new = tuple(api.NewEuicc(format_eid(card.euicc.eid)) for card in self.fleet.cards)
        async with Client(f"http://127.0.0.1:{self.now.operator}", self._token) as client:
            await client.add_euiccs(api.NewEuiccs(new))
        name, port = self.fleet.server_name or "localhost", await self.balancer.serve()
        return Line(Server("127.0.0.1", port, name, trusting(files.ca.read_text())), 64)

    async def switch(self, release: Release, to: str) -> None:
        """Order a switch at one release, and go on for a phase, or as long as it takes."""
        await self.until(_KNOWN, len(self.fleet.cards))
        async with Client(f"http://127.0.0.1:{release.operator}", self._token) as client:
            await client.order(api.NewOrder("enable", all=True, profile=api.ProfileChoice(service_provider=to)))
        await asyncio.sleep(_PHASE_S)
        await self.until(_OPEN, 0)

    async def until(self, question: str, answer: int) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while await self.database.owner().fetchval(question) != answer:  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(0.2)

    async def judge(self) -> None:
        report, seen = check(self.fleet.journal.entries), self.fleet.snapshot()
        assert (report.twice, report.conflicting, report.repeated) == ((), (), ())
        assert await faults(self.database.owner(), self.fleet.journal.entries) == []
        assert seen.on_a == seen.devices == 30
        assert seen.errors == 0, self.log.read_text()[-3000:]
        states = await self.database.owner().fetch("SELECT DISTINCT state FROM operations")
        assert [row["state"] for row in states] == ["done"]
        assert "[error" not in self.log.read_text()

    def close(self) -> None:
        self.now.kill()
        self.then.kill()
        self.balancer.close()


async def test_two_releases_serve_one_schema_and_back_without_an_error(database: Database, tmp_path: Path) -> None:
    upgrade = Upgrade(database, tmp_path)
    now, then, balancer = upgrade.now, upgrade.then, upgrade.balancer
    try:
        async with under_load(upgrade.fleet, await upgrade.begin()):
            await upgrade.switch(now, CARRIER_B)
            then.run("migrate")
            await upgrade.switch(now, CARRIER_A)  # N on the schema of N+1
            await then.start()
            balancer.ports = (now.device, then.device)
            await upgrade.switch(then, CARRIER_B)
            balancer.ports = (then.device,)
            await now.stop()
            await upgrade.switch(then, CARRIER_A)
            now.run("migrate")  # and back: N bears what N+1 has added
            await now.start()
            balancer.ports = (now.device, then.device)
            await upgrade.switch(now, CARRIER_B)
            balancer.ports = (now.device,)
            await then.stop()
            await upgrade.switch(now, CARRIER_A)
        await now.stop()
        await upgrade.judge()
        assert await database.owner().fetchval("SELECT count(*) FROM euiccs WHERE next_note = 'none'") == 30
    finally:
        upgrade.close()
