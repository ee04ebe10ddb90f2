"""How far each webhook is: tables `webhook_places`, `webhook_waits`, `webhook_dead_letters`. For the worker.

A place says up to which turn a bucket's events are done with; a wait, from which turn on one card's are not. Both
carry the webhook's generation: what an older one left says nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db
from eim.store.events import Happened, Told
from eim.store.webhooks import Webhook, webhook_of

_ENABLED: Final = "SELECT id FROM webhooks WHERE enabled ORDER BY id"
_READ: Final = "SELECT * FROM webhooks WHERE id = $1"
_PLACES: Final = """
    SELECT bucket, turn FROM webhook_places WHERE bucket = ANY ($1::smallint[]) AND webhook = $2 AND generation = $3
"""
_WAITS: Final = """
    SELECT bucket, eid, turn, attempts, again_at, failure FROM webhook_waits
     WHERE bucket = ANY ($1::smallint[]) AND webhook = $2 AND generation = $3
"""
_NEW: Final = """
    SELECT DISTINCT bucket FROM events
     WHERE tenant = $1 AND turn > $2 AND turn <= $3 AND bucket = ANY ($4::smallint[])
"""
# A test event is for the webhook that it names, and passes its filters.
_FRESH: Final = """
    SELECT e.bucket, e.turn, e.id, e.eid, e.at, e.kind, e.data,
           (SELECT i.eim_id FROM identities i WHERE i.tenant = $1 ORDER BY i.id LIMIT 1) AS eim_id
      FROM unnest($2::smallint[], $3::bigint[]) AS p (bucket, turn)
     CROSS JOIN LATERAL (
         SELECT t.* FROM events t
          WHERE t.bucket = p.bucket AND t.tenant = $1 AND t.turn > p.turn AND t.turn <= $4
            AND CASE WHEN t.kind = 'webhook.tested' THEN t.data ->> 'webhook' = $7
                     ELSE t.kind = ANY ($5::text[])
                          AND (cardinality($6::text[]) = 0 OR EXISTS (
                               SELECT 1 FROM euiccs c WHERE c.bucket = t.bucket AND c.eid = t.eid AND c.tags && $6))
                END
          ORDER BY t.turn LIMIT $8) AS e
     ORDER BY e.turn
"""
_OF_CARD: Final = """
    SELECT t.bucket, t.turn, t.id, t.eid, t.at, t.kind, t.data,
           (SELECT i.eim_id FROM identities i WHERE i.tenant = $1 ORDER BY i.id LIMIT 1) AS eim_id
      FROM events t
     WHERE t.bucket = $2 AND t.tenant = $1 AND t.eid IS NOT DISTINCT FROM $3 AND t.turn >= $4 AND t.turn <= $5
       AND CASE WHEN t.kind = 'webhook.tested' THEN t.data ->> 'webhook' = $8
                ELSE t.kind = ANY ($6::text[])
                     AND (cardinality($7::text[]) = 0 OR EXISTS (
                          SELECT 1 FROM euiccs c WHERE c.bucket = t.bucket AND c.eid = t.eid AND c.tags && $7))
           END
     ORDER BY t.turn LIMIT $9
"""
_AGAIN: Final = """
    SELECT d.bucket, d.attempts, e.turn, e.id, e.eid, e.at, e.kind, e.data,
           (SELECT i.eim_id FROM identities i WHERE i.tenant = d.tenant ORDER BY i.id LIMIT 1) AS eim_id
      FROM webhook_dead_letters d JOIN events e ON e.bucket = d.bucket AND e.id = d.event
     WHERE d.webhook = $1 AND d.bucket = ANY ($2::smallint[]) AND d.again
     ORDER BY e.turn LIMIT $3
"""
_MOVE: Final = """
    INSERT INTO webhook_places (bucket, webhook, generation, turn)
    SELECT u.bucket, $1, $2, u.turn FROM unnest($3::smallint[], $4::bigint[]) AS u (bucket, turn)
    ON CONFLICT (bucket, webhook) DO UPDATE SET generation = excluded.generation, turn = excluded.turn
"""
_WAIT: Final = """
    INSERT INTO webhook_waits (bucket, webhook, generation, eid, turn, attempts, again_at, failure)
    SELECT u.bucket, $1, $2, u.eid, u.turn, u.attempts, u.again_at, u.failure
      FROM unnest($3::smallint[], $4::bytea[], $5::bigint[], $6::integer[], $7::timestamptz[], $8::text[])
        AS u (bucket, eid, turn, attempts, again_at, failure)
    ON CONFLICT (bucket, webhook, eid) DO UPDATE
       SET generation = excluded.generation, turn = excluded.turn, attempts = excluded.attempts,
           again_at = excluded.again_at, failure = excluded.failure
"""
_RESUME: Final = """
    DELETE FROM webhook_waits w USING unnest($2::smallint[], $3::bytea[]) AS u (bucket, eid)
     WHERE w.bucket = u.bucket AND w.webhook = $1 AND w.eid = u.eid
"""
_BURY: Final = """
    INSERT INTO webhook_dead_letters (bucket, webhook, event, tenant, turn, attempts, failure)
    SELECT u.bucket, $1, u.event, $2, u.turn, u.attempts, u.failure
      FROM unnest($3::smallint[], $4::uuid[], $5::bigint[], $6::integer[], $7::text[])
        AS u (bucket, event, turn, attempts, failure)
    ON CONFLICT (bucket, webhook, event) DO UPDATE
       SET attempts = excluded.attempts, failure = excluded.failure, died_at = now(), again = false
"""
_RAISE: Final = """
    DELETE FROM webhook_dead_letters d USING unnest($2::smallint[], $3::uuid[]) AS u (bucket, event)
     WHERE d.bucket = u.bucket AND d.webhook = $1 AND d.event = u.event
"""
_NOTE: Final = """
    UPDATE webhooks
       SET delivered_at = CASE WHEN $3 THEN now() ELSE delivered_at END,
           failing_since = CASE WHEN $3 THEN NULL WHEN $4::text IS NOT NULL THEN coalesce(failing_since, now())
                                ELSE failing_since END,
           failure = coalesce($4, failure)
     WHERE id = $1 AND generation = $2 AND enabled
 RETURNING coalesce(now() - failing_since > $5::interval, false) AS too_long
"""
_DISABLE: Final = """
    UPDATE webhooks SET enabled = false, disabled_why = $2 WHERE id = $1 AND enabled RETURNING tenant
"""


class Card(msgspec.Struct, frozen=True, order=True):
    """Whose events keep an order. `eid` is empty for those of no card."""

    bucket: Bucket
    eid: bytes


class Wait(msgspec.Struct, frozen=True):
    turn: int  # the card's first event that is not delivered
    attempts: int  # of that event
    again_at: datetime
    failure: str


class Fresh(msgspec.Struct, frozen=True):
    card: Card
    told: Told


class Asked(msgspec.Struct, frozen=True):
    """A dead letter that an operator wants tried once more."""

    card: Card
    told: Told
    attempts: int


class Grave(msgspec.Struct, frozen=True):
    """An event that is given up."""

    bucket: Bucket
    event: UUID
    turn: int
    attempts: int
    failure: str


class Asking(msgspec.Struct, frozen=True):
    """Which events a webhook wants: its tenant's, of these kinds, of cards with one of these tags (none: all)."""

    webhook: UUID
    tenant: TenantId
    kinds: tuple[str, ...]
    tags: tuple[str, ...]


async def enabled(db: Db) -> frozenset[UUID]:
    """The webhooks of all tenants that are switched on."""
    return frozenset(row["id"] for row in await db.fetch(_ENABLED))


async def read(db: Db, webhook: UUID) -> Webhook | None:
    row = await db.fetchrow(_READ, webhook)
    return webhook_of(row) if row is not None else None


async def places(db: Db, webhook: Webhook, buckets: Sequence[Bucket]) -> dict[Bucket, int]:
    """The turn that each of `buckets` is done with."""
    rows = await db.fetch(_PLACES, list(buckets), webhook.id, webhook.generation)
    known = {Bucket(row["bucket"]): int(row["turn"]) for row in rows}
    return {bucket: known.get(bucket, webhook.start) for bucket in buckets}


async def waits(db: Db, webhook: Webhook, buckets: Sequence[Bucket]) -> dict[Card, Wait]:
    """The cards in `buckets` whose events wait."""
    return {
        Card(row["bucket"], row["eid"]): Wait(row["turn"], row["attempts"], row["again_at"], row["failure"])
        for row in await db.fetch(_WAITS, list(buckets), webhook.id, webhook.generation)
    }


async def with_new(db: Db, tenant: TenantId, turns: tuple[int, int], buckets: Sequence[Bucket]) -> frozenset[Bucket]:
    """Those of `buckets` that have events with turns above the first and up to the second of `turns`."""
    return frozenset(Bucket(row["bucket"]) for row in await db.fetch(_NEW, tenant, *turns, list(buckets)))


async def fresh(db: Db, asking: Asking, behind: Mapping[Bucket, int], safe: int, limit: int) -> tuple[Fresh, ...]:
    """What is wanted of each bucket behind its turn and up to `safe`, at most `limit` a bucket, in order."""
    a = asking
    rows = await db.fetch(
        _FRESH, a.tenant, list(behind), list(behind.values()), safe, list(a.kinds), list(a.tags), str(a.webhook), limit
    )
    return tuple(Fresh(_card(row), _told(row)) for row in rows)


async def of_card(db: Db, asking: Asking, card: Card, turns: tuple[int, int], limit: int) -> tuple[Told, ...]:
    """What is wanted of one card from the first to the second of `turns`, at most `limit`, in order."""
    a = asking
    rows = await db.fetch(
        _OF_CARD, a.tenant, card.bucket, card.eid or None, *turns, list(a.kinds), list(a.tags), str(a.webhook), limit
    )
    return tuple(map(_told, rows))


async def asked_again(db: Db, webhook: UUID, buckets: Sequence[Bucket], limit: int) -> tuple[Asked, ...]:
    """Dead letters in `buckets` to be tried once more, in order."""
    rows = await db.fetch(_AGAIN, webhook, list(buckets), limit)
    return tuple(Asked(_card(row), _told(row), row["attempts"]) for row in rows)


async def move(db: Db, webhook: Webhook, turns: Mapping[Bucket, int]) -> None:
    """Remember how far these buckets are."""
    await db.execute(_MOVE, webhook.id, webhook.generation, list(turns), list(turns.values()))


async def wait(db: Db, webhook: Webhook, cards: Mapping[Card, Wait]) -> None:
    """Remember which cards wait."""
    found = list(cards.values())
    await db.execute(
        _WAIT, webhook.id, webhook.generation, [c.bucket for c in cards], [c.eid for c in cards],
        [w.turn for w in found], [w.attempts for w in found], [w.again_at for w in found], [w.failure for w in found],
    )  # fmt: skip


async def resume(db: Db, webhook: Webhook, cards: Sequence[Card]) -> None:
    """These wait no more."""
    await db.execute(_RESUME, webhook.id, [c.bucket for c in cards], [c.eid for c in cards])


async def bury(db: Db, webhook: Webhook, graves: Sequence[Grave]) -> None:
    """Keep what is given up."""
    await db.execute(
        _BURY, webhook.id, webhook.tenant, [g.bucket for g in graves], [g.event for g in graves],
        [g.turn for g in graves], [g.attempts for g in graves], [g.failure for g in graves],
    )  # fmt: skip


async def unbury(db: Db, webhook: Webhook, letters: Sequence[tuple[Bucket, UUID]]) -> None:
    """These dead letters were delivered after all."""
    await db.execute(_RAISE, webhook.id, [bucket for bucket, _ in letters], [event for _, event in letters])


async def note(db: Db, webhook: Webhook, succeeded: bool, failure: str | None, patience: object) -> bool | None:  # noqa: FBT001 - what happened
    """Write down how it went. Whether it has failed for longer than `patience`; None: it is another webhook by now."""
    found: bool | None = await db.fetchval(_NOTE, webhook.id, webhook.generation, succeeded, failure, patience)
    return found


async def disable(db: Db, webhook: UUID, why: str) -> TenantId | None:
    """Switch it off; its tenant, None when it was off already."""
    found = await db.fetchval(_DISABLE, webhook, why)
    return TenantId(found) if found is not None else None


def _card(row: Row) -> Card:
    return Card(row["bucket"], row["eid"] or b"")


def _told(row: Row) -> Told:
    eid = Eid(row["eid"]) if row["eid"] is not None else None
    return Told(row["turn"], Happened(row["id"], eid, row["at"], row["kind"], row["data"]), row["eim_id"])
