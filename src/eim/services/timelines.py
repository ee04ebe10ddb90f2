"""The past of one device in one list: what was ordered, sealed, handed out, answered, and what that means."""

from datetime import datetime
from uuid import UUID

import msgspec

from eim.domain.explanations import Meaning, meaning_of
from eim.domain.ids import Eid, bucket_of, format_eid
from eim.errors import NotFound
from eim.services.tokens import Caller
from eim.store import euiccs, timelines
from eim.store.connect import Pool, transaction
from eim.store.euiccs import Seen
from eim.store.timelines import Entry


class Told(msgspec.Struct, frozen=True):
    """An entry, and what it means where something has gone wrong."""

    entry: Entry
    meaning: Meaning | None


class Timelines:
    """Reads for one tenant at a time. Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self, caller: Caller, eid: Eid, before: tuple[datetime, int, UUID], limit: int
    ) -> tuple[Seen, tuple[Told, ...]]:
        """The eUICC, and what happened to it just before `before`, newest first. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            seen = await euiccs.read(db, caller.tenant, bucket_of(eid), eid)
            if seen is None:
                raise NotFound(f"EID {format_eid(eid)} is not onboarded")
            entries = await timelines.page(db, caller.tenant, (bucket_of(eid), eid), before, limit)
        return seen, tuple(Told(each, meaning_of(each.what, each.data)) for each in entries)
