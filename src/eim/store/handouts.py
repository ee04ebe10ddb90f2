"""Packages handed out to many polls at once: what `mailbox.look` and `mailbox.take` do to one, for the simple case."""

from collections.abc import Sequence
from typing import Final

from eim.domain.ids import Bucket, Eid
from eim.store import Db, Prepared
from eim.store.connect import hold_nothing
from eim.store.drawing import draw

# Conditions and effects are those of mailbox._TAKE. On top of them, nothing may be there that makes `polls` do more
# than take: a trace, a request that is due, an operation that waited for the card to call. The marks in the comparison
# with denials are those of `domain.denial.of_eid`; nothing is compared where nobody is denied. Rows are locked in the
# order of the arguments: that of the keys.
_TAKE: Final = """
    WITH taken AS (
        UPDATE mailbox m
           SET handed_at = coalesce(m.handed_at, now()), deliveries = m.deliveries + 1,
               highest_handed = greatest(m.highest_handed, coalesce(m.counter, 0))
          FROM unnest($1::smallint[], $2::bytea[], $3::text[], $4::uuid[]) AS u (bucket, eid, digits, record)
          JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid,
               gates g
         WHERE m.bucket = u.bucket AND m.eid = u.eid AND m.sealed IS NOT NULL AND m.not_before <= now() AND NOT m.barred
           AND (m.closes_at IS NULL OR m.closes_at > now()) AND g.id = m.gate AND g.open
           AND (e.traced_until IS NULL OR e.traced_until <= now())
           AND NOT EXISTS (SELECT 1 FROM requests r
                            WHERE r.bucket = u.bucket AND r.eid = u.eid AND r.not_before <= now())
           AND NOT EXISTS (SELECT 1 FROM operations h
                            WHERE h.bucket = u.bucket AND h.eid = u.eid AND h.state = 'accepted' AND h.held = 'contact')
           AND CASE WHEN (SELECT true FROM denials a WHERE a.lifted_at IS NULL LIMIT 1) THEN
                   NOT EXISTS (SELECT 1 FROM denials d
                                WHERE d.tenant = m.tenant AND d.lifted_at IS NULL
                                  AND (d.expires_at IS NULL OR d.expires_at > now())
                                  AND d.mark = ANY (ARRAY['eid:' || u.digits,
                                      'ein:' || left(u.digits, 6), 'ein:' || left(u.digits, 7),
                                      'ein:' || left(u.digits, 8), 'ein:' || left(u.digits, 9),
                                      'ein:' || left(u.digits, 10), 'ein:' || left(u.digits, 11),
                                      'ein:' || left(u.digits, 12), 'ein:' || left(u.digits, 13),
                                      'ein:' || left(u.digits, 14), 'ein:' || left(u.digits, 15),
                                      'ein:' || left(u.digits, 16), 'ein:' || left(u.digits, 17),
                                      'ein:' || left(u.digits, 18), 'ein:' || left(u.digits, 19),
                                      'ein:' || left(u.digits, 20)] || coalesce(e.marks, '{}')))
                    ELSE true END
     RETURNING m.bucket, m.eid, m.tenant, m.operation, m.number, m.counter, m.sealed, m.deliveries, u.record
    ), moved AS (
        UPDATE operations o SET state = 'out', handed_at = now()
          FROM taken t
         WHERE o.bucket = t.bucket AND o.id = t.operation AND o.state IN ('accepted', 'sealed')
    ), audited AS (
        INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
        SELECT t.bucket, t.record, t.tenant, 'device', 'package.handed', t.operation::text,
               jsonb_build_object('number', t.number, 'counter', t.counter)
          FROM taken t
         WHERE t.deliveries = 1
    )
    SELECT eid, sealed FROM taken
"""


class Handouts:
    """Guards the statement, prepared on one connection."""

    def __init__(self, take: Prepared) -> None:
        self._take = take

    async def take(self, waiting: Sequence[tuple[Bucket, Eid]], deadline: float) -> dict[Eid, bytes]:
        """Hand out to each of `waiting`, all of them different, what is ready for it: one complete TLV.

        Who is missing has to be looked at alone. Committed when it returns; one round trip, one commit for all.

        deadline  seconds; a stop that is committed must not wait behind a slow hand-out (design 3.2)
        """
        keys = sorted(waiting)
        buckets = [bucket for bucket, _ in keys]
        columns = (buckets, [eid for _, eid in keys], [eid.hex() for _, eid in keys], draw(buckets))
        rows = await self._take.fetch(*columns, timeout=deadline)
        return {row[0]: row[1] for row in rows}


async def prepare(db: Db) -> Handouts:
    """The statement, to be run on `db` alone, outside of a transaction."""
    handouts = Handouts(await db.prepare(_TAKE))
    await hold_nothing(db)
    return handouts
