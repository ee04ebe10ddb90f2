"""What the device role asked for becomes operations here: only ones that change nothing on the card (design 1)."""

import secrets
from typing import Final

from eim.domain import opening
from eim.domain.event import kind_of
from eim.domain.ids import Bucket, Eid, format_eid, with_bucket
from eim.domain.operation import Kind, Priority
from eim.domain.step import AddEim, DeleteEim
from eim.services import resyncing
from eim.services.holding import Hold
from eim.store import Db, associations, audit, events, mailbox, requests, work
from eim.store.associations import Card
from eim.store.connect import Pool, transaction
from eim.store.requests import Ask, Request
from eim.store.work import Expiring

_BY: Final = "eim"


class Asking:
    """Turns requests into operations, and operations past their time into what that means."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def serve(self, request: Request, hold: Hold) -> None:
        """Do what was asked and forget it, in one transaction."""
        async with transaction(self._pool) as db:
            await hold(db, [request.bucket])
            card = await associations.lock(db, request.bucket, request.eid)
            await requests.delete(db, request)
            if card is not None:
                await _serve(db, request, card)

    async def pass_time(self, expiring: Expiring, hold: Hold) -> None:
        """End an operation past its time (one that is out is in doubt instead, and a recovery begins); or let it wait
        for its next window."""
        async with transaction(self._pool) as db:
            await hold(db, [expiring.bucket])
            card = await associations.lock(db, expiring.bucket, expiring.eid)
            if card is None:
                return
            if expiring.closes:
                await reopen(db, expiring.bucket, expiring.eid, every=False)
            else:
                await _expire(db, expiring, card)


async def reopen(db: Db, bucket: Bucket, eid: Eid, *, every: bool) -> None:
    """Find the next window of what can't go out any more in its own (`every`: of all that have one). Lock the eUICC
    before. What was sealed is taken back, so that it stands in nobody's way."""
    await mailbox.unseal(db, bucket, eid)
    for each in await work.closed(db, bucket, eid, every=every):
        found = opening.window(opening.parse(each.opening), opening.zone_named(each.time_zone), each.floor)
        await work.reopen(db, bucket, eid, each.id, found)


async def _serve(db: Db, request: Request, card: Card) -> None:
    bucket, eid = request.bucket, request.eid
    match request.kind:
        case Ask.AUDIT:
            await _place_once(db, bucket, eid, Kind.LIST_PROFILES, Priority.INTRODUCTION)
        case Ask.INTRODUCE:
            await _place_once(db, bucket, eid, Kind.DATA_REQUEST, Priority.ASKED_AGAIN)
        case Ask.EIMS:
            await _place_once(db, bucket, eid, Kind.LIST_EIM, Priority.INTRODUCTION)
        case Ask.RESEAL:
            await mailbox.unseal(db, bucket, eid)
        case Ask.REOPEN:
            await reopen(db, bucket, eid, every=True)
        case Ask.RECOVER if card.orphaned_at is None:
            await resyncing.resync(db, request, card)
            await _recover(db, bucket, eid)
    about = {"kind": request.kind.value, "reason": request.reason}
    await audit.record(
        db, bucket, card.tenant, actor="worker", action="request.served", subject=format_eid(eid), data=about
    )


async def _recover(db: Db, bucket: Bucket, eid: Eid) -> None:
    """What is in doubt leaves the head; a data request for results goes out next, then an inventory (design 3.3)."""
    doubtful = await work.doubtful(db, bucket, eid)
    if not doubtful:
        return  # the late result came meanwhile
    under_way = await work.recovering(db, bucket, eid)
    if under_way and not await work.is_head_in_doubt(db, bucket, eid):
        return
    await mailbox.unseal(db, bucket, eid)
    await work.clear_head(db, bucket, eid)
    if await resyncing.is_given_up(db, bucket, eid):
        return
    of_eims = any(isinstance(step, AddEim | DeleteEim) for each in doubtful for step in each.asked.steps)
    for kind in (Kind.DATA_REQUEST, Kind.LIST_PROFILES, *([Kind.LIST_EIM] if of_eims else ())):
        if kind not in under_way:
            await _place(db, bucket, eid, kind, Priority.RECOVERY)


async def _expire(db: Db, expiring: Expiring, card: Card) -> None:
    bucket, eid = expiring.bucket, expiring.eid
    expired = await work.expire(db, bucket, expiring.id)
    if not expired:
        await mailbox.unseal(db, bucket, eid)
        expired = await work.expire(db, bucket, expiring.id)
    if expired:
        outcome = "expired"
    elif await work.doubt(db, bucket, expiring.id, "expired"):
        outcome = "in_doubt"
        await _recover(db, bucket, eid)
    else:
        return  # its result came in between
    about = {"operation": str(expiring.id), "reason": "expired"}
    await events.record(db, bucket, eid, card.tenant, kind_of(f"operation.{outcome}"), about)
    await audit.record(
        db, bucket, card.tenant, actor="worker", action=f"operation.{outcome}", subject=format_eid(eid), data=about
    )


async def _place_once(db: Db, bucket: Bucket, eid: Eid, kind: Kind, priority: int) -> None:
    if not await work.pending(db, bucket, eid, kind):
        await _place(db, bucket, eid, kind, priority)


async def _place(db: Db, bucket: Bucket, eid: Eid, kind: Kind, priority: int) -> None:
    operation = with_bucket(bucket, secrets.token_bytes(14))
    await work.place(db, bucket, eid, operation, kind, priority, _BY)
