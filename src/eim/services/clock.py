"""The database's clock, watched by the one that nobody sets: when it was set back, what was due stays due."""

import time
from datetime import datetime, timedelta
from typing import Final

import structlog

from eim.services.leasing import Leasing
from eim.store import clock, due
from eim.store.connect import Pool, acquire, transaction

_EVERY: Final = 2.0  # seconds between two looks
_NONE: Final = timedelta(0)
_SLACK: Final = timedelta(
    seconds=1
)  # that it may fall behind between two looks: clocks are slewed, looks take their time
# Each in a transaction of its own: many rows of two tables at once could wait for whoever locks one card's in turn.
_IN_TURN: Final = (
    clock.keep_requests,
    clock.keep_operations,
    clock.keep_retries,
    clock.keep_heads,
    clock.keep_packages,
    clock.keep_notifications,
)

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
        step = _set_back(self._seen, (now, at)) if self._seen is not None else _NONE
        helped = await self._help(step) if step > _SLACK else 0
        self._seen = now, at
        return helped

    async def _help(self, step: timedelta) -> int:
        helped = 0
        with self._leasing.round() as buckets:
            for keep in _IN_TURN:
                async with transaction(self._pool) as db:
                    await self._leasing.hold(db, buckets)
                    helped += await keep(db, buckets, step)
        _log.warning("clock.set_back", seconds=round(step.total_seconds()), due=helped)
        return helped


def _set_back(before: tuple[datetime, float], now: tuple[datetime, float]) -> timedelta:
    """How far the clock is behind what it should be; negative when it is ahead."""
    return timedelta(seconds=now[1] - before[1]) - (now[0] - before[0])
