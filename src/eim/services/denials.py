"""Deny-lists: an operator names a card, a maker or a certificate, and nothing goes out to whom that is."""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
import structlog

from eim.domain.event import Happening
from eim.domain.ids import BUCKETS, Bucket, Eid, TenantId, bucket_of
from eim.errors import Conflict, Contended, LeaseLost, NotFound, Unavailable, UntrustedCertificate
from eim.protocol.marks import marks_of
from eim.services import barring as bars
from eim.services.leasing import Leasing
from eim.services.ports import Clock
from eim.services.tokens import Caller
from eim.services.visit import Visit
from eim.store import Db, associations, audit, barring, denials, events, requests
from eim.store.connect import Pool, acquire, transaction
from eim.store.denials import Changed, Denial, New
from eim.store.requests import Ask

_EVERY_BUCKET: Final = tuple(Bucket(number) for number in range(BUCKETS))
_ROUNDS: Final = 100  # buckets at a time
_CHUNK: Final = 100  # cards a transaction
_PAUSE: Final = 0.5  # seconds between two looks

_log = structlog.get_logger()


class Wanted(msgspec.Struct, frozen=True):
    """What an operator denies. `eid`: the one card that it names, if it names one."""

    mark: str
    reason: str
    expires_at: datetime | None = None
    eid: Eid | None = None


class Denials:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, caller: Caller, wanted: Wanted) -> Denial:
        """Deny from now on: each hand-out looks here, so the commit of this is the end. Raises Conflict."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            new = New(uuid4(), wanted.mark, wanted.reason, caller.actor, wanted.expires_at)
            made = await denials.insert(db, caller.tenant, new)
            if made is None:
                raise Conflict(f"{wanted.mark} is denied already: lift that denial first (`eim deny list`)")
            buckets = _EVERY_BUCKET if wanted.eid is None else (bucket_of(wanted.eid),)
            await denials.look_again(db, caller.tenant, buckets, None)
            if wanted.expires_at is not None:
                await denials.look_again(db, caller.tenant, buckets, wanted.expires_at)
            await _tell(db, caller, Happening.DENIAL_ADDED, made, wanted.reason)
            await events.hint(db, buckets[:1])
        return made

    async def page(
        self, caller: Caller, after: tuple[datetime, UUID], limit: int, *, ended: bool
    ) -> tuple[Denial, ...]:
        """The denials behind `after`, oldest first; `ended`: also those that stand no more."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await denials.page(db, caller.tenant, after, limit, ended=ended)

    async def read(self, caller: Caller, denial: UUID) -> Denial:
        """Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await _read(db, caller, denial)

    async def lift(self, caller: Caller, denial: UUID, reason: str) -> Denial:
        """It stands no more; a worker lets go whom it named. Again is no error. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _read(db, caller, denial)
            if found.lifted_at is None:
                await denials.lift(db, caller.tenant, denial, caller.actor, reason)
                kind, _, digits = found.mark.partition(":")
                eid = Eid(bytes.fromhex(digits)) if kind == "eid" else None
                buckets = _EVERY_BUCKET if eid is None else (bucket_of(eid),)
                await denials.look_again(db, caller.tenant, buckets, None)
                await _tell(db, caller, Happening.DENIAL_LIFTED, found, reason)
            return await _read(db, caller, denial)


class DenialRounds:
    """Acts on denials: bars whom they name, and lets go whom none names any more. Holds the worker role's pool."""

    def __init__(self, pool: Pool, leasing: Leasing, clock: Clock) -> None:
        self._pool = pool
        self._leasing = leasing
        self._clock = clock

    async def run(self) -> None:
        """Look twice a second until cancelled."""
        while True:
            try:
                done = await self.round()
            except (Contended, LeaseLost, Unavailable) as error:
                _log.warning("denials.not_now", why=error.code)
                done = 0
            if not done:
                await asyncio.sleep(_PAUSE)

    async def round(self) -> int:
        """What is due in this worker's buckets; in how many of them something was."""
        async with acquire(self._pool) as db:
            due = await denials.due(db, self._leasing.buckets, _ROUNDS)
        for bucket, tenant in due:
            while await self._chunk(bucket, tenant):
                pass
        return len(due)

    async def _chunk(self, bucket: Bucket, tenant: TenantId) -> bool:
        """Some cards of one bucket; whether there may be more."""
        async with transaction(self._pool) as db:
            await self._leasing.hold(db, [bucket])
            until = await denials.now(db)
            unmarked = await denials.unmarked(db, bucket, tenant, _CHUNK)
            for each in unmarked:
                await denials.mark(db, bucket, each.eid, _marks(each.euicc_certificate, each.eum_certificate))
            changed = await denials.changed(db, bucket, tenant, _CHUNK)
            for card in changed:
                await self._act(db, bucket, card)
            more = len(unmarked) == _CHUNK or len(changed) == _CHUNK
            if not more:
                await denials.done(db, bucket, tenant, until)
        return more

    async def _act(self, db: Db, bucket: Bucket, card: Changed) -> None:
        known = await associations.lock(db, bucket, card.eid)
        if known is None:
            return
        visit = Visit(db, (bucket, card.eid), known, self._clock(), None)
        if card.denial is not None:
            await bars.deny(visit, card.denial, "worker")
            return
        await barring.admit(db, bucket, card.eid)
        await visit.record(Happening.EUICC_ADMITTED, {"denial": str(card.denied_by)})
        await visit.audit("euicc.admitted", {"denial": str(card.denied_by)})
        await requests.add(db, bucket, card.eid, Ask.RECOVER, "admitted")


def _marks(euicc: bytes, eum: bytes) -> tuple[str, ...]:
    try:
        return marks_of(euicc, eum)
    except UntrustedCertificate:
        return ()  # it was believed by an older rule


async def _read(db: Db, caller: Caller, denial: UUID) -> Denial:
    found = await denials.read(db, caller.tenant, denial)
    if found is None:
        raise NotFound(f"there is no denial {denial}")
    return found


async def _tell(db: Db, caller: Caller, kind: Happening, denial: Denial, reason: str) -> None:
    about: dict[str, object] = {"denial": str(denial.id), "mark": denial.mark, "reason": reason, "by": caller.actor}
    bucket = audit.bucket_of_subject(str(denial.id))
    await events.record(db, bucket, None, caller.tenant, kind, about)
    await audit.record(
        db, bucket, caller.tenant, actor=caller.actor, action=kind.text, subject=str(denial.id), data=about
    )
