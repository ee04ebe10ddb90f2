"""The database's clock, watched by the one that nobody sets: when it was set back, what was due stays due."""

import time
from datetime import datetime
from typing import Final

import structlog

from eim.services.leasing import Leasing
from eim.store import clock, due
from eim.store.connect import Pool, acquire, transaction

_EVERY: Final = 2.0  # seconds between two looks
_SLACK: Final = 1.0  # seconds that it may fall behind between two looks: clocks are slewed, looks take their time
# Each in a transaction of its own: many rows of two tables at once could wait for whoever locks one card's in turn.
_IN_TURN: Final = (clock.keep_requests, clock.keep_operations, clock.keep_heads, clock.keep_packages)

_log = structlog.get_logger()


class Watch:
    """Guards what the last look saw. Each worker looks for itself, and helps what lies in its own buckets."""

    def __init__(self, pool: Pool, leasing: Leasing) -> None:
        self._pool = pool
        self._leasing = leasing
        self._seen: tuple[datetime, float] | None = None  # the database's time, and ours then

    async def look(self) -> int:
        """How much was due and waited for the clock. Repeated as a whole when it can't be finished."""
        at = time.monotonic()
        if self._seen is not None and at - self._seen[1] < _EVERY:
            return 0
        async with acquire(self._pool) as db:
            now = await due.now(db)
        helped = await self._help() if self._seen is not None and _is_set_back(self._seen, (now, at)) else 0
        self._seen = now, at
        return helped

    async def _help(self) -> int:
        helped = 0
        with self._leasing.round() as buckets:
            for keep in _IN_TURN:
                async with transaction(self._pool) as db:
                    await self._leasing.hold(db, buckets)
                    helped += await keep(db, buckets)
        _log.warning("clock.set_back", due=helped)
        return helped


def _is_set_back(before: tuple[datetime, float], now: tuple[datetime, float]) -> bool:
    return (now[0] - before[0]).total_seconds() < now[1] - before[1] - _SLACK
