"""The whole estate, read to leave with it and written to arrive with it: with the owner's rights, bucket by bucket."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db

_TENANTS: Final = "SELECT id, name, most_euiccs, most_tokens, orders_a_day FROM tenants ORDER BY id"
_IDENTITIES: Final = """
    SELECT i.id, t.name AS tenant, i.eim_id, i.eim_id_type, i.fqdn, i.curve, i.public_key, i.key_name,
           i.initial_counter, i.retired_at
      FROM identities i JOIN tenants t ON t.id = i.tenant ORDER BY i.id
"""
_DENIALS: Final = """
    SELECT t.name AS tenant, d.id, d.mark, d.reason, d.created_by, d.created_at, d.expires_at
      FROM denials d JOIN tenants t ON t.id = d.tenant WHERE d.lifted_at IS NULL ORDER BY d.created_at, d.id
"""
_EUICCS: Final = """
    SELECT e.eid, t.name AS tenant, i.eim_id AS identity, e.created_at, e.label, e.tags, e.group_name AS "group",
           e.time_zone, e.introduced_at, e.counter, e.association_token, e.token_proven, e.ordinals, e.packages,
           e.speaks, e.signature_form, e.signature_coding, e.unverifiable, e.euicc_certificate, e.eum_certificate,
           e.curve, e.public_key, e.ci_key_id, e.capabilities, e.highest_seq, e.last_seen_at, e.plmn, e.inventory_at,
           e.key_number, e.next_key, e.next_counter, e.trial_key, e.association, e.former_token, e.token_on_trial,
           e.stalled, e.stalled_at, e.handed_over_at, e.settings, e.eims, e.eims_at, e.orphaned_at, e.quarantined_at,
           e.quarantine_why, m.number, m.handed_at,
           m.deliveries, m.highest_handed
      FROM euiccs e
      JOIN tenants t ON t.id = e.tenant
      JOIN identities i ON i.id = e.identity
      JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid
     WHERE e.bucket = $1 ORDER BY e.eid
"""
_PROFILES: Final = """
    SELECT eid, iccid, state, isdp_aid, nickname, service_provider, name, profile_class, fallback, ppr, changed_at,
           fallback_allowed
      FROM profiles WHERE bucket = $1 ORDER BY eid, iccid
"""
_OPEN: Final = """
    SELECT eid, id, ordinal, kind, iccid, rollback, tag_list, priority, state, doubt, outcome, not_before, expires_at,
           ordered_by, created_at, handed_at, after, after_event, held, opening, closes_at, retries, attempts, parked,
           details
      FROM operations
     WHERE bucket = $1 AND (state = 'accepted' OR state IN ('sealed', 'out', 'in_doubt')) ORDER BY eid, ordinal
"""
_OUT: Final = """
    SELECT p.eid, p.number, p.operation, p.counter, p.transaction, p.token, p.speaks, p.sealed, p.state,
           p.key_number, p.association
      FROM packages p
      JOIN operations o ON o.bucket = p.bucket AND o.id = p.operation
     WHERE p.bucket = $1 AND o.bucket = $1 AND o.state IN ('out', 'in_doubt') AND p.state IN ('head', 'ended')
     ORDER BY p.eid, p.number
"""
_EVENTS: Final = """
    SELECT v.id, v.eid, t.name AS tenant, v.at, v.kind, v.data FROM events v JOIN tenants t ON t.id = v.tenant
     WHERE v.bucket = $1 AND v.eid IS NOT NULL ORDER BY v.at, v.id
"""
_MAKE_TENANT: Final = """
    INSERT INTO tenants (id, name, most_euiccs, most_tokens, orders_a_day)
    SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4 FROM tenants
"""
_MAKE_IDENTITY: Final = """
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name, initial_counter,
                            retired_at)
    SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9 FROM identities
"""
_IDENTITY_KEYS: Final = """
    SELECT t.name AS tenant, i.eim_id, k.number, k.key_name, k.curve, k.public_key, i.key_number AS loaded,
           i.lowest_key AS lowest
      FROM identity_keys k JOIN identities i ON i.id = k.identity JOIN tenants t ON t.id = i.tenant
     ORDER BY k.identity, k.number
"""
_ADD_IDENTITY_KEY: Final = """
    INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (identity, number) DO NOTHING
"""
_LOAD_KEY: Final = """
    UPDATE identities SET key_number = greatest(key_number, $2), lowest_key = greatest(lowest_key, $3) WHERE id = $1
"""
_ASSOCIATE: Final = """
    UPDATE euiccs SET key_number = $3, next_key = $4, next_counter = $5, trial_key = $6, association = $7,
                      former_token = $8, token_on_trial = $9, stalled = $10, stalled_at = $11, handed_over_at = $12
     WHERE bucket = $1 AND eid = $2
"""
_DENY: Final = """
    INSERT INTO denials (id, tenant, mark, reason, created_by, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
_KNOWN: Final = """
    SELECT e.eid, e.tenant, e.counter FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
"""
# What is added to it is added under this lock: nothing comes while it goes.
_LOCK: Final = "SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR UPDATE"
_REMOVE: Final = "DELETE FROM euiccs WHERE bucket = $1 AND eid = $2"
_FORGET: Final = "SELECT forget($1::smallint[], $2::bytea[])"
_REMOVE_REQUESTS: Final = "DELETE FROM requests WHERE bucket = $1 AND eid = $2"
_ADD: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, created_at, label, tags, group_name, time_zone, introduced_at,
                        counter, association_token, token_proven, ordinals, packages, speaks, signature_form,
                        signature_coding, unverifiable, euicc_certificate, eum_certificate, curve, public_key,
                        ci_key_id, capabilities, highest_seq, last_seen_at, plmn, inventory_at, settings, eims,
                        eims_at, orphaned_at, quarantined_at, quarantine_why)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)
"""
_ADD_TAG: Final = """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (bucket, eid, tag) DO NOTHING
"""
_ADD_PROFILE: Final = """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, isdp_aid, nickname, service_provider, name, profile_class,
                          fallback, ppr, changed_at, fallback_allowed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_ADD_OPERATION: Final = """
    INSERT INTO operations (bucket, eid, tenant, identity, id, ordinal, kind, iccid, rollback, tag_list, priority,
                            state, doubt, outcome, not_before, expires_at, ordered_by, created_at, handed_at, after,
                            after_event, held, opening, closes_at, retries, attempts, parked, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28)
"""
_ADD_PACKAGE: Final = """
    INSERT INTO packages (bucket, eid, identity, number, operation, counter, transaction, token, speaks, sealed, state,
                          key_number, association, gate, not_before, queued)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, now(), false)
"""
_ADD_MAILBOX: Final = "INSERT INTO mailbox (bucket, eid, tenant) VALUES ($1, $2, $3)"
_PUT_OUT: Final = """
    UPDATE mailbox SET number = $3, operation = $4, counter = $5, sealed = $6, handed_at = $7, deliveries = $8,
           highest_handed = $9,
           barred = EXISTS (SELECT 1 FROM euiccs e
                             WHERE e.bucket = $1 AND e.eid = $2 AND e.quarantined_at IS NOT NULL)
     WHERE bucket = $1 AND eid = $2
"""
_ADD_EVENT: Final = """
    INSERT INTO events (bucket, id, eid, tenant, at, kind, data) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (bucket, id) DO NOTHING
"""


class Rows(msgspec.Struct, frozen=True):
    """What one bucket holds."""

    euiccs: Sequence[Row]
    profiles: Sequence[Row]
    open: Sequence[Row]
    out: Sequence[Row]


class Present(msgspec.Struct, frozen=True):
    """An eUICC that is here already."""

    eid: Eid
    tenant: TenantId
    counter: int


class Card(msgspec.Struct, frozen=True):
    """One eUICC's rows, as `add` writes them: each without bucket and EID, tenant and identity."""

    bucket: Bucket
    eid: Eid
    tenant: TenantId
    identity: IdentityId
    euicc: tuple[object, ...]
    tags: tuple[str, ...]
    created_at: datetime
    profiles: Sequence[tuple[object, ...]]
    operations: Sequence[tuple[object, ...]]
    packages: Sequence[tuple[object, ...]]
    mailbox: tuple[object, ...]
    keys: tuple[object, ...]  # as in services/bundle.py: Association


async def tenants(db: Db) -> list[Mapping[str, object]]:
    return [dict(row) for row in await db.fetch(_TENANTS)]


async def identities(db: Db) -> list[Mapping[str, object]]:
    return [dict(row) for row in await db.fetch(_IDENTITIES)]


async def identity_keys(db: Db) -> list[Mapping[str, object]]:
    """The keys of identities after their first ones."""
    return [dict(row) for row in await db.fetch(_IDENTITY_KEYS)]


async def add_identity_key(
    db: Db, identity: IdentityId, tenant: TenantId, key: tuple[int, str, str, bytes], said: tuple[int, int]
) -> None:
    """key: (number, name, curve, public key); said: which is loaded, and the lowest that is not retired."""
    number, *values = key
    await db.execute(_ADD_IDENTITY_KEY, identity, number, tenant, *values)
    await db.execute(_LOAD_KEY, identity, *said)


async def denials(db: Db) -> list[Mapping[str, object]]:
    """Those that stand."""
    return [dict(row) for row in await db.fetch(_DENIALS)]


async def of_bucket(db: Db, bucket: Bucket) -> Rows:
    """All eUICCs of one bucket with what belongs to them."""
    euiccs = await db.fetch(_EUICCS, bucket)
    if not euiccs:
        return Rows((), (), (), ())
    return Rows(euiccs, await db.fetch(_PROFILES, bucket), await db.fetch(_OPEN, bucket), await db.fetch(_OUT, bucket))


async def events_of_bucket(db: Db, bucket: Bucket) -> list[Row]:
    return await db.fetch(_EVENTS, bucket)


async def make_tenant(db: Db, name: str, limits: tuple[int | None, ...]) -> None:
    await db.execute(_MAKE_TENANT, name, *limits)


async def make_identity(db: Db, tenant: TenantId, values: tuple[object, ...]) -> None:
    await db.execute(_MAKE_IDENTITY, tenant, *values)


async def deny(db: Db, values: tuple[object, ...]) -> None:
    """Again changes nothing."""
    await db.execute(_DENY, *values)


async def present(db: Db, at: Sequence[tuple[Bucket, Eid]]) -> dict[Eid, Present]:
    """Which of these are here, of whatever tenant."""
    rows = await db.fetch(_KNOWN, [bucket for bucket, _ in at], [eid for _, eid in at])
    return {Eid(row["eid"]): Present(Eid(row["eid"]), row["tenant"], row["counter"]) for row in rows}


async def remove(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take one out with all that belongs to it, to be replaced."""
    await db.execute(_LOCK, bucket, eid)
    await db.execute(_REMOVE_REQUESTS, bucket, eid)
    await db.execute(_REMOVE, bucket, eid)
    await db.execute(_FORGET, [bucket], [eid])


async def add(db: Db, cards: Sequence[Card]) -> None:
    """Write cards that are not here yet."""
    keys = [(c.bucket, c.eid, c.tenant) for c in cards]
    await db.execute(_FORGET, [c.bucket for c in cards], [c.eid for c in cards])
    await db.executemany(_ADD, [(*k, c.identity, *c.euicc) for k, c in zip(keys, cards, strict=True)])
    tags = [(c.bucket, c.eid, tag, c.tenant, c.created_at) for c in cards for tag in c.tags]
    await db.executemany(_ADD_TAG, tags)
    await db.executemany(_ADD_PROFILE, [(c.bucket, c.eid, c.tenant, *each) for c in cards for each in c.profiles])
    operations = [(c.bucket, c.eid, c.tenant, c.identity, *each) for c in cards for each in c.operations]
    await db.executemany(_ADD_OPERATION, operations)
    await db.executemany(_ADD_PACKAGE, [(c.bucket, c.eid, c.identity, *each) for c in cards for each in c.packages])
    await db.executemany(_ASSOCIATE, [(c.bucket, c.eid, *c.keys) for c in cards])
    await db.executemany(_ADD_MAILBOX, keys)
    await db.executemany(_PUT_OUT, [(c.bucket, c.eid, *c.mailbox) for c in cards])


async def add_events(db: Db, rows: Sequence[tuple[Bucket, UUID, Eid, TenantId, datetime, str, object]]) -> None:
    """Add what is not there already."""
    await db.executemany(_ADD_EVENT, rows)
