"""Each role, and the database, killed exactly where a step of an order's life is written (reliability tests 1 to 3)."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Final

import msgspec
import pytest
import structlog

from eim import api, demo, installation
from eim.client import Client
from eim.demo import Patient
from eim.domain.ids import format_eid
from eim.installation import Running
from eim.postgres import Embedded
from eim.postgres.processes import living_in
from eim.sim.fleet import CARRIER_A, CARRIER_B, Fleet, Make, Pace
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole, Pool, open_pool
from eim.store.roles import DATABASE
from eim.supervisor import Role
from tests.chaos.evidence import faults
from tests.chaos.stops import Closed, Moment, Step, Stop, build, stops

_CARDS: Final = 2
_PATIENCE_S: Final = 30.0  # for one step; a role that was killed often starts again after five seconds
_PACE: Final = Pace(ramp=0.3, interval=0.4)
_STEPS: Final = (
    Step("accepts an order", DbRole.OPERATOR, "orders", "INSERT"),
    Step("accepts an operation", DbRole.OPERATOR, "operations", "INSERT"),
    Step("records what was ordered", DbRole.OPERATOR, "audit", "INSERT", "NEW.action = 'order.place'"),
    Step("allocates a counter", DbRole.WORKER, "euiccs", "UPDATE", "NEW.counter > OLD.counter"),
    Step("stores a signed package", DbRole.WORKER, "packages", "INSERT"),
    Step("makes a package the head", DbRole.WORKER, "mailbox", "UPDATE", "NEW.sealed IS NOT NULL"),
    Step("says that it is sealed", DbRole.WORKER, "operations", "UPDATE", "NEW.state = 'sealed'"),
    Step("records what was sealed", DbRole.WORKER, "audit", "INSERT", "NEW.action = 'package.sealed'"),
    Step("hands out", DbRole.DEVICE, "mailbox", "UPDATE", "NEW.deliveries > OLD.deliveries"),
    Step("says that it is out", DbRole.DEVICE, "operations", "UPDATE", "NEW.state = 'out'"),
    Step("records what was handed out", DbRole.DEVICE, "audit", "INSERT", "NEW.action = 'package.handed'"),
    Step("stores a verified result", DbRole.DEVICE, "results", "INSERT"),
    Step("applies a result", DbRole.DEVICE, "profiles", "UPDATE"),
    Step("ends a package", DbRole.DEVICE, "packages", "UPDATE", "NEW.state = 'ended'"),
    Step("ends an operation", DbRole.DEVICE, "operations", "UPDATE", "NEW.state = 'done'"),
    Step("notifies of an end", DbRole.DEVICE, "events", "INSERT", "NEW.kind = 'operation.done'"),
    Step("stores a notification", DbRole.DEVICE, "notifications", "INSERT"),
)
_PLACES: Final = stops(_STEPS)
_OPEN: Final = """
    SELECT (SELECT count(*) FROM operations WHERE state NOT IN ('done', 'failed', 'withdrawn', 'expired'))
         + (SELECT count(*) FROM requests) AS left
"""
_ENDED: Final = """
    SELECT o.size, count(p.id) AS placed, count(p.id) FILTER (WHERE p.state = 'done') AS done,
           (SELECT count(*) FROM operations q
              JOIN events e ON e.bucket = q.bucket AND e.data ->> 'operation' = q.id::text
             WHERE q.order_id = o.id AND e.kind = 'operation.done') AS told
      FROM orders o LEFT JOIN operations p ON p.order_id = o.id GROUP BY o.id
"""
_BELIEVED: Final = "SELECT eid, service_provider FROM profiles WHERE state = 'enabled'"

_log = structlog.get_logger()


class Kill(msgspec.Struct, frozen=True):
    """One kill: where somebody has to stand, and whether it or the database dies then."""

    place: Stop
    database: bool = False


class Story:
    """Guards one installation and its fleet: an order a kill, each brought to its end."""

    def __init__(self, fleet: Fleet, kills: Sequence[Kill]) -> None:
        self._fleet = fleet
        self._kills = kills
        self._orders = 0
        self.found: list[str] = []

    async def during(self, running: Running) -> None:
        """What happens while the installation runs."""
        host, port = running.operator
        address, token = f"http://{host}:{port}", running.token_file.read_text().strip()
        line, stop = demo._connect(self._fleet, running), asyncio.Event()
        async with Client(address, token, transport=Patient(_PATIENCE_S)) as client, asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(line, stop, _PACE))
            try:
                await self._tell(running, client)
            finally:
                stop.set()
        self.found += await self._judge(running)

    async def _tell(self, running: Running, client: Client) -> None:
        embedded = _embedded(running)
        new = tuple(api.NewEuicc(format_eid(card.euicc.eid)) for card in self._fleet.cards)
        await client.add_euiccs(api.NewEuiccs(new))
        await _quiet(embedded)
        await build(embedded.superuser_dsn(DATABASE), _PLACES)
        for kill in self._kills:
            await self._kill(running, client, kill)
            await _quiet(embedded)

    async def _kill(self, running: Running, client: Client, kill: Kill) -> None:
        """Order, wait until somebody stands at the place, and kill; the order is answered all the same."""
        began = time.monotonic()
        async with Closed(_embedded(running).superuser_dsn(DATABASE), kill.place) as closed:
            ordering = asyncio.create_task(self._order(client))
            await closed.somebody_stands(_PATIENCE_S)
            if kill.database:
                await _kill_database(_embedded(running))
            else:
                await _kill_role(running, Role(kill.place.step.role.value))
        await ordering
        _log.info("killed", where=str(kill.place), database=kill.database, seconds=round(time.monotonic() - began, 1))

    async def _order(self, client: Client) -> None:
        carrier = (CARRIER_B, CARRIER_A)[self._orders % 2]
        self._orders += 1
        choice = api.ProfileChoice(service_provider=carrier)
        await client.order(api.NewOrder("enable", all=True, profile=choice, rollback=False, confirm=_CARDS))

    async def _judge(self, running: Running) -> list[str]:
        """I1 to I5, where nothing is left to do."""
        entries, report = self._fleet.journal.entries, check(self._fleet.journal.entries)
        found = [] if report.sound else [f"{report.twice} {report.conflicting} {report.repeated}"]
        async with _owner(_embedded(running)) as pool:
            found += await faults(pool, entries)
            orders = await pool.fetch(_ENDED)
            believed = {format_eid(row["eid"]): row["service_provider"] for row in await pool.fetch(_BELIEVED)}
        for row in orders:
            if {row["placed"], row["done"], row["told"]} != {row["size"]}:
                found.append(f"an order became {dict(row)}")
        if len(orders) != len(self._kills):
            found.append(f"{len(self._kills)} were ordered, {len(orders)} are there")
        for card in self._fleet.cards:
            enabled = CARRIER_B if card.euicc.enabled == card.profile_b else CARRIER_A
            if believed.get(format_eid(card.euicc.eid)) != enabled:
                found.append(f"a card has {enabled} enabled, the eIM believes {believed}")
        return found


def _at(name: str, moment: Moment, *, database: bool = False) -> Kill:
    (place,) = (place for place in _PLACES if place.step.name == name and place.moment is moment)
    return Kill(place, database)


def _few() -> list[Kill]:
    """Each role and the database at one or two places."""
    return [
        _at("accepts an operation", Moment.COMMIT),
        _at("allocates a counter", Moment.WRITE),
        _at("hands out", Moment.COMMIT),
        _at("applies a result", Moment.WRITE),
        _at("stores a signed package", Moment.COMMIT, database=True),
    ]


def _all(times: int, *roles: DbRole, database: bool = False) -> list[Kill]:
    """`times` kills spread over all places of `roles`, in an order drawn anew for each round."""
    places = [place for place in _PLACES if place.step.role in roles]
    rounds = (random.sample(places, len(places)) for _ in range(times))
    return [Kill(place, database) for place in islice(chain.from_iterable(rounds), times)]


def _mixed(times: int) -> list[Kill]:
    """`times` kills of the roles that serve and as many of the worker, in turn; half as many of the database."""
    web, worker = _all(times, DbRole.DEVICE, DbRole.OPERATOR), _all(times, DbRole.WORKER)
    database = _all(times // 2, *DbRole, database=True)
    turns = zip_longest(web, worker, database)
    return [kill for turn in turns for kill in turn if kill is not None]


@pytest.mark.xdist_group("serving")
async def test_whoever_is_killed_at_a_named_step_every_order_is_done_once(tmp_path: Path) -> None:
    """Reliability 1, 2, 3."""
    await _survives(tmp_path, _few(), 120)


@pytest.mark.slow
@pytest.mark.xdist_group("serving")
async def test_220_kills_of_each_kind_at_named_steps_and_110_of_the_database(tmp_path: Path) -> None:
    """Reliability 1, 2, 3 in full: EIM_KILLS=20 for fewer."""
    kills = _mixed(int(os.environ.get("EIM_KILLS", "220")))
    await _survives(tmp_path, kills, 60 + 20 * len(kills))


async def _survives(folder: Path, kills: Sequence[Kill], patience: float) -> None:
    fleet = Fleet(Pki.new(), _CARDS, Journal(demo._now), Make(0, 0, 0))
    story = Story(fleet, kills)
    try:
        async with asyncio.timeout(patience):
            code = await installation.run(demo._configure(folder, fleet.pki), story.during, folder / "eim.log")
    finally:
        await Embedded(folder / "data" / "postgres").remove()
    assert story.found == []
    assert code == 0


async def _quiet(embedded: Embedded) -> None:
    """Until nothing is left to do."""
    began = time.monotonic()
    while (left := await _left(embedded)) != 0:
        assert time.monotonic() - began < _PATIENCE_S, f"{left} are still open"
        await asyncio.sleep(0.1)


async def _left(embedded: Embedded) -> int | None:
    """How much there is to do; None when the database can't say."""
    try:
        async with _owner(embedded) as pool:
            return int(await pool.fetchval(_OPEN))
    except Exception:  # noqa: BLE001 - it was just killed
        return None


async def _kill_role(running: Running, role: Role) -> None:
    pid = running.supervisor.pid(role)
    assert pid is not None, f"{role} stands, and does not run"
    os.kill(pid, signal.SIGKILL)
    while running.supervisor.pid(role) == pid:  # noqa: ASYNC110 - the supervisor buries it
        await asyncio.sleep(0.01)


async def _kill_database(embedded: Embedded) -> None:
    """The postmaster and all its children, as when the machine's memory runs out."""
    assert embedded._home is not None
    killed = embedded._process
    for pid in living_in(embedded._home.data):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while embedded.alive and embedded._process is killed:  # noqa: ASYNC110 - its supervisor buries it, and starts another
        await asyncio.sleep(0.01)


def _embedded(running: Running) -> Embedded:
    assert running.embedded is not None
    return running.embedded


@asynccontextmanager
async def _owner(embedded: Embedded) -> AsyncIterator[Pool]:
    pool = await open_pool(embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
    try:
        yield pool
    finally:
        pool.terminate()
