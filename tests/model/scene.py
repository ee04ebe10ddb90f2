"""One card and its eIM in a state that can be put back: rows by a copy of every table, the card by a copy of itself."""

import copy
from typing import Any, Final
from uuid import uuid4

import asyncpg

from eim.domain.ids import bucket_of
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Entry
from tests.database import Database
from tests.services.rig import Rig

_TABLES: Final = """
    SELECT c.relname, EXISTS (
               SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attidentity <> '' AND NOT a.attisdropped
           ) AS identity
      FROM pg_class c
     WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
     ORDER BY 1
"""
_KEPT: Final = ("migrations", "leases", "workers")  # of the workers, who live on
_TIDY_EVERY: Final = 100  # restores
# Another worker has all buckets but the card's: ours looks for work where there may be some.
_LEAVE_ONE: Final = """
    WITH other AS (
        INSERT INTO eim.workers (id, expires_at) VALUES ($2, now() + interval '100 s')
        ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
    )
    UPDATE eim.leases SET holder = $2 WHERE bucket <> $1 AND holder IS DISTINCT FROM $2
"""
# What two runs that ended alike have in common: no id, no time, no octet that is drawn anew each time.
_DIGEST: Final = """
    SELECT jsonb_build_array(
        (SELECT jsonb_agg(jsonb_build_array(ordinal, kind, state, doubt, outcome ->> 'reason', priority)
                          ORDER BY ordinal) FROM operations),
        (SELECT jsonb_agg(jsonb_build_array(number, counter, state) ORDER BY number) FROM packages),
        (SELECT jsonb_agg(jsonb_build_array(number, handed_at IS NULL, deliveries > 0, highest_handed)) FROM mailbox),
        (SELECT jsonb_agg(jsonb_build_array(kind, reason) ORDER BY kind, reason) FROM requests),
        (SELECT jsonb_agg(jsonb_build_array(iccid, state) ORDER BY iccid) FROM profiles),
        (SELECT jsonb_agg(jsonb_build_array(tenant, counter, association_token, introduced_at IS NULL, speaks))
           FROM euiccs),
        (SELECT jsonb_agg(jsonb_build_array(kind, verdict, counter, seq_number) ORDER BY kind, verdict, seq_number)
           FROM results)
    )::text
"""


class Scene:
    """Guards a saved moment of a rig with one card."""

    def __init__(self, rig: Rig, database: Database, superuser: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.rig = rig
        self._database = database
        self._superuser = superuser
        self._saved: dict[str, tuple[str, dict[str, Any], list[Entry]]] = {}
        self._restores = 0
        self._other = uuid4()

    async def leave_one_bucket(self) -> None:
        """Another worker is there, who has all buckets but the card's; for 100 seconds more."""
        await self._superuser.execute(_LEAVE_ONE, self.bucket, self._other)
        await self.rig.leasing.refresh()

    @property
    def card(self) -> VirtualEuicc:
        return self.rig.cards[0]

    async def save(self, name: str) -> None:
        """Remember this moment as `name`."""
        schema = f"saved_{name}"
        tables = await self._superuser.fetch(_TABLES, self._database.schema)
        script = [f"CREATE SCHEMA {schema}"]
        back = []
        for row in tables:
            table = row["relname"]
            if table in _KEPT:
                continue
            script.append(f"CREATE TABLE {schema}.{table} AS TABLE {self._database.schema}.{table}")
            anyway = "OVERRIDING SYSTEM VALUE " if row["identity"] else ""
            back.append(f"DELETE FROM {self._database.schema}.{table}")
            back.append(f"INSERT INTO {self._database.schema}.{table} {anyway}SELECT * FROM {schema}.{table}")
        await self._superuser.execute(";".join(script))
        self._saved[name] = (";".join(back), _copied(self.card), list(self.rig.journal.entries))

    async def restore(self, name: str) -> None:
        """Put rows, card and journal back as they were."""
        script, card, entries = self._saved[name]
        await self._superuser.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {script}; COMMIT")
        self.card.__dict__.update({key: copy.copy(value) for key, value in card.items()})
        self.rig.journal.entries[:] = entries
        self._restores += 1
        if self._restores % _TIDY_EVERY == 0:
            await self._superuser.execute("VACUUM (TRUNCATE FALSE)")  # whoever only prepared keeps it from truncating
            await self.leave_one_bucket()

    async def digest(self) -> str:
        """What the rows and the card say, as far as two runs can agree in it."""
        rows = await self._database.owner().fetchval(_DIGEST)
        stored = sorted(result.seq for result in self.card.results)
        return f"{rows} {self.card.enabled!r} {stored}"

    @property
    def bucket(self) -> int:
        return bucket_of(self.card.eid)


def _copied(card: VirtualEuicc) -> dict[str, Any]:
    return {key: copy.copy(value) for key, value in card.__dict__.items()}
