"""Many polls at a glance: which of them surely find nothing. Reads only, one statement for all.

Two questions. The full one reads the row of each eUICC among perhaps millions, which is what costs. The short one asks
whether there is work at all: only indexes of what is open now, which are small. It is for who was asked for in full a
moment ago: that somebody onboarded it can wait as long, and that it was seen is written down so often and no more.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from eim.domain.ids import Bucket, Eid
from eim.store import Db, Prepared
from eim.store.connect import hold_nothing

# On the safe side: whatever is sealed, accepted or asked for makes a poll one that is looked at, whether or not it
# could go out now. A row comes back only for those, so that the usual answer is no row at all. LIMIT keeps the planner
# from reading all open work into memory, which is right on the day it plans and wrong on the day of a campaign.
_FULL: Final = """
    SELECT u.n, e.eid IS NULL AS nobody, coalesce(m.sealed IS NOT NULL, false) AS sealed,
           coalesce(e.traced_until > now() OR (u.plmn IS NOT NULL AND u.plmn IS DISTINCT FROM e.plmn)
                    OR (u.tells AND e.speaks IS NULL) OR r.is OR o.is, false) AS more,
           e.last_seen_at IS NULL OR e.last_seen_at < now() - $5::interval AS stale
      FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::boolean[])
           WITH ORDINALITY AS u (bucket, eid, plmn, tells, n)
      LEFT JOIN (euiccs e JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid)
             ON e.bucket = u.bucket AND e.eid = u.eid
      LEFT JOIN LATERAL (SELECT true AS is FROM requests
                          WHERE requests.bucket = u.bucket AND requests.eid = u.eid LIMIT 1) AS r ON true
      LEFT JOIN LATERAL (SELECT true AS is FROM operations
                          WHERE operations.bucket = u.bucket AND operations.eid = u.eid AND state = 'accepted'
                          LIMIT 1) AS o ON true
     WHERE e.eid IS NULL
        OR e.last_seen_at IS NULL
        OR e.last_seen_at < now() - $5::interval
        OR m.sealed IS NOT NULL
        OR e.traced_until > now()
        OR (u.plmn IS NOT NULL AND u.plmn IS DISTINCT FROM e.plmn)
        OR (u.tells AND e.speaks IS NULL)
        OR r.is
        OR o.is
"""
# What is sealed for a card, or out with it, is an operation that is open; so is one in doubt, which is looked at then.
_SHORT: Final = """
    SELECT u.n, w.sealed
      FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS u (bucket, eid, n),
           LATERAL (SELECT true AS sealed FROM operations
                     WHERE operations.bucket = u.bucket AND operations.eid = u.eid
                       AND state IN ('sealed', 'out', 'in_doubt')
                    UNION ALL
                    SELECT false FROM requests WHERE requests.bucket = u.bucket AND requests.eid = u.eid
                    UNION ALL
                    SELECT false FROM operations
                     WHERE operations.bucket = u.bucket AND operations.eid = u.eid AND state = 'accepted'
                    UNION ALL
                    SELECT false FROM euiccs
                     WHERE euiccs.bucket = u.bucket AND euiccs.eid = u.eid AND traced_until IS NOT NULL
                     LIMIT 1) AS w
"""


class Glance(msgspec.Struct, frozen=True):
    """One poll, as far as it matters."""

    bucket: Bucket
    eid: Eid
    plmn: bytes | None
    tells: bool  # it shows which version its device speaks


class Found(msgspec.Struct, frozen=True):
    """What there is for a poll that does not surely find nothing, or that is to be noted."""

    nobody: bool  # onboarded it
    sealed: bool  # something that may go out
    more: bool  # or something else that matters
    stale: bool  # when it was last seen is to be written


class Glances:
    """Guards the two questions, prepared on one connection."""

    def __init__(self, full: Prepared, short: Prepared, stale_after: float) -> None:
        self._full = full
        self._short = short
        self._stale_after = timedelta(seconds=stale_after)

    async def full(self, polls: Sequence[Glance]) -> dict[int, Found]:
        """What they find, by their place in `polls`. Who is missing surely finds nothing and was seen lately."""
        columns = ([p.bucket for p in polls], [p.eid for p in polls], [p.plmn for p in polls], [p.tells for p in polls])
        rows = await self._full.fetch(*columns, self._stale_after)
        return {row[0] - 1: Found(row[1], row[2], row[3], row[4]) for row in rows}

    async def short(self, buckets: Sequence[Bucket], eids: Sequence[Eid]) -> dict[int, bool]:
        """For whom there is work, by place in `eids`, and whether it is sealed. The others surely find nothing."""
        return {row[0] - 1: row[1] for row in await self._short.fetch(buckets, eids)}


async def prepare(db: Db, stale_after: float) -> Glances:
    """The questions, to be asked on `db` alone. `stale_after` in seconds."""
    glances = Glances(await db.prepare(_FULL), await db.prepare(_SHORT), stale_after)
    await hold_nothing(db)
    return glances
