"""The estate as an operator sees it: cards, profiles, timelines, sums. Reads only."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Eid, Iccid, bucket_of, format_eid
from eim.domain.operation import State
from eim.errors import NotFound
from eim.services.tokens import Caller
from eim.store import euiccs, events, operations, profiles
from eim.store.connect import Pool, transaction
from eim.store.euiccs import Filter, Listed, Seen
from eim.store.events import Happened
from eim.store.profiles import Found

_MOST_CARRIERS: Final = 100


class Summary(msgspec.Struct, frozen=True):
    introduced: int
    not_introduced: int
    carriers: Mapping[str, int]  # by the enabled profile's service provider, most first; '' where it names none
    operations: Mapping[State, int]


class EstateReader:
    """Reads for one tenant at a time. Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, caller: Caller, wanted: Filter, after: tuple[datetime, Eid], limit: int) -> tuple[Listed, ...]:
        """The eUICCs behind `after`, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await euiccs.page(db, caller.tenant, wanted, after, limit)

    async def read(self, caller: Caller, eid: Eid) -> Seen:
        """Everything known of one. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            seen = await euiccs.read(db, caller.tenant, bucket_of(eid), eid)
        return _known(seen, eid)

    async def profiles(self, caller: Caller, eid: Eid) -> tuple[Found, ...]:
        """The profiles it last told us of. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            _known(await euiccs.read(db, caller.tenant, bucket_of(eid), eid), eid)
            return await profiles.of_euicc(db, caller.tenant, bucket_of(eid), eid)

    async def by_iccid(self, caller: Caller, iccid: Iccid, limit: int) -> tuple[Found, ...]:
        """On which cards a profile of this ICCID lies."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await profiles.by_iccid(db, caller.tenant, iccid, limit)

    async def timeline(
        self, caller: Caller, eid: Eid, before: tuple[datetime, UUID], limit: int
    ) -> tuple[Happened, ...]:
        """What happened to it just before `before`, newest first. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            _known(await euiccs.read(db, caller.tenant, bucket_of(eid), eid), eid)
            return await events.of_euicc(db, caller.tenant, (bucket_of(eid), eid), before, limit)

    async def last_events(self, caller: Caller, limit: int) -> tuple[Happened, ...]:
        """What happened last, to whichever."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await events.last(db, caller.tenant, limit)

    async def summary(self, caller: Caller) -> Summary:
        """The sums of the whole estate."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            introduced = await euiccs.by_introduction(db, caller.tenant)
            carriers = await profiles.by_carrier(db, caller.tenant, _MOST_CARRIERS)
            states = await operations.by_state(db, caller.tenant)
        every = {state: states.get(state, 0) for state in State}
        return Summary(introduced.get(True, 0), introduced.get(False, 0), carriers, every)


def _known(seen: Seen | None, eid: Eid) -> Seen:
    if seen is None:
        raise NotFound(f"EID {format_eid(eid)} is not onboarded")
    return seen
