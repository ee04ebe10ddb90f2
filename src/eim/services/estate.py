"""The estate as an operator sees it: cards, profiles, timelines, sums. Reads only."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Eid, Iccid, TenantId, bucket_of, format_eid
from eim.domain.operation import State
from eim.errors import NotFound
from eim.services.tokens import Caller
from eim.store import euicc_pages, euiccs, events, notifications, operations, profiles
from eim.store.connect import Pool, listing, transaction
from eim.store.euicc_pages import Filter, Listed
from eim.store.euiccs import Seen
from eim.store.events import Happened
from eim.store.profiles import Found

_MOST_CARRIERS: Final = 100
_REST: Final = 20.0  # times as long as counting took


class Summary(msgspec.Struct, frozen=True):
    introduced: int
    not_introduced: int
    carriers: Mapping[str, int]  # by the enabled profile's service provider, most first; '' where it names none
    operations: Mapping[State, int]  # those that are open, and the ended ones of the last 7 days
    as_of: datetime


class EstateReader:
    """Reads for one tenant at a time. Guards the operator role's pool, and the last sums of each tenant.

    Sums are counted anew when twenty times the time has passed that counting took: at once on a small estate, and
    never more than a twentieth of one connection's time on a large one, however many look.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sums: dict[TenantId, tuple[float, Summary]] = {}  # good until that moment of the loop's clock
        self._counting: dict[TenantId, asyncio.Lock] = {}

    async def page(self, caller: Caller, wanted: Filter, after: tuple[datetime, Eid], limit: int) -> tuple[Listed, ...]:
        """The eUICCs behind `after`, oldest first."""
        async with listing(self._pool, caller.tenant) as db:
            return await euicc_pages.page(db, caller.tenant, wanted, after, limit)

    async def read(self, caller: Caller, eid: Eid) -> Seen:
        """Everything known of one. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            seen = _known(await euiccs.read(db, caller.tenant, bucket_of(eid), eid), eid)
            on_their_way = await notifications.open_of(db, caller.tenant, bucket_of(eid), eid)
        return msgspec.structs.replace(seen, notifications={s.value: many for s, many in on_their_way.items()})

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
        """The sums of the whole estate; `as_of` says when they were counted."""
        tenant = caller.tenant
        async with self._counting.setdefault(tenant, asyncio.Lock()):
            began = time.monotonic()
            until, known = self._sums.get(tenant, (0.0, None))
            if known is not None and began < until:
                return known
            counted = await self._count(tenant)
            took = time.monotonic() - began
            self._sums[tenant] = (began + took * _REST, counted)
        return counted

    async def _count(self, tenant: TenantId) -> Summary:
        async with transaction(self._pool, tenant=tenant) as db:
            introduced = await euiccs.by_introduction(db, tenant)
            carriers = await profiles.by_carrier(db, tenant, _MOST_CARRIERS)
            states = await operations.by_state(db, tenant)
        every = {state: states.get(state, 0) for state in State}
        return Summary(introduced[True], introduced[False], carriers, every, datetime.now(UTC))


def _known(seen: Seen | None, eid: Eid) -> Seen:
    if seen is None:
        raise NotFound(f"EID {format_eid(eid)} is not onboarded")
    return seen
