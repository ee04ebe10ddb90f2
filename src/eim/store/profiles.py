"""The profiles that each eUICC last told us of: table `profiles`, read for the operator."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from asyncpg import Record as Row

from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Bucket, Eid, Iccid, TenantId
from eim.store import Db

_OF_EUICC: Final = """
    SELECT bucket, eid, iccid, state, isdp_aid, nickname, service_provider, name, profile_class, fallback, ppr,
           fallback_allowed, changed_at
      FROM profiles WHERE bucket = $1 AND eid = $2 AND tenant = $3 ORDER BY iccid
"""
_OF_MANY: Final = """
    SELECT p.bucket, p.eid, p.iccid, p.state, p.service_provider, p.fallback, p.fallback_allowed, p.ppr
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN profiles p ON p.bucket = u.bucket AND p.eid = u.eid
     WHERE p.tenant = $3
"""
# ICCIDs are never unique: the same one may lie on several cards.
_BY_ICCID: Final = """
    SELECT bucket, eid, iccid, state, isdp_aid, nickname, service_provider, name, profile_class, fallback, ppr,
           fallback_allowed, changed_at
      FROM profiles WHERE tenant = $1 AND iccid = $2 ORDER BY eid LIMIT $3
"""
_BY_CARRIER: Final = """
    SELECT coalesce(service_provider, '') AS carrier, count(*) AS many
      FROM profiles WHERE tenant = $1 AND state = 'enabled' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2
"""


class Found(msgspec.Struct, frozen=True):
    """A profile, on which card, and since when we know it so."""

    eid: Eid
    profile: Profile
    changed_at: datetime


async def of_euicc(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> tuple[Found, ...]:
    """The profiles on one eUICC, as it last told us."""
    return tuple(_found(row) for row in await db.fetch(_OF_EUICC, bucket, eid, tenant))


async def of_many(db: Db, tenant: TenantId, at: Sequence[tuple[Bucket, Eid]]) -> dict[Eid, list[Profile]]:
    """The profiles on each of these eUICCs, with what guards look at only; who has none is missing."""
    found: dict[Eid, list[Profile]] = {}
    for row in await db.fetch(_OF_MANY, [bucket for bucket, _ in at], [eid for _, eid in at], tenant):
        iccid, state = Iccid(row["iccid"]), ProfileState(row["state"])
        profile = Profile(
            iccid,
            state,
            service_provider=row["service_provider"],
            fallback=row["fallback"],
            ppr=row["ppr"],
            fallback_allowed=row["fallback_allowed"],
        )
        found.setdefault(Eid(row["eid"]), []).append(profile)
    return found


async def by_iccid(db: Db, tenant: TenantId, iccid: Iccid, limit: int) -> tuple[Found, ...]:
    """Where profiles of this ICCID lie: usually on one card."""
    return tuple(_found(row) for row in await db.fetch(_BY_ICCID, tenant, iccid, limit))


async def by_carrier(db: Db, tenant: TenantId, limit: int) -> dict[str, int]:
    """How many cards have each service provider's profile enabled, most first; '' where it names none."""
    return {r["carrier"]: r["many"] for r in await db.fetch(_BY_CARRIER, tenant, limit)}


def _found(row: Row) -> Found:
    profile = Profile(
        Iccid(row["iccid"]),
        ProfileState(row["state"]),
        row["isdp_aid"],
        row["nickname"],
        row["service_provider"],
        row["name"],
        row["profile_class"],
        row["fallback"],
        row["ppr"],
        row["fallback_allowed"],
    )
    return Found(Eid(row["eid"]), profile, row["changed_at"])
