"""Everything that is known of one eUICC's past, merged by time. It reads what others wrote and has no rows itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db

Source = Literal["event", "order", "package", "result", "notification", "audit"]

# Each part gives its own newest rows, so one page costs the same however long the past is. What the eIM orders by
# itself, or an operator for very many cards, has no event, a hand-out has its audit record only; the rows of results,
# notifications and onboardings say more than their events.
# The rank tells apart what one transaction did at one time, cause before effect.
_PAGE: Final = """
    (SELECT e.at, 6 AS rank, e.id, CASE WHEN e.kind = 'operation.accepted' THEN 'order' ELSE 'event' END AS source,
            e.kind AS what, e.data
       FROM events e
      WHERE e.bucket = $1 AND e.eid = $2 AND e.tenant = $3 AND (e.at, 6, e.id) < ($5, $6, $7)
        AND e.kind NOT IN ('euicc.onboarded', 'notification.stored', 'download.reported', 'result.unsigned',
                           'result.refused', 'result.foreign')
      ORDER BY e.at DESC, e.id DESC LIMIT $8)
    UNION ALL
    (SELECT o.created_at, 1, o.id, 'order', 'operation.accepted',
            jsonb_build_object('operation', o.id, 'kind', o.kind, 'by', o.ordered_by)
       FROM operations o
      WHERE o.bucket = $1 AND o.eid = $2 AND o.tenant = $3
        AND (o.order_id IS NULL
             OR EXISTS (SELECT 1 FROM orders b WHERE b.id = o.order_id AND b.tenant = $3 AND b.asked IS NOT NULL))
        AND (o.created_at, 1, o.id) < ($5, $6, $7)
      ORDER BY o.created_at DESC, o.id DESC LIMIT $8)
    UNION ALL
    (SELECT s.at, 2, s.id, 'package', 'package.sealed', s.data
       FROM (SELECT p.sealed_at AS at, md5(encode(p.eid, 'hex') || p.number)::uuid AS id,
                    jsonb_build_object('operation', p.operation, 'number', p.number, 'counter', p.counter,
                                       'speaks', p.speaks, 'state', p.state) AS data
               FROM packages p WHERE p.bucket = $1 AND p.eid = $2) AS s
      WHERE (s.at, 2, s.id) < ($5, $6, $7)
      ORDER BY s.at DESC, s.id DESC LIMIT $8)
    UNION ALL
    (SELECT a.at, 3, a.id, 'package', 'package.handed', jsonb_build_object('operation', a.subject) || a.data
       FROM operations o
       JOIN audit a ON a.bucket = o.bucket AND a.subject = o.id::text AND a.action = 'package.handed'
      WHERE o.bucket = $1 AND o.eid = $2 AND o.tenant = $3 AND (a.at, 3, a.id) < ($5, $6, $7)
      ORDER BY a.at DESC, a.id DESC LIMIT $8)
    UNION ALL
    (SELECT r.received_at, 4, r.id, 'result',
            'result.' || CASE WHEN r.kind IN ('data', 'trigger') THEN r.kind ELSE r.verdict END,
            jsonb_build_object('kind', r.kind, 'operation', r.operation, 'counter', r.counter, 'seq', r.seq_number,
                               'form', r.form, 'coding', r.coding, 'late', r.late, 'note', r.note,
                               'octets', length(r.octets))
       FROM results r
      WHERE r.bucket = $1 AND r.eid = $2 AND r.tenant = $3 AND (r.received_at, 4, r.id) < ($5, $6, $7)
      ORDER BY r.received_at DESC, r.id DESC LIMIT $8)
    UNION ALL
    (SELECT n.received_at, 5, n.id, 'notification', 'notification.stored',
            jsonb_build_object('notification', n.id, 'event', n.event, 'seq', n.seq_number, 'address', n.address,
                               'iccid', encode(n.iccid, 'hex'), 'verdict', n.verdict, 'state', n.state)
       FROM notifications n
      WHERE n.bucket = $1 AND n.eid = $2 AND n.tenant = $3 AND (n.received_at, 5, n.id) < ($5, $6, $7)
      ORDER BY n.received_at DESC, n.id DESC LIMIT $8)
    UNION ALL
    (SELECT a.at, 0, a.id, 'audit', a.action, jsonb_build_object('by', a.actor) || a.data
       FROM audit a
      WHERE a.bucket = $1 AND a.subject = $4 AND a.tenant = $3 AND (a.at, 0, a.id) < ($5, $6, $7)
        AND (a.actor NOT IN ('device', 'worker') OR a.action = 'request.served')
      ORDER BY a.at DESC, a.id DESC LIMIT $8)
     ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT $8
"""


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened. `data` is plain JSON and holds no secret."""

    at: datetime
    rank: int  # 0 to 6: cause before effect, of what has the same time
    id: UUID
    source: Source
    what: str  # noun.past
    data: Mapping[str, object]


async def page(
    db: Db, tenant: TenantId, at: tuple[Bucket, Eid], before: tuple[datetime, int, UUID], limit: int
) -> tuple[Entry, ...]:
    """What happened just before `before`, newest first."""
    bucket, eid = at
    rows = await db.fetch(_PAGE, bucket, eid, tenant, eid.hex().upper(), *before, limit)
    return tuple(Entry(row["at"], row["rank"], row["id"], row["source"], row["what"], row["data"]) for row in rows)
