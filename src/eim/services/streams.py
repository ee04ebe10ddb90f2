"""Events for who reads or follows them: pages and streams of one tenant, each with a place to go on from."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import msgspec

from eim.domain.event import CloudEvent, Origin, cloud_event, kinds_of
from eim.errors import Unavailable
from eim.services.horizon import Horizon
from eim.services.tokens import Caller
from eim.store import events
from eim.store.connect import Pool, acquire, transaction
from eim.store.events import Told, Wanted

_A_LOOK: Final = 500  # events
_WINDOW: Final = 50_000  # turns that one look for a part of all events goes through
_ALL: Final = frozenset(kinds_of(()))
_PATIENCE_S: Final = 1.0  # seconds that a read waits for transactions under way
_EVERY_S: Final = 1.0  # seconds between two looks of one stream that has caught up


class TooManyStreams(Unavailable):
    """This process serves as many streams as it may."""

    code = "too-many-streams"


class Batch(msgspec.Struct, frozen=True):
    """Some events in their order, and the place behind them. `whole`: there are no more now."""

    events: tuple[tuple[int, CloudEvent], ...]
    place: int
    whole: bool


class EventReader:
    """Reads for one tenant at a time. Guards the number of streams of this process."""

    def __init__(self, pool: Pool, most_streams: int = 100, window: int = _WINDOW) -> None:
        self._pool = pool
        self._window = window
        self._horizon = Horizon()
        self._free = most_streams

    async def place_at(self, caller: Caller, since: datetime | None) -> int:
        """The place in front of what happened since; without a time: behind all that has happened."""
        if since is not None:
            async with transaction(self._pool, tenant=caller.tenant) as db:
                found = await events.turn_at(db, caller.tenant, since)
            if found is not None:
                return found
        async with acquire(self._pool) as db:
            return await events.last_turn(db)

    async def page(self, caller: Caller, wanted: Wanted, place: int, limit: int) -> Batch:
        """At most `limit` events behind `place`, oldest first: none that a transaction under way could yet overtake.

        A look for some of a million events ends after a window of them, with few or none: its place is behind those.
        """
        async with acquire(self._pool) as db:
            safe = await self._horizon.caught_up(db, _PATIENCE_S)
        if safe <= place:
            return Batch((), place, whole=True)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            until = safe if set(wanted.kinds) >= _ALL and wanted.tag is None else min(safe, place + self._window)
            rows = await events.after(db, caller.tenant, wanted, (place, until), limit)
        place = rows[-1].turn if len(rows) == limit else until
        return Batch(tuple((row.turn, told(row)) for row in rows), place, whole=len(rows) < limit and until == safe)

    async def follow(self, caller: Caller, wanted: Wanted, place: int) -> AsyncIterator[Batch]:
        """What happens behind `place`, for ever; about once a second an empty batch when nothing does."""
        while True:
            batch = await self.page(caller, wanted, place, _A_LOOK)
            place = batch.place
            yield batch
            if batch.whole:
                await asyncio.sleep(_EVERY_S)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One of the streams that this process may serve at once. Raises TooManyStreams."""
        if not self._free:
            raise TooManyStreams("this process follows events for as many as it may: try again, or read pages")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def told(row: Told) -> CloudEvent:
    """The event as it leaves us."""
    happened = row.happened
    return cloud_event(Origin(happened.id, happened.eid, happened.at, row.eim_id), happened.kind, happened.data)
