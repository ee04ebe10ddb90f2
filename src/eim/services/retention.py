"""The worker forgets what is older than the configuration says: a little at a time, bucket after bucket."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from eim.domain.ids import BUCKETS, Bucket
from eim.errors import Contended, Unavailable
from eim.services.leasing import Leasing
from eim.store import retention
from eim.store.connect import Pool, transaction
from eim.store.retention import Aging

CHUNK: Final = 500  # rows a transaction: a few milliseconds under its locks
_PAUSE: Final = 3.0  # seconds between two buckets: all of them in about an hour
_BREATH: Final = 0.05  # seconds between two chunks of one bucket

_log = structlog.get_logger()


class Ages(msgspec.Struct, frozen=True):
    """How long each kind is kept; a kind that is absent is kept for ever."""

    kept: Mapping[Aging, timedelta]


class Retention:
    """Holds the worker role's pool. What it does can be repeated, by several at once."""

    def __init__(self, pool: Pool, ages: Ages) -> None:
        self._pool = pool
        self._ages = ages

    async def run(self, leasing: Leasing) -> None:
        """Purge what this worker's buckets have, round and round, until cancelled."""
        while True:
            for bucket in list(leasing.buckets):
                await self._purge_or_wait(bucket)
                await asyncio.sleep(_PAUSE)
            await asyncio.sleep(_PAUSE)

    async def purge(self, bucket: Bucket) -> Mapping[Aging, int]:
        """Purge all that is old in one bucket, in chunks; how much of each kind it was."""
        gone = dict.fromkeys(self._ages.kept, 0)
        for kind, older in self._ages.kept.items():
            while True:
                async with transaction(self._pool) as db:
                    chunk = await retention.purge(db, kind, bucket, older, CHUNK)
                gone[kind] += chunk
                if chunk < CHUNK:
                    break
                await asyncio.sleep(_BREATH)
        return gone

    async def purge_all(self) -> Mapping[Aging, int]:
        """Purge every bucket now; bucket 0 last, for with it goes what others have to leave before."""
        total = dict.fromkeys(self._ages.kept, 0)
        for bucket in reversed(range(BUCKETS)):
            for kind, gone in (await self.purge(Bucket(bucket))).items():
                total[kind] += gone
        return total

    async def count(self) -> Mapping[Aging, int]:
        """What a purge would find now; nothing is changed."""
        async with transaction(self._pool) as db:
            return {kind: await retention.count(db, kind, older) for kind, older in self._ages.kept.items()}

    async def _purge_or_wait(self, bucket: Bucket) -> None:
        try:
            gone = await self.purge(bucket)
        except (Contended, Unavailable) as error:
            _log.warning("retention.not_now", why=error.code)
            return
        if any(gone.values()):
            _log.info("retention.purged", bucket=bucket, **{kind.value: n for kind, n in gone.items() if n})
