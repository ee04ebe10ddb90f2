"""Many polls at a glance: which of them surely find nothing. Reads only, one statement for all."""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from eim.domain.ids import Bucket, Eid
from eim.store import Db

# On the safe side: whatever is sealed, accepted or asked for makes a poll one that is answered by itself, whether or
# not it could go out now. A row comes back only for those, so that the usual answer is no row at all.
_GLANCE: Final = """
    SELECT u.n, e.eid IS NULL AS nobody
      FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::boolean[])
           WITH ORDINALITY AS u (bucket, eid, plmn, tells, n)
      LEFT JOIN (euiccs e JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid)
             ON e.bucket = u.bucket AND e.eid = u.eid
     WHERE e.eid IS NULL
        OR m.sealed IS NOT NULL
        OR e.traced_until > now()
        OR (u.plmn IS NOT NULL AND u.plmn IS DISTINCT FROM e.plmn)
        OR (u.tells AND e.speaks IS NULL)
        OR EXISTS (SELECT 1 FROM requests r WHERE r.bucket = u.bucket AND r.eid = u.eid)
        OR EXISTS (SELECT 1 FROM operations o
                    WHERE o.bucket = u.bucket AND o.eid = u.eid AND o.state = 'accepted')
"""


class Glance(msgspec.Struct, frozen=True):
    """One poll, as far as it matters."""

    bucket: Bucket
    eid: Eid
    plmn: bytes | None
    tells: bool  # it shows which version its device speaks


class Found(Enum):
    NOTHING = "nothing"
    MORE = "more"  # there may be something
    NOBODY = "nobody"  # onboarded it


async def glance(db: Db, polls: Sequence[Glance]) -> list[Found]:
    """What each finds, in order."""
    found = [Found.NOTHING] * len(polls)
    columns = ([p.bucket for p in polls], [p.eid for p in polls], [p.plmn for p in polls], [p.tells for p in polls])
    for row in await db.fetch(_GLANCE, *columns):
        found[row["n"] - 1] = Found.NOBODY if row["nobody"] else Found.MORE
    return found
