"""EIDs that call us and that nobody onboarded: looked at, and adopted."""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import msgspec

from eim.domain.ids import DEFAULT_TENANT, Eid, format_eid
from eim.errors import Forbidden, NotFound, Unconfirmed
from eim.services.lines import OnError, answered_before, remember
from eim.services.onboarding import Candidate, Onboarded, Onboarding, Rules, place
from eim.services.tokens import Caller
from eim.store import unknown
from eim.store.connect import Pool, transaction
from eim.store.orders import Repeat
from eim.store.unknown import Unknown

_MOST_SHOWN: Final = 1_000


class Terms(msgspec.Struct, frozen=True):
    """What all that are adopted together have in common."""

    label: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    identity: str | None = None


class Listed(msgspec.Struct, frozen=True):
    total: int
    callers: tuple[Unknown, ...]


class UnknownCallers:
    """Of the installation's own tenant only: whose they are nobody knows yet. Holds the operator role's pool."""

    def __init__(self, pool: Pool, onboarding: Onboarding) -> None:
        self._pool = pool
        self._onboarding = onboarding

    async def page(self, caller: Caller, after: tuple[int, Eid], limit: int) -> Listed:
        """Those behind `after`, who calls most often first. Raises Forbidden."""
        _require_own_tenant(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return Listed(await unknown.count(db), await unknown.page(db, after, limit))

    async def count(self, caller: Caller) -> int:
        """How many there are, as far as the caller may know."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await unknown.count(db)

    async def adopt(self, caller: Caller, eids: Sequence[Eid], terms: Terms, repeat: Repeat | None) -> Onboarded:
        """Onboard these, which must be among those who call. Raises Forbidden, NotFound, InvalidLines."""
        _require_own_tenant(caller)
        return await self._adopt(caller, eids, terms, repeat)

    async def adopt_all(self, caller: Caller, confirm: int | None, terms: Terms, repeat: Repeat | None) -> Onboarded:
        """Onboard all that call. Raises Forbidden, and Unconfirmed unless `confirm` says how many they are."""
        _require_own_tenant(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            eids = await unknown.every(db)
        if confirm != len(eids):
            raise Unconfirmed(f"{len(eids)} EIDs call and are unknown: say so with 'confirm': {len(eids)}")
        return await self._adopt(caller, eids, terms, repeat)

    async def _adopt(self, caller: Caller, eids: Sequence[Eid], terms: Terms, repeat: Repeat | None) -> Onboarded:
        if not eids:
            return Onboarded((), ())
        common = msgspec.structs.asdict(terms)
        candidates = [Candidate(format_eid(eid), **common) for eid in eids]
        prepared, control = await self._onboarding.prepare(candidates, Rules(on_error=OnError.SKIP)), uuid4()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, control, Onboarded)
            if before is not None:
                return before
            calling = await unknown.among(db, eids)
            if missing := [eid for eid in eids if eid not in calling]:
                raise NotFound(f"EID {format_eid(missing[0])} is not among the unknown callers: onboard it by itself")
            new, problems = await place(db, caller, control, prepared)
            done = Onboarded(new, problems.settle(OnError.SKIP, len(eids)))
            await remember(db, caller.tenant, repeat, done)
        return done


def _require_own_tenant(caller: Caller) -> None:
    if caller.tenant != DEFAULT_TENANT:
        raise Forbidden("who calls and is unknown is seen by the installation's own tenant only")
