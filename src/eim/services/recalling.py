"""An order that an operator takes back as a whole: the worker withdraws its operations, chunk by chunk.

Each is withdrawn as it would be alone: what the card never had leaves no trace, what it may have is cleared up with it.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

import structlog

from eim.domain.ids import Bucket, bucket_of
from eim.domain.operation import State
from eim.errors import Conflict, NotFound
from eim.services import withdrawing
from eim.services.leasing import Leasing
from eim.services.tokens import Caller
from eim.store import Db, audit, euiccs, operations, recalls
from eim.store.audit import Record
from eim.store.connect import Pool, acquire, transaction
from eim.store.operations import Operation
from eim.store.recalls import Recall

_CHUNK: Final = 500  # operations a transaction

_log = structlog.get_logger()


class Recaller:
    """Holds the worker role's pool and leases, nothing else: what is left to take back, the operations say."""

    def __init__(self, pool: Pool, leasing: Leasing) -> None:
        self._pool = pool
        self._leasing = leasing

    async def round(self) -> int:
        """Take back one chunk; how many operations it had. 0: there is nothing to do here."""
        with self._leasing.round() as buckets:
            async with acquire(self._pool) as db:
                waiting = await recalls.unfinished(db)
            for recall in waiting:
                if done := await self._go_on(recall, buckets):
                    return done
        return 0

    async def _go_on(self, recall: Recall, buckets: Sequence[Bucket]) -> int:
        async with acquire(self._pool) as db:
            found = await recalls.next_of(db, recall, buckets, _CHUNK)
            over = not found and not await recalls.is_left(db, recall)
        if over:
            await self._finish(recall)
        if not found:
            return 0
        caller = Caller(recall.tenant, recall.by, frozenset())
        async with transaction(self._pool, recall.tenant) as db:  # taking back seals asks whose they are
            await self._leasing.hold(db, [operation.bucket for operation in found])
            for bucket, some in groupby(found, key=lambda each: each.bucket):
                await _withdraw(db, caller, bucket, [each.id for each in some])
        return len(found)

    async def _finish(self, recall: Recall) -> None:
        async with transaction(self._pool) as db:
            if await recalls.finish(db, recall.order):
                await audit.write(db, [Record(recall.tenant, "worker", "order.withdrawn", str(recall.order), {})])


async def _withdraw(db: Db, caller: Caller, bucket: Bucket, ids: Sequence[UUID]) -> None:
    """Those of one bucket: together what no card has, one by one the others."""
    eids = sorted({each.eid for each in await operations.read_many(db, caller.tenant, bucket, ids)})
    await euiccs.lock(db, caller.tenant, bucket, eids)
    before = {each.id: each for each in await operations.read_many(db, caller.tenant, bucket, ids)}
    await recalls.take_back(db, bucket, sorted({each.eid for each in before.values() if each.state is State.SEALED}))
    together = await recalls.withdraw(db, caller.tenant, bucket, ids, caller.actor)
    if together:
        await withdrawing.tell(db, caller, bucket, [before[each] for each in sorted(together)])
    for each in before.values():
        if each.id not in together:
            await _withdraw_one(db, caller, bucket, each)


async def _withdraw_one(db: Db, caller: Caller, bucket: Bucket, found: Operation) -> None:
    assert bucket == bucket_of(found.eid)  # noqa: S101 - an operation lies with its card
    try:
        await withdrawing.withdraw(db, caller, bucket, found.id)
    except (Conflict, NotFound) as error:  # it ended just now
        _log.info("worker.not_withdrawn", operation=str(found.id), why=error.code)
