"""Tenants, managed by the installation's own: made, listed, limited, and given their first token (design 3.9)."""

from uuid import uuid4

import msgspec

from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.errors import Conflict, Forbidden, InvalidRequest, NotFound, PreconditionFailed
from eim.services.lines import answered_before, remember
from eim.services.tokens import Caller, Created, NewToken, Scope, issue
from eim.store import Db, audit, euiccs
from eim.store import tenants as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.orders import Repeat
from eim.store.tenants import Limits, Tenant

_MANAGE: frozenset[Scope] = frozenset({Scope.TENANTS})


class Wanted(msgspec.Struct, frozen=True):
    name: str
    limits: Limits
    identity: str | None = None  # an eimId of the installation; None: its only one


class Tenants:
    """Holds the operator role's pool. Every call needs a caller of the installation's own tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, caller: Caller, wanted: Wanted, repeat: Repeat | None) -> Tenant:
        """Make a tenant that shares an identity of the installation. Raises Conflict for a name that is taken."""
        _refuse_others(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, uuid4(), Tenant)
            if before is not None:
                return before
            eim_id = await _shared(db, wanted.identity)
            await rows.act_as_installation(db)
            made = await rows.insert(db, wanted.name, wanted.limits)
            if made is None:
                raise Conflict(f"there is a tenant {wanted.name} already: use another name")
            if await rows.share_identity(db, made, eim_id) is None:
                raise Conflict(f"the identity {eim_id} was retired a moment ago: name another")
            await audit.write(db, [_record(caller, "tenant.create", wanted.name, wanted.limits)])
            tenant = await _read(db, made)
            await remember(db, caller.tenant, repeat, tenant)
        return tenant

    async def list(self, caller: Caller) -> tuple[Tenant, ...]:
        _refuse_others(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await rows.act_as_installation(db)
            return await rows.every(db)

    async def read(self, caller: Caller, tenant: TenantId) -> Tenant:
        """Raises NotFound."""
        _refuse_others(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await rows.act_as_installation(db)
            return await _read(db, tenant)

    async def limit(self, caller: Caller, tenant: TenantId, limits: Limits, version: str | None) -> Tenant:
        """Replace a tenant's limits; what it has beyond them it keeps.

        version  of the limits that the caller saw; None: whatever they are

        Raises NotFound, and PreconditionFailed when they are others by now.
        """
        _refuse_others(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await rows.act_as_installation(db)
            found = await _read(db, tenant)
            if version is not None and found.limits.version != version:
                raise PreconditionFailed("the limits were changed meanwhile: read them again")
            await rows.limit(db, tenant, limits)
            await audit.write(db, [_record(caller, "tenant.limit", found.name, limits)])
            return await _read(db, tenant)

    async def create_token(self, caller: Caller, tenant: TenantId, new: NewToken, repeat: Repeat | None) -> Created:
        """Make a token in another tenant: its first, or when all are lost. Raises NotFound, InvalidRequest."""
        _refuse_others(caller)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, uuid4(), Created)
            if before is not None:
                return before
            await rows.act_as_installation(db)
            found = await _read(db, tenant)
            about: dict[str, object] = {"tenant": found.name, "scopes": sorted(new.scopes)}
            await audit.write(db, [Record(caller.tenant, caller.actor, "tenant.token", new.name, about)])
            await rows.act_as(db, tenant)
            made = await issue(db, Caller(tenant, f"installation:{caller.actor}", _MANAGE), new)
            await rows.act_as(db, caller.tenant)
            await remember(db, caller.tenant, repeat, made.forgotten())
        return made


def _refuse_others(caller: Caller) -> None:
    if caller.tenant != DEFAULT_TENANT or Scope.TENANTS not in caller.scopes:
        raise Forbidden("only a token of the installation's own tenant, with the scope tenants, may do that")


async def _shared(db: Db, eim_id: str | None) -> str:
    """The installation's identity that is meant."""
    names = [identity.eim_id for identity in await euiccs.identities(db, DEFAULT_TENANT)]
    if eim_id is None and len(names) == 1:
        return names[0]
    if eim_id not in names or eim_id is None:
        raise InvalidRequest(f"'identity' names one of the installation's eimIds: {', '.join(names) or '(none yet)'}")
    return eim_id


async def _read(db: Db, tenant: TenantId) -> Tenant:
    found = await rows.read(db, tenant)
    if found is None:
        raise NotFound(f"there is no tenant {tenant}")
    return found


def _record(caller: Caller, action: str, name: str, limits: Limits) -> Record:
    return Record(caller.tenant, caller.actor, action, name, msgspec.structs.asdict(limits))
