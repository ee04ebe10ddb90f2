"""The wall clock of all processes, the database's too, stepped by hours and a day in the middle of a campaign.

Nothing expires early, no lease changes hands, tokens go by the clock, and what counts by the other clock goes on
(reliability test 18). The devices keep their own time.
"""

import asyncio
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
import structlog

from eim import api, demo, installation
from eim.api_access import NewToken
from eim.client import Client, ServerRefused
from eim.demo import Patient
from eim.domain.ids import format_eid
from eim.installation import RUN, Running
from eim.postgres import Embedded, processes
from eim.sim.fleet import CARRIER_A, CARRIER_B, Fleet, Make, Pace
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki
from eim.store.connect import Pool
from tests.chaos.evidence import faults
from tests.chaos.test_kills_at_steps import _embedded, _left, _owner

_SOURCE: Final = Path(__file__).with_name("clock.inc")
_OF_THE_CLOCK: Final = ("LD_PRELOAD", "EIM_TEST_CLOCK")
_HOUR: Final = 3600
_STEPS: Final = (-_HOUR, _HOUR, 24 * _HOUR)
_CARDS: Final = 6
_PATIENCE_S: Final = 30.0
_TIMES: Final = int(os.environ.get("EIM_STEPS", "10"))  # through all steps of the clock
_LEASE_S: Final = 2.0
_PACE: Final = Pace(ramp=0.3, interval=0.3)
_NOW: Final = "SELECT extract(epoch FROM now())::float8"
_HELD: Final = "SELECT holder, epoch, count(*) AS many FROM leases WHERE holder IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
_ENDS: Final = "SELECT state, count(*) AS many FROM operations WHERE order_id = $1 GROUP BY 1"
_BEGUN: Final = "SELECT count(*) FROM operations WHERE order_id = $1 AND state <> 'accepted'"

_log = structlog.get_logger()


class Clock:
    """Guards the clock of processes that load the library; `environment` makes them do so."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "seconds"
        library = folder / "clock.so"
        self._file.write_bytes(struct.pack("=q", 0))
        subprocess.run(
            ["cc", "-x", "c", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, _SOURCE],
            check=True,
            timeout=60,
        )
        self.environment = {"LD_PRELOAD": str(library), "EIM_TEST_CLOCK": str(self._file)}
        for path in (folder, library, self._file):
            path.chmod(0o755)  # Postgres may run as somebody else

    def step_to(self, seconds: int) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of all processes that this test starts; its own and the devices' is the machine's."""
    folder = Path(tempfile.mkdtemp(prefix="eim-clock-"))
    made = Clock(folder)
    for name, text in made.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(processes, "_ENVIRONMENT", processes._ENVIRONMENT | made.environment)
    try:
        yield made
    finally:
        shutil.rmtree(folder)


class Story:
    """Guards one installation with a second worker, a fleet, and the steps of the clock."""

    def __init__(self, fleet: Fleet, clock: Clock, steps: Sequence[int]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._steps = steps
        self._orders = 0

    async def during(self, running: Running) -> None:
        host, port = running.operator
        self._address, token = f"http://{host}:{port}", running.token_file.read_text().strip()
        line, stop = demo._connect(self._fleet, running), asyncio.Event()
        async with (
            _second_worker(running),
            _owner(_embedded(running)) as owner,
            Client(self._address, token, transport=Patient(_PATIENCE_S)) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._fleet.run(line, stop, _PACE))
            try:
                await self._tell(running, owner, client)
            finally:
                self._clock.step_to(0)
                stop.set()
            assert await faults(owner, self._fleet.journal.entries) == []

    async def _tell(self, running: Running, owner: Pool, client: Client) -> None:
        await client.add_euiccs(api.NewEuiccs(tuple(api.NewEuicc(format_eid(c.euicc.eid)) for c in self._fleet.cards)))
        await self._quiet(running)
        held = await _balanced(owner)
        for there in (place for step in self._steps for place in (step, 0)):  # and back, which is a step the other way
            ending = await client.create_token(NewToken("short", ("operations:read",), _in(timedelta(hours=2))))
            order = await self._campaign(owner, client)
            await self._step(owner, there)
            await self._ask_with(ending.token, there)
            await self._quiet(running)
            assert await _states(owner, order) == {"done": _CARDS}
            await asyncio.sleep(2 * _LEASE_S)  # whoever looked dead by the clock would be robbed by now
            assert await owner.fetch(_HELD) == held, f"a lease changed hands when the clock stepped to {there} s"

    async def _campaign(self, owner: Pool, client: Client) -> UUID:
        """Order all to the other carrier; it has begun, and is not over, when this returns."""
        profile = api.ProfileChoice(service_provider=(CARRIER_B, CARRIER_A)[self._orders % 2])
        self._orders += 1
        wanted = api.NewOrder("enable", all=True, profile=profile, rollback=False, expires_in="2 days", confirm=_CARDS)
        order = (await client.order(wanted)).order
        while not await owner.fetchval(_BEGUN, order):  # noqa: ASYNC110 - the database is asked
            await asyncio.sleep(0.01)
        return order

    async def _step(self, owner: Pool, there: int) -> None:
        self._clock.step_to(there)
        assert abs(await owner.fetchval(_NOW) - time.time() - there) < _HOUR / 60, "the database's clock did not step"
        _log.info("stepped", seconds=there)

    async def _ask_with(self, secret: str | None, there: int) -> None:
        """A token of two hours is refused a day later, and a moment of an hour on either side changes nothing."""
        assert secret is not None
        async with Client(self._address, secret) as asking:
            if there > 2 * _HOUR:
                with pytest.raises(ServerRefused):
                    await asking.summary()
            else:
                await asking.summary()

    async def _quiet(self, running: Running) -> None:
        began = time.monotonic()
        while (left := await _left(_embedded(running))) != 0:
            assert time.monotonic() - began < _PATIENCE_S, f"{left} are still open"
            await asyncio.sleep(0.1)


async def _states(owner: Pool, order: UUID) -> dict[str, int]:
    return {row["state"]: row["many"] for row in await owner.fetch(_ENDS, order)}


def _in(span: timedelta) -> datetime:
    return datetime.now(UTC) + span


async def _balanced(owner: Pool) -> list[Any]:
    """The leases when each of the two workers has its half."""
    began = time.monotonic()
    while True:
        held: list[Any] = list(await owner.fetch(_HELD))
        if [row["many"] for row in held] == [512, 512]:
            return held
        assert time.monotonic() - began < _PATIENCE_S, f"the workers do not share: {held}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _second_worker(running: Running) -> AsyncIterator[None]:
    file = running.config.server.data_dir.absolute() / RUN / "worker.toml"
    command = [sys.executable, "-m", "eim", "serve", "--config", str(file), "--role", "worker"]
    environment = {name: text for name, text in os.environ.items() if name == "PATH" or name in _OF_THE_CLOCK}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.xdist_group("serving")
@pytest.mark.parametrize(
    "times", [pytest.param(1, id="smoke"), pytest.param(_TIMES, id="full", marks=pytest.mark.slow)]
)
async def test_steps_of_the_clock_expire_nothing_and_move_no_lease(clock: Clock, tmp_path: Path, times: int) -> None:
    """Reliability 18: an hour back, an hour on, a day on, and back from each."""
    fleet = Fleet(Pki.new(), _CARDS, Journal(demo._now), Make(0, 0, 0))
    story, config = Story(fleet, clock, _STEPS * times), demo._configure(tmp_path, fleet.pki)
    config = msgspec.structs.replace(config, worker=msgspec.structs.replace(config.worker, lease=_LEASE_S))
    try:
        async with asyncio.timeout(60 + 60 * len(_STEPS) * times):
            assert await installation.run(config, story.during, tmp_path / "eim.log") == 0
    finally:
        await Embedded(tmp_path / "data" / "postgres").remove()
    assert check(fleet.journal.entries).sound
