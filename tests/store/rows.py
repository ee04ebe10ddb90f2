"""One row in every table, of a tenant of choice: what the tests of rights look at. Written past all rights."""

from typing import Final
from uuid import UUID

from eim.domain.ids import Bucket, Eid, TenantId, bucket_of
from eim.store import Db
from eim.store.connect import transaction
from tests.database import Database

EID: Final = Eid(bytes.fromhex("89049032123451234512345678901235"))
BUCKET: Final[Bucket] = bucket_of(EID)
OPERATION: Final = UUID(int=7)
OTHER_TENANT: Final = TenantId(2)

_OF_TENANT: Final = (
    "INSERT INTO tokens (id, tenant, name, hash, scopes) VALUES (gen_random_uuid(), $1, 'ci', '\\xaa', '{}')",
    "INSERT INTO requests_seen (tenant, key, control, request_hash) VALUES ($1, 'k', gen_random_uuid(), '')",
    (
        "INSERT INTO orders (id, tenant, kind, size, ordered_by) "
        "VALUES ('00000000-0000-0000-0000-000000000006', $1, 'enable', 1, 'token:ci')"
    ),
    ("INSERT INTO spreads (bucket, order_id, tenant, cards) VALUES (1, '00000000-0000-0000-0000-000000000006', $1, 1)"),
    (
        "INSERT INTO denials (id, tenant, mark, reason, created_by) "
        "VALUES (gen_random_uuid(), $1, 'ein:89049032', 'stolen', 'token:ci')"
    ),
    "INSERT INTO denial_rounds (bucket, tenant, due_at) VALUES (1, $1, now())",
    (
        "INSERT INTO imports (id, tenant, key, terms, digest, actor) "
        "VALUES ('00000000-0000-0000-0000-000000000009', $1, 'k', '', '', 'token:ci')"
    ),
    (
        "INSERT INTO import_problems (import, line, tenant, code, detail) "
        "VALUES ('00000000-0000-0000-0000-000000000009', 1, $1, 'invalid-eid', '')"
    ),
)
_OF_WEBHOOK: Final = (
    (
        "INSERT INTO smdps (id, tenant, address, binding, roots, networks, protocol) "
        "VALUES (gen_random_uuid(), $1, 'smdp.example.com', 'json', 'gsma', '{}', '2.1.0')"
    ),
    (
        "INSERT INTO webhooks (id, tenant, url, types, tags, secrets, start) "
        "VALUES ('00000000-0000-0000-0000-000000000008', $1, 'https://example.com', '{}', '{}', '\\x00', 0)"
    ),
    (
        "INSERT INTO webhook_dead_letters (bucket, webhook, event, tenant, turn, attempts, failure) "
        "VALUES (1, '00000000-0000-0000-0000-000000000008', gen_random_uuid(), $1, 1, 10, 'status 500')"
    ),
)
_OF_IDENTITY: Final = (
    (
        "INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key) "
        "VALUES (1, 1, $1, 'n', 'P-256', '')"
    ),
    (
        "INSERT INTO handovers (id, tenant, direction, eim_id, proof, delete_other, size, reason, ordered_by) "
        "VALUES (gen_random_uuid(), $1, 'out', 'eim2.example.com', 'listed', false, 1, 'sold', 'token:ci')"
    ),
)
_OF_EUICC: Final = (
    "INSERT INTO departed (bucket, eid, tenant, eim_id, counter) VALUES ($1, $2, $3, 'eim.example.com', 7)",
    "INSERT INTO euiccs (bucket, eid, tenant, identity, counter) VALUES ($1, $2, $3, 1, 0)",
    "INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at) VALUES ($1, $2, 'meter', $3, now())",
    "INSERT INTO mailbox (bucket, eid, tenant) VALUES ($1, $2, $3)",
    (
        "INSERT INTO profiles (bucket, eid, tenant, iccid, state) "
        "VALUES ($1, $2, $3, '\\x98001032547698103254', 'enabled')"
    ),
    (
        "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by) "
        "VALUES ($1, '00000000-0000-0000-0000-000000000007', $2, $3, 1, 1, 'enable', 'token:ci')"
    ),
    (
        "INSERT INTO handover_cards (bucket, eid, handover, tenant, stage) "
        "VALUES ($1, $2, '00000000-0000-0000-0000-000000000007', $3, 'adding')"
    ),
    (
        "INSERT INTO results (bucket, id, eid, tenant, digest, octets, kind, verdict) "
        "VALUES ($1, gen_random_uuid(), $2, $3, '\\x01', '\\x02', 'result', 'verified')"
    ),
    (
        "INSERT INTO notifications (bucket, id, eid, tenant, digest, octets) "
        "VALUES ($1, gen_random_uuid(), $2, $3, '\\x01', '\\x02')"
    ),
    (
        "INSERT INTO events (bucket, id, eid, tenant, kind, data) "
        "VALUES ($1, gen_random_uuid(), $2, $3, 'euicc.ecall_started', '{}')"
    ),
    (
        "INSERT INTO traces (bucket, id, eid, tenant, at, direction, octets, size, peer, expires_at) "
        "VALUES ($1, gen_random_uuid(), $2, $3, now(), 'in', '\\x00', 1, '192.0.2.0/24', now() + interval '1 day')"
    ),
)
_AUDIT: Final = (
    "INSERT INTO audit (bucket, id, tenant, actor, action, subject, data) "
    "VALUES ($1, gen_random_uuid(), $2, 'setup', 'seed', 'all', '{}')"
)
_REQUEST: Final = (
    "INSERT INTO requests (bucket, id, eid, kind, reason) VALUES ($1, gen_random_uuid(), $2, 'audit', 'state change')"
)
_PACKAGE: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, counter, speaks, sealed, gate, not_before, state)
    VALUES ($1, $2, $3::bigint, $4, 1, $3::bigint, '1.2', $5, 1, now(), $6)
"""


async def fill(database: Database, tenant: TenantId) -> None:
    """One tenant, one identity, one eUICC, and a row of it in every table that has rows of tenants."""
    async with transaction(database.owner()) as db:
        await db.execute("INSERT INTO tenants (id, name) VALUES ($1, 'other') ON CONFLICT DO NOTHING", tenant)
    await database.seed_identity(tenant=tenant)
    async with transaction(database.owner()) as db:
        for statement in (*_OF_TENANT, *_OF_WEBHOOK, *_OF_IDENTITY):
            await db.execute(statement, tenant)
        for statement in _OF_EUICC:
            await db.execute(statement, BUCKET, EID, tenant)
        await db.execute(_AUDIT, BUCKET, tenant)
        await db.execute(_REQUEST, BUCKET, EID)
        await put_package(db, 1, "waiting")


async def put_package(db: Db, number: int, state: str) -> bytes:
    """A package of the eUICC; its octets."""
    sealed = bytes([number]) * 4
    await db.execute(_PACKAGE, BUCKET, EID, number, OPERATION, sealed, state)
    return sealed
