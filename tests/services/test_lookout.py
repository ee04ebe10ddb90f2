"""The memory of polls that found nothing: it may delay a package by a moment, and never by more.

What delays it are the rules' exceptions, made to happen: a listener that is killed, one that hears nothing, one that
stands still, and work that comes while its question is under way.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, cast

import asyncpg
import pytest
from structlog.testing import capture_logs

from eim._fast.known import Known
from eim.domain.ids import Eid, bucket_of
from eim.domain.operation import Kind
from eim.errors import EimError
from eim.protocol.esipa import NO_PACKAGE
from eim.services.gathering import Gathering
from eim.services.lookout import Lookout
from eim.services.polls import Polls, Seen
from eim.services.tokens import SETUP
from eim.services.traces import Traces
from eim.sim.euicc import VirtualEuicc
from eim.store.connect import DbRole, Pool, open_pool
from eim.store.glances import Glances
from tests.announced import watching
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

CARDS: Final = 12
WINDOW: Final = 1.0  # seconds: what is remembered is believed for so long without a beat, and no longer
SETTLED: Final = 0.3  # seconds in which a notification is surely heard
_LISTENERS: Final = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"


class Polled:
    """One poll, until it is known whether it found something."""

    peer = "192.0.2.1"
    source = 1

    def __init__(self) -> None:
        self.found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def nothing(self) -> None:
        self.found.set_result(False)

    def hear(self, found: bytes | EimError | None) -> None:
        self.found.set_result(True)


class Scene:
    """A process that answers polls, and the rest of the eIM beside it. Guards what is to be ended."""

    def __init__(self, rig: Rig, gathered: Gathering, known: Known, beats: str) -> None:
        self.beats = beats  # the channel
        self.rig = rig
        self.gathered = gathered
        self.known = known

    async def finds(self, card: VirtualEuicc) -> bool:
        """Whether a poll of it finds something now."""
        polled = Polled()
        self.gathered.ask_bare(Eid(card.eid), polled)
        async with asyncio.timeout(10):
            return await polled.found

    async def live(self) -> None:
        """Poll until what is remembered is believed."""
        async with asyncio.timeout(10):
            while not self.known.is_live(time.monotonic()):
                await self.finds(self.rig.cards[-1])
                await asyncio.sleep(0.01)

    async def remembers(self, card: VirtualEuicc) -> None:
        """Poll until its polls are answered from memory."""
        async with asyncio.timeout(10):
            while True:
                await self.live()
                hits = self.known.hits
                assert not await self.finds(card)
                if self.known.hits > hits:
                    return

    async def busy(self, seconds: float) -> None:
        """Let others poll meanwhile, so that beats are sent."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self.finds(self.rig.cards[-1])
            await asyncio.sleep(0.05)

    async def order(self, card: VirtualEuicc) -> None:
        await self.rig.order(card, Kind.LIST_PROFILES)

    async def clear(self) -> None:
        await self.rig.database.owner().execute("DELETE FROM operations")

    async def signal_listener(self, number: int | None) -> list[int]:
        """Send the listener's backend a signal; None: have it ended."""
        connection = await asyncpg.connect(self.rig.database.superuser_dsn)
        try:
            pids = [row["pid"] for row in await connection.fetch(_LISTENERS)]
            for pid in pids:
                if number is None:
                    await connection.execute("SELECT pg_terminate_backend($1)", pid)
                else:
                    os.kill(pid, number)
            return pids
        finally:
            await connection.close()


class Faulty:
    """A `Known` that breaks one of the rules: what a mistake in the product would look like."""

    def __init__(self, known: Known, fault: str) -> None:
        self._known = known
        self._fault = fault

    def __getattr__(self, name: str) -> object:
        return getattr(self._known, name)

    def note_nothing(self, eid: bytes, asked: float) -> None:
        self._known.note_nothing(eid, time.monotonic() if self._fault == "noted after the answer" else asked)

    def doubt_all(self, now: float) -> None:
        if self._fault != "believed across a gap":
            self._known.doubt_all(now)

    def work_came(self, bucket: int, now: float) -> None:
        if self._fault != "announcements unheard":
            self._known.work_came(bucket, now)


@asynccontextmanager
async def scene(
    database: Database, ears: "Pool | None" = None, fault: str | None = None, above: int = 0
) -> AsyncIterator[Scene]:
    rig = await rigs.start(database, CARDS)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    pool = database.pool(DbRole.DEVICE)
    gathered = Gathering(pool, Polls(pool, rig.waiters, Seen(pool), rigs.now, NO_PACKAGE), 2, remember=60)
    known = gathered.known
    if fault is not None:
        gathered.known = cast("Known", Faulty(known, fault))
    own = ears is None
    ears = ears or await open_pool(database.dsn(DbRole.DEVICE), DbRole.DEVICE, database.schema, 1)
    lookout = Lookout(ears, pool, gathered.known, lambda: gathered.polls, above)
    running = [asyncio.create_task(each.run()) for each in (gathered, lookout)]
    try:
        yield Scene(rig, gathered, known, lookout._beats)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if own:
            ears.terminate()


async def test_a_poll_that_found_nothing_a_moment_ago_needs_no_question(database: Database) -> None:
    async with scene(database) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        questioned, hits = here.gathered.questioned, here.known.hits
        for _ in range(50):
            assert not await here.finds(card)
        assert (here.gathered.questioned, here.known.hits) == (questioned, hits + 50)


async def test_work_is_found_as_soon_as_it_is_announced_and_only_its_bucket_is_asked_for(database: Database) -> None:
    async with scene(database) as here:
        card, *others = here.rig.cards
        for each in here.rig.cards:
            await here.remembers(each)
        await here.order(card)
        await asyncio.sleep(SETTLED)
        assert await here.finds(card)
        questioned = here.gathered.questioned
        assert not any([await here.finds(each) for each in others])
        assert here.gathered.questioned <= questioned + sum(each.eid == card.eid for each in others)


async def test_what_is_found_in_other_ways_than_orders_is_announced_too(database: Database) -> None:
    async with scene(database) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        await Traces(database.pool(DbRole.OPERATOR)).switch(SETUP, Eid(card.eid), timedelta(minutes=5), 10)
        await asyncio.sleep(SETTLED)
        assert await here.finds(card)


async def test_everything_that_makes_a_poll_find_something_is_announced_with_it(database: Database) -> None:
    async with watching(database) as heard:
        rig = await rigs.start(database, 3)
        await rig.onboard()
        for card in rig.cards:
            await rig.order(card, Kind.LIST_PROFILES)
            await rig.visit(card)
    assert heard.found == 3
    assert heard.missing() == []


async def test_what_is_not_announced_is_found_when_the_memory_is_over() -> None:
    known = Known(4, 1, 60)
    eid = bytes(16)
    known.note(eid, 1, 100.0, 7)
    known.heard(160.5)
    known.note_nothing(eid, 101.0)
    assert known.finds_nothing(eid, 1, 0.0, 160.9)
    assert not known.finds_nothing(eid, 1, 0.0, 161.0)


async def test_who_was_handed_a_package_is_handed_the_next_without_a_question_and_nothing_after_the_last(
    database: Database,
) -> None:
    async with scene(database) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        for _ in range(3):
            await here.order(card)
        await here.rig.work()
        await asyncio.sleep(SETTLED)
        assert await here.finds(card)
        questioned = here.gathered.questioned
        for _ in range(3):
            assert await here.finds(card)
        assert here.gathered.questioned == questioned
        assert await here.rig.visit(card) == 3
        await asyncio.sleep(SETTLED)
        assert not await here.finds(card)
        assert here.gathered.questioned == questioned + 1


async def test_the_log_says_how_many_were_answered_from_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eim.services.lookout._TELL_EVERY", 0.5)
    with capture_logs() as logs:
        async with scene(database) as here:
            until = time.monotonic() + 2
            await here.remembers(here.rig.cards[0])
            while time.monotonic() < until:
                assert not await here.finds(here.rig.cards[0])
                await asyncio.sleep(0.01)
    told = [line for line in logs if line["event"] == "lookout.share"]
    assert told
    assert any(line["live"] and 0 < line["remembered"] <= line["polls"] for line in told)


async def test_the_log_says_so_where_few_poll_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eim.services.lookout._TELL_EVERY", 0.3)
    with capture_logs() as logs:
        async with scene(database, above=100_000) as here:
            async with asyncio.timeout(10):
                while not any(line["event"] == "lookout.share" for line in logs):
                    assert not await here.finds(here.rig.cards[0])
                    await asyncio.sleep(0.02)
    (told, *_) = (line for line in logs if line["event"] == "lookout.share")
    assert told["polls"] > 0
    assert (told["remembered"], told["live"]) == (0, False)


# --- Rule (a): only while a beat was heard that is younger than a second ---------------------------------------------


async def test_when_the_listener_is_killed_every_poll_is_asked_for_until_it_listens_again(database: Database) -> None:
    async with scene(database) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        assert await here.signal_listener(None)
        await asyncio.sleep(0.1)
        hits = here.known.hits
        assert not await here.finds(card)
        assert here.known.hits == hits
        await here.remembers(card)


async def test_a_listener_that_stands_still_is_not_believed_for_more_than_a_second(database: Database) -> None:
    async with scene(database) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        stopped = await here.signal_listener(signal.SIGSTOP)
        stood = asked = time.monotonic()
        try:
            await here.order(card)
            async with asyncio.timeout(10):
                while not await here.finds(card):
                    assert asked < stood + WINDOW, "the last beat was older by then"
                    asked = time.monotonic()
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        await here.clear()
        await here.remembers(card)


async def test_a_connection_that_hears_nothing_is_never_believed_and_said_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that swallows LISTEN: here the listener is in another database, where nobody speaks."""
    monkeypatch.setattr("eim.services.lookout._DEAF", 0.5)
    elsewhere = database.dsn(DbRole.OWNER).replace(f"/{database.name}", "/postgres")
    ears = await asyncpg.create_pool(elsewhere, min_size=1, max_size=1)
    with capture_logs() as logs:
        async with scene(database, ears) as here:
            until = time.monotonic() + 2
            while time.monotonic() < until:
                assert not await here.finds(here.rig.cards[0])
                await asyncio.sleep(0.02)
            assert here.known.hits == 0
            await here.order(here.rig.cards[0])
            assert await here.finds(here.rig.cards[0])
    ears.terminate()
    assert [line["event"] for line in logs if line["event"].startswith("lookout.")] == ["lookout.deaf"]


async def test_where_nobody_polls_no_beat_is_sent(database: Database) -> None:
    async with scene(database) as here:
        await here.live()
        await asyncio.sleep(0.6)
        heard = list[object]()
        ear = await asyncpg.connect(database.superuser_dsn)
        await ear.add_listener(here.beats, lambda *beat: heard.append(beat))
        await asyncio.sleep(2.5)
        assert heard == []
        assert not here.known.is_live(time.monotonic())
        await here.remembers(here.rig.cards[0])
        assert heard, "where somebody polls, beats are sent and heard here"
        await ear.close()


async def test_where_few_poll_each_is_asked_for_and_many_are_remembered(database: Database) -> None:
    async with scene(database, above=400) as here:
        card, questioned = here.rig.cards[0], here.gathered.questioned
        until, polls = time.monotonic() + 1.5, 0
        while time.monotonic() < until:
            assert not await here.finds(card)
            polls += 1
            await asyncio.sleep(0.02)
        assert (here.gathered.questioned - questioned, here.known.hits) == (polls, 0)
        async with asyncio.timeout(10):
            while not here.known.hits:
                await asyncio.gather(*(here.finds(each) for each in here.rig.cards))
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.6)
        hits = here.known.hits
        assert not await here.finds(card)
        assert here.known.hits == hits, "as soon as few poll again"


# --- Rule (b): what was found before it listened is void -------------------------------------------------------------


@pytest.mark.parametrize(("fault", "right"), [(None, True), ("believed across a gap", False)])
async def test_work_that_came_while_nobody_listened_is_found_when_somebody_does(
    database: Database, fault: str | None, right: bool
) -> None:
    async with scene(database, fault=fault) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        await here.signal_listener(None)
        await asyncio.sleep(0.05)
        await here.order(card)  # nobody hears of it
        await here.live()
        assert await here.finds(card) is right


# --- Rule (c): an answer counts from when its question was sent ------------------------------------------------------


@pytest.mark.parametrize(("fault", "right"), [(None, True), ("noted after the answer", False)])
async def test_work_that_comes_while_the_question_is_under_way_is_found_at_the_next_poll(
    database: Database, monkeypatch: pytest.MonkeyPatch, fault: str | None, right: bool
) -> None:
    ask = Glances.short
    async with scene(database, fault=fault) as here:
        card = here.rig.cards[0]
        await here.remembers(card)
        here.known.work_came(0, time.monotonic())
        here.known.doubt_all(time.monotonic())

        async def slow(self: Glances, *columns: object) -> dict[int, bool]:
            found = await ask(self, *columns)  # type: ignore[arg-type]
            await here.order(card)
            await asyncio.sleep(SETTLED)  # its announcement is heard before the answer
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Glances, "short", slow)
            assert not await here.finds(card)
        await here.live()
        assert await here.finds(card) is right


# --- The race --------------------------------------------------------------------------------------------------------


async def _race(here: Scene, times: int, kill_every: int, seed: int = 0) -> tuple[int, int]:
    """Order, and poll up to 5 ms later or at the same time; (how often nothing was found, how often still at the next
    poll, which comes when the rule's second is over)."""
    draw = random.Random(seed)
    late = lasting = 0
    took = 0.01  # seconds that an order takes
    for number in range(times):
        card = here.rig.cards[number % CARDS]
        await here.remembers(card)
        if number % kill_every == kill_every - 1:
            await here.signal_listener(None)
        if number % 2:
            here.known.work_came(bucket_of(Eid(card.eid)), time.monotonic())  # so that this poll is asked for
            order = asyncio.create_task(here.order(card))
            await asyncio.sleep(draw.uniform(0.5, 1.05) * took)
            poll = asyncio.create_task(here.finds(card))
            for _ in range(draw.randint(0, 4)):
                await asyncio.sleep(0)
            time.sleep(draw.uniform(0, 0.004))  # noqa: ASYNC251 - a busy process: answer and announcement come at once
            await asyncio.gather(order, poll)
            await asyncio.sleep(0.02)
            found = await here.finds(card)
        else:
            began = time.monotonic()
            await here.order(card)
            took = time.monotonic() - began
            await asyncio.sleep(draw.uniform(0, 0.005))
            found = await here.finds(card)
        if not found:
            late += 1
            await here.busy(WINDOW)
            lasting += not await here.finds(card)
        await here.clear()
    return late, lasting


@pytest.mark.parametrize("times", [300, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_what_is_ordered_is_found_at_once_or_at_the_next_poll(database: Database, times: int) -> None:
    async with scene(database) as here:
        late, lasting = await _race(here, times, kill_every=97)
    assert lasting == 0
    assert late < max(times / 50, 5)


@pytest.mark.parametrize(
    "fault", ["announcements unheard", pytest.param("noted after the answer", marks=pytest.mark.slow)]
)
async def test_the_race_finds_a_broken_rule(database: Database, fault: str) -> None:
    async with scene(database, fault=fault) as here:
        for number in range(200):
            _, lasting = await _race(here, 6, kill_every=1000, seed=number)
            if lasting:
                return
    raise AssertionError("nobody noticed")
