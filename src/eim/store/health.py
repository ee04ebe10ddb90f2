"""What the state of the database says about the installation: numbers that `eim doctor` judges. Worker role."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from eim.domain.ids import BUCKETS
from eim.store import Db
from eim.store.connect import DbRole, group_role

_CLOCK: Final = "SELECT clock_timestamp()"
_VERSIONS: Final = "SELECT version, checksum FROM schema_migrations ORDER BY version"
# For each (role, table, right): whether the role has it, on the whole table or any column of it.
_RIGHTS: Final = """
    SELECT u.role, u.relation, u.wanted,
           CASE WHEN u.wanted IN ('DELETE', 'TRUNCATE') THEN has_table_privilege(u.role, u.relation, u.wanted)
                ELSE has_any_column_privilege(u.role, u.relation, u.wanted) END AS granted
      FROM unnest($1::text[], $2::text[], $3::text[]) AS u (role, relation, wanted)
"""
_REPLICATION: Final = """
    SELECT current_setting('synchronous_standby_names') AS names, current_setting('synchronous_commit') AS commits
"""
_COUNTERS: Final = """
    SELECT count(*) FILTER (WHERE e.counter > $2) AS high, coalesce(max(e.counter), 0) AS highest, count(*) AS euiccs
      FROM unnest($1::smallint[]) AS b (bucket) JOIN euiccs e ON e.bucket = b.bucket
"""
_LEASES: Final = """
    SELECT count(*) FILTER (WHERE l.expires_at > now() AND coalesce(w.expires_at > now(), true)) AS held,
           count(*) AS buckets, count(DISTINCT w.id) FILTER (WHERE w.expires_at > now()) AS workers
      FROM leases l LEFT JOIN workers w ON w.id = l.holder
"""
# Ordered, open, time come, and yet nothing sealed in front of its eUICC: what a worker should have done.
_OLDEST_DUE: Final = """
    SELECT min(o.not_before)
      FROM unnest($1::smallint[]) AS b (bucket)
      JOIN operations o ON o.bucket = b.bucket
      JOIN euiccs e ON e.bucket = o.bucket AND e.eid = o.eid
      JOIN gates g ON g.id = o.gate
     WHERE o.state = 'accepted' AND o.not_before <= now() AND g.open
       AND (o.kind = 'ipaEuiccDataRequest' OR e.introduced_at IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM mailbox m
                        WHERE m.bucket = o.bucket AND m.eid = o.eid AND m.number IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM packages p
                        WHERE p.bucket = o.bucket AND p.eid = o.eid AND p.queued AND p.state = 'waiting')
"""
_DOUBTS: Final = """
    SELECT count(*)
      FROM unnest($1::smallint[]) AS b (bucket) JOIN operations o ON o.bucket = b.bucket
     WHERE o.state = 'in_doubt' AND coalesce(o.handed_at, o.created_at) < now() - $2::interval
"""
_NOTIFICATIONS: Final = """
    SELECT count(*) FILTER (WHERE n.state <> 'held') AS waiting, count(*) FILTER (WHERE n.state = 'held') AS held,
           min(n.received_at) AS oldest
      FROM unnest($1::smallint[]) AS b (bucket) JOIN notifications n ON n.bucket = b.bucket
     WHERE n.state IN ('stored', 'waiting', 'held')
"""
_STRAYS: Final = "SELECT count(*) FROM strays"
_EVERY: Final = tuple(range(BUCKETS))


class Notifications(msgspec.Struct, frozen=True):
    """How many are on their way, and since when the oldest one is; None: none is."""

    waiting: int
    held: int
    oldest: datetime | None


class Right(msgspec.Struct, frozen=True):
    """One right in the database, and whether its role should have it."""

    role: DbRole
    table: str
    right: str
    due: bool


# The rights on which the split of roles rests (design 1): each role's work, and what it must never be able to do.
RIGHTS: Final = (
    Right(DbRole.DEVICE, "mailbox", "UPDATE", True),
    Right(DbRole.DEVICE, "results", "INSERT", True),
    Right(DbRole.DEVICE, "operations", "INSERT", False),
    Right(DbRole.DEVICE, "packages", "INSERT", False),
    Right(DbRole.DEVICE, "mailbox", "INSERT", False),
    Right(DbRole.DEVICE, "tokens", "SELECT", False),
    Right(DbRole.DEVICE, "audit", "DELETE", False),
    Right(DbRole.OPERATOR, "operations", "INSERT", True),
    Right(DbRole.OPERATOR, "packages", "INSERT", False),
    Right(DbRole.OPERATOR, "audit", "UPDATE", False),
    Right(DbRole.OPERATOR, "audit", "DELETE", False),
    Right(DbRole.WORKER, "packages", "INSERT", True),
    Right(DbRole.WORKER, "euiccs", "UPDATE", True),
    Right(DbRole.WORKER, "tokens", "SELECT", False),
    Right(DbRole.WORKER, "audit", "UPDATE", False),
    Right(DbRole.WORKER, "audit", "DELETE", False),
)


class Counters(msgspec.Struct, frozen=True):
    high: int  # eUICCs above the mark
    highest: int
    euiccs: int


class Leases(msgspec.Struct, frozen=True):
    held: int
    buckets: int
    workers: int  # that hold any


class Replication(msgspec.Struct, frozen=True):
    """The settings of PostgreSQL that say what a commit waits for."""

    names: str  # synchronous_standby_names; empty: no standby
    commits: str  # synchronous_commit


async def clock(db: Db) -> datetime:
    """The database's time now."""
    found: datetime = await db.fetchval(_CLOCK)
    return found


async def versions(db: Db) -> Mapping[int, bytes]:
    """The migrations that were applied, each with the SHA-256 of its file."""
    return {row["version"]: row["checksum"] for row in await db.fetch(_VERSIONS)}


async def wrong_rights(db: Db) -> Sequence[Right]:
    """Those of RIGHTS that are missing, or there and should not be."""
    columns = [group_role(r.role) for r in RIGHTS], [r.table for r in RIGHTS], [r.right for r in RIGHTS]
    granted = {
        (row["role"], row["relation"], row["wanted"]): row["granted"] for row in await db.fetch(_RIGHTS, *columns)
    }
    return [r for r in RIGHTS if granted[group_role(r.role), r.table, r.right] is not r.due]


async def replication(db: Db) -> Replication:
    row = await db.fetchrow(_REPLICATION)
    return Replication(row["names"], row["commits"]) if row else Replication("", "")


async def counters(db: Db, mark: int) -> Counters:
    """How far the counters of all eUICCs are, and how many are above `mark`."""
    row = await db.fetchrow(_COUNTERS, _EVERY, mark)
    return msgspec.convert(dict(row or {}), Counters)


async def leases(db: Db) -> Leases:
    """How many buckets a worker holds now."""
    return msgspec.convert(dict(await db.fetchrow(_LEASES) or {}), Leases)


async def oldest_due(db: Db) -> datetime | None:
    """Since when the oldest work waits that a worker should have sealed; None: nothing waits."""
    found: datetime | None = await db.fetchval(_OLDEST_DUE, _EVERY)
    return found


async def doubts(db: Db, older: timedelta) -> int:
    """Operations that are in doubt for longer than `older`."""
    return int(await db.fetchval(_DOUBTS, _EVERY, older))


async def notifications(db: Db) -> Notifications:
    """What is on its way to SM-DP+."""
    return msgspec.convert(dict(await db.fetchrow(_NOTIFICATIONS, _EVERY) or {}), Notifications)


async def strays(db: Db) -> int:
    """Messages kept that name nobody."""
    return int(await db.fetchval(_STRAYS))


def standby_fault(found: Replication) -> str | None:
    """What is wrong where a synchronous standby is demanded: a failover would lose what was acknowledged."""
    if not found.names.strip():
        return "the database has no synchronous standby (synchronous_standby_names is empty)"
    if found.commits in ("off", "local"):
        return f"synchronous_commit is {found.commits}: commits don't wait for the standby"
    return None
