"""How long the queues are, as gauges: a worker asks for its own buckets now and then, where metrics are exposed."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from eim import instruments
from eim.errors import Unavailable
from eim.services.leasing import Leasing
from eim.store import due
from eim.store.connect import Pool, acquire
from eim.store.due import Depth

TENANTS: Final = 20  # that have a line of their own, those with the most due; the rest is "other"
_EVERY_S: Final = 15.0
_SHARE: Final = 0.02  # of the time at most goes into asking

_log = structlog.get_logger()


class Gauging:
    """Holds the worker's pool."""

    def __init__(self, pool: Pool, leasing: Leasing) -> None:
        self._pool = pool
        self._leasing = leasing

    async def run(self) -> None:
        """Gauge until cancelled."""
        while True:
            began = time.monotonic()
            await self.gauge()
            await asyncio.sleep(max(_EVERY_S, (time.monotonic() - began) / _SHARE))

    async def gauge(self) -> None:
        """Once; without a database the last values stay."""
        try:
            async with acquire(self._pool) as db:
                depths = await due.depths(db, self._leasing.buckets)
        except Unavailable as error:
            _log.warning("queue.not_gauged", why=error.code)
            return
        instruments.DUE.clear()
        instruments.DUE_AGE.clear()
        for each in few(depths):
            lane = "brainpoolP256r1" if each.slow else "P-256"
            instruments.DUE.labels(each.tenant, lane).set(each.due)
            instruments.DUE_AGE.labels(each.tenant, lane).set(each.oldest)


def few(depths: Sequence[Depth]) -> list[Depth]:
    """The longest ones as they are, the others of each lane as one."""
    ordered = sorted(depths, key=lambda each: -each.due)
    kept, rest = ordered[:TENANTS], ordered[TENANTS:]
    for slow in (False, True):
        if same := [each for each in rest if each.slow is slow]:
            kept.append(Depth("other", slow, sum(each.due for each in same), max(each.oldest for each in same)))
    return kept
