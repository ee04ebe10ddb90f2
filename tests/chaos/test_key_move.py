"""Cards move to key after key of their identity, while roles and the database are killed exactly in the middle of it.

After each kill every card obeys one key, and it is the one that we believe (reliability test 24).
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

import pytest
import structlog

from eim import api, app, credentials, demo, installation
from eim.api_associations import KeyMove
from eim.client import Client
from eim.demo import Patient
from eim.domain.ids import format_eid
from eim.installation import Running
from eim.keys.files import spki_of
from eim.postgres import Embedded
from eim.sim.fleet import Fleet, Make, Pace
from eim.sim.journal import Executed, Journal, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from eim.store.roles import DATABASE
from eim.supervisor import Role
from tests.chaos.evidence import faults
from tests.chaos.stops import Closed, Moment, Step, build, stops
from tests.chaos.test_kills_at_steps import Kill, _embedded, _kill_database, _kill_role, _owner, _quiet

_STEPS: Final = (
    Step("orders the move", DbRole.OPERATOR, "euiccs", "UPDATE", "NEW.next_key IS DISTINCT FROM OLD.next_key"),
    Step("orders the operation", DbRole.OPERATOR, "operations", "INSERT"),
    Step("allocates its counter", DbRole.WORKER, "euiccs", "UPDATE", "NEW.counter > OLD.counter"),
    Step("stores what the old key signed", DbRole.WORKER, "packages", "INSERT"),
    Step("hands it out", DbRole.DEVICE, "mailbox", "UPDATE", "NEW.deliveries > OLD.deliveries"),
    Step("stores its result", DbRole.DEVICE, "results", "INSERT"),
    Step("turns to the new key", DbRole.DEVICE, "euiccs", "UPDATE", "NEW.key_number <> OLD.key_number"),
    Step("ends the operation", DbRole.DEVICE, "operations", "UPDATE", "NEW.state = 'done'"),
)
_PLACES: Final = stops(_STEPS)
_PATIENCE_S: Final = 30.0
_PACE: Final = Pace(ramp=0.2, interval=0.1)
_KEYS: Final = "SELECT eid, key_number, next_key, trial_key, stalled FROM euiccs"

_log = structlog.get_logger()


class Story:
    """Guards one installation and its fleet: a key and a kill in turn."""

    def __init__(self, fleet: Fleet, kills: Sequence[Kill]) -> None:
        self._fleet = fleet
        self._kills = kills
        self._spki: list[bytes] = []
        self.found: list[str] = []

    async def during(self, running: Running) -> None:
        host, port = running.operator
        address, token = f"http://{host}:{port}", running.token_file.read_text().strip()
        line, stop = demo._connect(self._fleet, running), asyncio.Event()
        async with Client(address, token, transport=Patient(_PATIENCE_S)) as client, asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(line, stop, _PACE))
            try:
                await self._tell(running, client)
            finally:
                stop.set()
        async with _owner(_embedded(running)) as pool:
            self.found += await faults(pool, self._fleet.journal.entries)

    async def _tell(self, running: Running, client: Client) -> None:
        embedded = _embedded(running)
        await client.add_euiccs(api.NewEuiccs(tuple(api.NewEuicc(format_eid(c.euicc.eid)) for c in self._fleet.cards)))
        await _quiet(embedded)
        await build(embedded.superuser_dsn(DATABASE), _PLACES)
        for number, kill in enumerate(self._kills, 1):
            await self._add_key(running, number)
            await self._kill(running, client, kill)
            await _quiet(embedded)
            await self._judge(running, number)
        await client.order(api.NewOrder("listProfileInfo", all=True, confirm=len(self._fleet.cards)))
        await _quiet(embedded)

    async def _add_key(self, running: Running, number: int) -> None:
        """As `eim keys rotate` does."""
        name, store = f"key-{number}", credentials.key_store(running.config)
        self._spki.append(store.create_identity_key(name))
        eim_id = credentials.own_identity(running.config).eim_id
        added = await app.add_key(running.config, _embedded(running).dsn(DbRole.OWNER), eim_id, name)
        assert added == number

    async def _kill(self, running: Running, client: Client, kill: Kill) -> None:
        began = time.monotonic()
        async with Closed(_embedded(running).superuser_dsn(DATABASE), kill.place) as closed:
            moving = asyncio.create_task(
                client.move_to_newest_key(1, KeyMove("a test", confirm=len(self._fleet.cards)))
            )
            await closed.somebody_stands(_PATIENCE_S)
            if kill.database:
                await _kill_database(_embedded(running))
            else:
                await _kill_role(running, Role(kill.place.step.role.value))
        moved = await moving
        assert moved.ordered == len(self._fleet.cards), moved
        _log.info("killed", where=str(kill.place), database=kill.database, seconds=round(time.monotonic() - began, 1))

    async def _judge(self, running: Running, number: int) -> None:
        """Exactly one key on both sides, the new one."""
        async with _owner(_embedded(running)) as pool:
            ours = {format_eid(row["eid"]): tuple(row.values())[1:] for row in await pool.fetch(_KEYS)}
        for card in self._fleet.cards:
            eid = format_eid(card.euicc.eid)
            (entry,) = card.euicc.associations.entries
            if spki_of(entry.key) != self._spki[-1]:
                self.found.append(f"{eid} does not obey key {number}")
            if ours[eid] != (number, None, None, None):
                self.found.append(f"{eid} obeys key {number}, and we believe {ours[eid]}")


def _at(name: str, moment: Moment, *, database: bool = False) -> Kill:
    (place,) = (place for place in _PLACES if place.step.name == name and place.moment is moment)
    return Kill(place, database)


def _few() -> list[Kill]:
    return [
        _at("stores what the old key signed", Moment.COMMIT),
        _at("hands it out", Moment.COMMIT),
        _at("turns to the new key", Moment.WRITE),
        _at("turns to the new key", Moment.COMMIT, database=True),
    ]


def _many(times: int) -> list[Kill]:
    """All places in an order drawn anew for each round; every fourth time the database dies there."""
    rounds = (random.sample(_PLACES, len(_PLACES)) for _ in range(times))
    places = islice(chain.from_iterable(rounds), times)
    return [Kill(place, database=number % 4 == 3) for number, place in enumerate(places)]


@pytest.mark.xdist_group("serving")
async def test_whoever_is_killed_in_a_move_of_keys_each_card_has_one_key_on_both_sides(tmp_path: Path) -> None:
    """Reliability 24."""
    await _survives(tmp_path, 4, _few(), 120)


@pytest.mark.slow
@pytest.mark.xdist_group("serving")
async def test_50_kills_in_moves_of_keys_with_ten_thousand_polls_in_flight(tmp_path: Path) -> None:
    """Reliability 24 in full: EIM_KILLS=10 for fewer."""
    kills = _many(int(os.environ.get("EIM_KILLS", "50")))
    polls = await _survives(tmp_path, 40, kills, 120 + 20 * len(kills))
    assert polls >= 200 * len(kills)


async def _survives(folder: Path, cards: int, kills: Sequence[Kill], patience: float) -> int:
    """How many polls came meanwhile."""
    fleet = Fleet(Pki.new(), cards, Journal(demo._now), Make(0, 0, 0))
    story = Story(fleet, kills)
    try:
        async with asyncio.timeout(patience):
            code = await installation.run(demo._configure(folder, fleet.pki), story.during, folder / "eim.log")
    finally:
        await Embedded(folder / "data" / "postgres").remove()
    entries = fleet.journal.entries
    assert story.found == []
    assert code == 0
    assert check(entries).sound
    executed = sum(isinstance(entry, Executed) for entry in entries)
    assert executed >= cards * (len(kills) + 2), "the first list, one updateEim a key, the last list"
    return fleet.counts.polls
