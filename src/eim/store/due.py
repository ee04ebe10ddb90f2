"""Which eUICCs have something to seal: the one question that workers ask all the time (design 3.6).

Work lies in `operations_sealable` by (bucket, identity, not_before). The question (`due_work`, a function of the
database, for the sake of its settings) steps from one identity with accepted work to the next, so its cost is that of
the pairs (bucket, identity) that have any; of each pair it takes a few of the oldest, however many are due. Tenants
take turns, so that one with a million due delays nobody's ten.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db

_LOOK: Final = """
    SELECT w.of_bucket AS bucket, w.of_eid AS eid, w.of_tenant AS tenant, w.of_identity AS identity, w.packages
      FROM due_work($1::smallint[], $2, $3::smallint[], $4, $5::bytea[], $6, $7) AS w
     ORDER BY row_number() OVER (PARTITION BY w.of_tenant ORDER BY w.due_at), w.of_tenant LIMIT $7
"""
_WHOSE: Final = """
    SELECT e.bucket, e.eid, i.tenant, i.id AS identity, e.packages
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
      JOIN identities i ON i.id = e.identity
     WHERE (i.curve = 'brainpoolP256r1') = $3 AND NOT i.id = ANY ($4::smallint[])
"""
# What a worker should have sealed: nothing is in front of its eUICC yet.
_DEPTHS: Final = """
    SELECT t.name AS tenant, i.curve = 'brainpoolP256r1' AS slow, count(*) AS due,
           extract(epoch FROM now() - min(o.not_before))::float8 AS oldest
      FROM operations o
      JOIN gates g ON g.id = o.gate
      JOIN euiccs e ON e.bucket = o.bucket AND e.eid = o.eid
      JOIN identities i ON i.id = o.identity
      JOIN tenants t ON t.id = i.tenant
     WHERE o.bucket = ANY ($1::smallint[]) AND o.state = 'accepted' AND o.held IS NULL AND o.not_before <= now()
       AND g.open AND (o.closes_at IS NULL OR o.closes_at > now()) AND e.handed_over_at IS NULL
       AND (o.kind = 'ipaEuiccDataRequest'
            OR e.introduced_at IS NOT NULL AND (e.stalled IS NULL OR o.kind = 'renewAssociation'))
       AND NOT EXISTS (SELECT 1 FROM mailbox m
                        WHERE m.bucket = o.bucket AND m.eid = o.eid AND m.number IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM packages k
                        WHERE k.bucket = o.bucket AND k.eid = o.eid AND k.queued AND k.state = 'waiting')
     GROUP BY t.name, i.curve = 'brainpoolP256r1'
"""
_SLOW: Final = "SELECT EXISTS (SELECT 1 FROM identities WHERE curve = 'brainpoolP256r1')"
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOW: Final = "SELECT now()"
_KEY_NAME: Final = "SELECT key_name FROM identities WHERE id = $1"


class Due(msgspec.Struct, frozen=True, order=True):
    """An eUICC with something to seal, as far as one look can tell; whoever seals finds out under its lock."""

    bucket: Bucket
    eid: Eid
    tenant: TenantId
    identity: IdentityId
    packages: int  # were made for it so far


class Question(msgspec.Struct, frozen=True):
    """What is looked for."""

    slow: bool  # the identities on brainpoolP256r1, or all others
    since: datetime | None = None  # due since then only; None: however long
    muted: Sequence[IdentityId] = ()  # not of these
    resting: Sequence[Eid] = ()  # nor these
    ahead: int = 3  # with fewer packages than this in front of them
    limit: int = 1000


class Depth(msgspec.Struct, frozen=True):
    """What one tenant has due in one lane."""

    tenant: str
    slow: bool
    due: int
    oldest: float  # seconds for which the oldest is due


async def ask(db: Db, buckets: Sequence[Bucket], question: Question, deadline: float | None = None) -> list[Due]:
    """The eUICCs that are due: tenants in turns, of each the oldest first. One may come twice.

    Fewer than the limit: there are no more.

    deadline  seconds; TimeoutError when it takes longer
    """
    q = question
    since = q.since if q.since is not None else _EVER
    about = buckets, q.slow, q.muted, since, q.resting, q.ahead, q.limit
    rows = await db.fetch(_LOOK, *about, timeout=deadline)
    return [Due(*row) for row in rows]


async def whose(db: Db, eids: Sequence[tuple[Bucket, Eid]], question: Question) -> list[Due]:
    """Those of `eids` that belong to the lane, due or not."""
    columns = [bucket for bucket, _ in eids], [eid for _, eid in eids]
    return [Due(*row) for row in await db.fetch(_WHOSE, *columns, question.slow, question.muted)]


async def depths(db: Db, buckets: Sequence[Bucket]) -> list[Depth]:
    """What is due and not sealed in these buckets, by tenant and lane."""
    return [msgspec.convert(dict(row), Depth) for row in await db.fetch(_DEPTHS, buckets)]


async def any_slow(db: Db) -> bool:
    """Whether any identity is on brainpoolP256r1."""
    return bool(await db.fetchval(_SLOW))


async def now(db: Db) -> datetime:
    """The database's time."""
    found: datetime = await db.fetchval(_NOW)
    return found


async def key_name(db: Db, identity: IdentityId) -> str:
    """Which key of the worker's key store signs for it."""
    return str(await db.fetchval(_KEY_NAME, identity))
