"""Cards for which nothing more is made: suspected, denied, or orphaned. Columns of `euiccs`, and `mailbox.barred`.

`mailbox.barred` is for quarantine and denials: nothing goes out. What is out to an orphan is given again at each poll,
so that a card which does know us ends that by signing. Lock the eUICC's row before; the mailbox is barred before
anybody looks what is out, so that a hand-out that was under way is seen.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db

_QUARANTINE: Final = """
    UPDATE euiccs SET quarantined_at = coalesce(quarantined_at, now()), quarantine_why = coalesce(quarantine_why, $3)
     WHERE bucket = $1 AND eid = $2
"""
_ORPHAN: Final = "UPDATE euiccs SET orphaned_at = coalesce(orphaned_at, now()) WHERE bucket = $1 AND eid = $2"
_DENY: Final = "UPDATE euiccs SET denied_by = $3 WHERE bucket = $1 AND eid = $2"
_BAR: Final = "UPDATE mailbox SET barred = true WHERE bucket = $1 AND eid = $2"
_UNBAR: Final = """
    UPDATE mailbox m
       SET barred = e.quarantined_at IS NOT NULL OR e.denied_by IS NOT NULL
      FROM euiccs e
     WHERE m.bucket = $1 AND m.eid = $2 AND e.bucket = $1 AND e.eid = $2
"""
_IS_SUSPECTED: Final = """
    SELECT EXISTS (SELECT 1 FROM events
                    WHERE bucket = $1 AND eid = $2 AND kind = 'euicc.suspected' AND data ->> 'why' = $3
                      AND at > now() - interval '1 day')
"""
_HIGHEST_HANDED: Final = "SELECT highest_handed FROM mailbox WHERE bucket = $1 AND eid = $2"
_HEAD: Final = "SELECT operation FROM mailbox WHERE bucket = $1 AND eid = $2 AND handed_at IS NOT NULL"
_LOCK: Final = """
    SELECT orphaned_at, quarantined_at, quarantine_why, denied_by FROM euiccs
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 FOR UPDATE
"""
_CLEAR: Final = """
    UPDATE euiccs SET quarantined_at = NULL, quarantine_why = NULL
     WHERE bucket = $1 AND eid = $2 AND tenant = $3
"""
# A card that was given an eIM anew has another token; what it signed with before proves nothing of that.
_FOUND_AGAIN: Final = """
    UPDATE euiccs SET orphaned_at = NULL, reset_at = NULL, association_token = NULL, token_proven = false,
                      signature_form = NULL, signature_coding = NULL
     WHERE bucket = $1 AND eid = $2 AND tenant = $3
"""
_SIGNED_AGAIN: Final = "UPDATE euiccs SET orphaned_at = NULL WHERE bucket = $1 AND eid = $2"
_PAGE: Final = """
    SELECT e.eid, e.created_at, e.orphaned_at, e.quarantined_at, e.quarantine_why, e.denied_by
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND (e.orphaned_at IS NOT NULL OR e.quarantined_at IS NOT NULL OR e.denied_by IS NOT NULL)
     ORDER BY e.created_at, e.eid LIMIT $4
"""


class Bar(msgspec.Struct, frozen=True):
    """Why nothing goes out to a card; several may hold at once, and none does when all are None."""

    orphaned_at: datetime | None
    quarantined_at: datetime | None
    quarantine_why: str | None
    denied_by: UUID | None

    @property
    def holds(self) -> bool:
        return any(each is not None for each in (self.orphaned_at, self.quarantined_at, self.denied_by))


class Barred(msgspec.Struct, frozen=True):
    """A card in the list of those to which nothing goes out."""

    eid: Eid
    created_at: datetime
    bar: Bar


async def quarantine(db: Db, bucket: Bucket, eid: Eid, why: str) -> None:
    """Nothing goes out to it until an operator releases it."""
    await db.execute(_QUARANTINE, bucket, eid, why)
    await db.execute(_BAR, bucket, eid)


async def orphan(db: Db, bucket: Bucket, eid: Eid) -> None:
    """It knows us no more: nothing is made for it until it, or an operator, says that it knows us again."""
    await db.execute(_ORPHAN, bucket, eid)


async def signed_again(db: Db, bucket: Bucket, eid: Eid) -> None:
    """It signed what is out now: it knows us."""
    await db.execute(_SIGNED_AGAIN, bucket, eid)


async def deny(db: Db, bucket: Bucket, eid: Eid, denial: UUID) -> None:
    """It fell under `denial`."""
    await db.execute(_DENY, bucket, eid, denial)
    await db.execute(_BAR, bucket, eid)


async def admit(db: Db, bucket: Bucket, eid: Eid) -> None:
    """It falls under no denial any more."""
    await db.execute(_DENY, bucket, eid, None)
    await db.execute(_UNBAR, bucket, eid)


async def is_suspected(db: Db, bucket: Bucket, eid: Eid, why: str) -> bool:
    """Whether the same was told of it within a day."""
    return bool(await db.fetchval(_IS_SUSPECTED, bucket, eid, why))


async def highest_handed(db: Db, bucket: Bucket, eid: Eid) -> int:
    """The highest counter that ever went out to it."""
    return int(await db.fetchval(_HIGHEST_HANDED, bucket, eid) or 0)


async def head(db: Db, bucket: Bucket, eid: Eid) -> UUID | None:
    """The operation that is out with it."""
    found: UUID | None = await db.fetchval(_HEAD, bucket, eid)
    return found


async def lock(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Bar | None:
    """Its row, locked; None when the tenant has none of this EID."""
    row = await db.fetchrow(_LOCK, bucket, eid, tenant)
    return Bar(**dict(row)) if row else None


async def release(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid, bar: Bar) -> None:
    """End quarantine and orphanage; a denial stays."""
    await db.execute(_CLEAR, bucket, eid, tenant)
    if bar.orphaned_at is not None:
        await db.execute(_FOUND_AGAIN, bucket, eid, tenant)
    await db.execute(_UNBAR, bucket, eid)


async def page(db: Db, tenant: TenantId, after: tuple[datetime, Eid], limit: int) -> tuple[Barred, ...]:
    """Those to which nothing goes out, behind `after`, oldest first."""
    rows = await db.fetch(_PAGE, tenant, *after, limit)
    return tuple(
        Barred(
            Eid(r["eid"]),
            r["created_at"],
            Bar(r["orphaned_at"], r["quarantined_at"], r["quarantine_why"], r["denied_by"]),
        )
        for r in rows
    )
