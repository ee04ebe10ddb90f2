"""The audit as an operator reads it: who did what, newest first. Its links are made by services/linking."""

from datetime import datetime
from uuid import UUID

from eim.services.tokens import Caller
from eim.store import audit
from eim.store.audit import Entry, Filter
from eim.store.connect import Pool, listing


class AuditReader:
    """Reads for one tenant at a time. Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def search(
        self, caller: Caller, wanted: Filter, before: tuple[datetime, UUID], limit: int
    ) -> tuple[Entry, ...]:
        """The records just before `before`, newest first."""
        async with listing(self._pool, caller.tenant) as db:
            return await audit.search(db, caller.tenant, wanted, before, limit)
