"""The profiles a card told us of: table `profiles`, as results write it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.domain.euicc import Profile
from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db

# No ICCID is both deleted and put, so it doesn't matter which of the two comes first. What is as it was is not written.
_WRITE: Final = """
    WITH gone AS (
        DELETE FROM profiles WHERE bucket = $1 AND eid = $2 AND iccid <> ALL ($4::bytea[])
    )
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, isdp_aid, nickname, service_provider, name, profile_class,
                          fallback, ppr, fallback_allowed)
    SELECT $1, $2, $3, u.* FROM unnest($4::bytea[], $5::text[], $6::bytea[], $7::text[], $8::text[], $9::text[],
                                       $10::smallint[], $11::boolean[], $12::bytea[], $13::boolean[]) AS u
    ON CONFLICT (bucket, eid, iccid) DO UPDATE
       SET state = excluded.state, isdp_aid = excluded.isdp_aid, nickname = excluded.nickname,
           service_provider = excluded.service_provider, name = excluded.name,
           profile_class = excluded.profile_class, fallback = excluded.fallback, ppr = excluded.ppr,
           fallback_allowed = excluded.fallback_allowed, changed_at = now()
     WHERE (profiles.state, profiles.isdp_aid, profiles.nickname, profiles.service_provider, profiles.name,
            profiles.profile_class, profiles.fallback, profiles.ppr, profiles.fallback_allowed)
           IS DISTINCT FROM
           (excluded.state, excluded.isdp_aid, excluded.nickname, excluded.service_provider, excluded.name,
            excluded.profile_class, excluded.fallback, excluded.ppr, excluded.fallback_allowed)
"""
_STAMP: Final = "UPDATE euiccs SET inventory_at = now() WHERE bucket = $1 AND eid = $2"
_READ: Final = """
    SELECT iccid, state, isdp_aid, nickname, service_provider, name, profile_class, fallback, ppr, fallback_allowed
      FROM profiles WHERE bucket = $1 AND eid = $2 ORDER BY iccid
"""


async def read(db: Db, bucket: Bucket, eid: Eid) -> list[Profile]:
    """What we know of the card's profiles, by ICCID."""
    return [msgspec.convert(dict(row), Profile) for row in await db.fetch(_READ, bucket, eid)]


async def replace(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, profiles: Sequence[Profile]) -> None:
    """These are all the profiles there are: the answer to an unfiltered listProfileInfo."""
    await write(db, bucket, eid, tenant, profiles)
    await db.execute(_STAMP, bucket, eid)


async def write(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, profiles: Sequence[Profile]) -> None:
    """Write these profiles as they are now; the card has no others."""
    await db.execute(
        _WRITE,
        bucket,
        eid,
        tenant,
        [p.iccid for p in profiles],
        [p.state.value for p in profiles],
        [p.isdp_aid for p in profiles],
        [p.nickname for p in profiles],
        [p.service_provider for p in profiles],
        [p.name for p in profiles],
        [p.profile_class for p in profiles],
        [p.fallback for p in profiles],
        [p.ppr for p in profiles],
        [p.fallback_allowed for p in profiles],
    )
