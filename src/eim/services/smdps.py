"""Which SM-DP+ may be called, as operators keep them. What waits for one that is allowed goes at once."""

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.domain.ids import DEFAULT_TENANT
from eim.domain.smdp import canonical
from eim.domain.step import ConfigureImmediateEnable, SetDefaultDpAddress, Step
from eim.errors import Conflict, Forbidden, InvalidRequest, NotFound, PreconditionFailed
from eim.services.lines import answered_before, remember
from eim.services.tokens import Caller
from eim.store import Db, audit, events, notifications
from eim.store import smdps as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.orders import Repeat
from eim.store.smdps import Entry, Settings

MOST: Final = 1000  # of a tenant


class Allowed(msgspec.Struct, frozen=True):
    """An entry, and how many notifications waited for it."""

    entry: Entry
    released: int


class _Remembered(msgspec.Struct, frozen=True):
    """What is kept of a creation for its repeat."""

    address: str
    released: int


class Smdps:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, caller: Caller, address: str, settings: Settings, repeat: Repeat | None = None) -> Allowed:
        """Allow calls to one more server. Raises InvalidRequest, Forbidden, Conflict for one that is there already."""
        host = _read(address)
        _check(caller, settings)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            ident = uuid4()
            before = await answered_before(db, caller.tenant, repeat, ident, _Remembered)
            if before is not None:
                return Allowed(_known(await rows.read(db, caller.tenant, before.address), host), before.released)
            if await rows.count(db, caller.tenant) >= MOST:
                raise Conflict(f"a tenant has at most {MOST} SM-DP+: remove one first")
            made = await rows.insert(db, caller.tenant, ident, host, settings)
            if made is None:
                raise Conflict(f"{host} is in the list already: change it instead")
            released = await _release(db, caller, host, settings)
            await _audit(db, caller, "smdp.add", host, _told(settings))
            await remember(db, caller.tenant, repeat, _Remembered(host, released))
        return Allowed(made, released)

    async def read(self, caller: Caller, address: str) -> Entry:
        """Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return _known(await rows.read(db, caller.tenant, canonical(address) or address), address)

    async def page(self, caller: Caller, after: tuple[datetime, UUID], limit: int) -> tuple[Entry, ...]:
        """Those behind `after`, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await rows.page(db, caller.tenant, after, limit)

    async def change(self, caller: Caller, address: str, settings: Settings, was: int | None) -> Allowed:
        """Put `settings` in the place of what it had, when it still has version `was` (None: whatever it has).

        Raises InvalidRequest, Forbidden, NotFound, PreconditionFailed.
        """
        _check(caller, settings)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            host = (await _lock(db, caller, address, was)).address
            changed = _known(await rows.change(db, caller.tenant, host, settings), host)
            released = await _release(db, caller, host, settings)
            await _audit(db, caller, "smdp.change", host, _told(settings))
        return Allowed(changed, released)

    async def remove(self, caller: Caller, address: str, was: int | None) -> Entry:
        """Call it no more; what is for it is held from now on. Raises NotFound, PreconditionFailed."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller, address, was)
            await rows.delete(db, caller.tenant, found.address)
            await _audit(db, caller, "smdp.remove", found.address, {})
        return found


async def allow_ordered(db: Db, caller: Caller, steps: Iterable[Step]) -> None:
    """Whoever orders that a card use an SM-DP+ means that its notifications may go there: it is added to the list, with
    the standard's terms, unless it is there. In the transaction of the order."""
    for host in sorted({host for step in steps if (host := _named(step)) is not None}):
        if await rows.count(db, caller.tenant) >= MOST:
            return
        settings = Settings("named by an order")
        if await rows.insert(db, caller.tenant, uuid4(), host, settings) is not None:
            await _release(db, caller, host, settings)
            await _audit(db, caller, "smdp.add", host, _told(settings))


def _named(step: Step) -> str | None:
    match step:
        case SetDefaultDpAddress():
            return canonical(step.address)
        case ConfigureImmediateEnable() if step.smdp_address is not None:
            return canonical(step.smdp_address)
        case _:
            return None


def _read(address: str) -> str:
    host = canonical(address)
    if host is None:
        raise InvalidRequest("an SM-DP+ is named by host or host:port, without https:// and without a path")
    return host


def _check(caller: Caller, settings: Settings) -> None:
    for text in settings.networks:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise InvalidRequest(f"{text!r} is no network: write an address with its length, as 10.1.0.0/16") from None
    if settings.networks and caller.tenant != DEFAULT_TENANT:
        raise Forbidden("only the installation's own tenant may name networks that are not public")


async def _release(db: Db, caller: Caller, host: str, settings: Settings) -> int:
    return await notifications.release(db, caller.tenant, host) if settings.enabled else 0


async def _lock(db: Db, caller: Caller, address: str, was: int | None) -> Entry:
    found = _known(await rows.lock(db, caller.tenant, canonical(address) or address), address)
    if was is not None and found.version != was:
        raise PreconditionFailed("it was changed meanwhile: read it again, and send its ETag as If-Match")
    return found


async def _audit(db: Db, caller: Caller, action: str, host: str, data: dict[str, object]) -> None:
    bucket = audit.bucket_of_subject(host)
    await audit.write(db, [Record(caller.tenant, caller.actor, action, host, data, bucket)])
    await events.hint(db, [bucket])


def _told(settings: Settings) -> dict[str, object]:
    return msgspec.to_builtins(settings)  # type: ignore[no-any-return]


def _known(found: Entry | None, address: str) -> Entry:
    if found is None:
        raise NotFound(f"there is no SM-DP+ {address!r} in the list")
    return found
