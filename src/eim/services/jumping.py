"""After a restore cards are ahead of us: all counters jump past what they may have accepted (design 3.4)."""

from collections.abc import Callable
from typing import Final

from eim.domain.ids import BUCKETS, DEFAULT_TENANT, Bucket
from eim.store import audit, jumps
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.jumps import Jump

MARGIN: Final = 1000  # more packages than a card gets between two backups


class Jumping:
    """Holds the worker role's pool, nothing else. Workers may go on meanwhile: each bucket is one transaction."""

    def __init__(self, pool: Pool, actor: str) -> None:
        self._pool = pool
        self._actor = actor

    async def unfinished(self) -> Jump | None:
        """A jump that was begun and killed: it has to be ended before another one begins."""
        async with transaction(self._pool) as db:
            return await jumps.unfinished(db)

    async def count(self) -> int:
        """How many eUICCs a jump would raise."""
        async with transaction(self._pool) as db:
            return await jumps.count(db)

    async def run(self, margin: int, progress: Callable[[int], None]) -> int:
        """Go on with the unfinished jump, or make one by `margin`; how many eUICCs this call has raised.

        progress  is told after each bucket how many of the 1,024 are done

        Killed at any point, the next call goes on behind the last bucket that was done: none is raised twice.
        """
        async with transaction(self._pool) as db:
            jump = await jumps.unfinished(db) or await jumps.begin(db, margin)
        raised = 0
        for bucket in range(jump.next_bucket, BUCKETS):
            raised += await self._raise(jump, Bucket(bucket))
            progress(bucket + 1)
        return raised

    async def _raise(self, jump: Jump, bucket: Bucket) -> int:
        async with transaction(self._pool) as db:
            if not await jumps.take_place(db, jump, bucket):
                return 0
            raised = await jumps.raise_bucket(db, jump, bucket)
            if raised:
                about: dict[str, object] = {"margin": jump.margin, "bucket": bucket, "euiccs": raised}
                subject = str(jump.id)
                await audit.write(db, [Record(DEFAULT_TENANT, self._actor, "counters.jump", subject, about, bucket)])
        return raised
