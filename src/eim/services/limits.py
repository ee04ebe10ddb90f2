"""What a tenant may have at most, judged in the transaction that adds to it."""

from collections.abc import Awaitable, Callable

from eim.domain.ids import TenantId
from eim.errors import LimitReached
from eim.store import Db, tenants


async def make_room_for_euiccs(db: Db, tenant: TenantId, many: int) -> None:
    """Raises LimitReached when the tenant may not have so many more eUICCs."""
    found = await tenants.read(db, tenant)
    if found is not None and found.limits.euiccs is not None:
        await _make_room(db, found.limits.euiccs, many, lambda: tenants.count_euiccs(db, tenant), "eUICCs")


async def make_room_for_token(db: Db, tenant: TenantId) -> None:
    """Raises LimitReached when the tenant has as many tokens as it may."""
    found = await tenants.read(db, tenant)
    if found is not None and found.limits.tokens is not None:
        await _make_room(db, found.limits.tokens, 1, lambda: tenants.count_tokens(db, tenant), "tokens")


async def make_room_for_order(db: Db, tenant: TenantId) -> None:
    """Raises LimitReached when the tenant placed as many orders in 24 hours as it may."""
    found = await tenants.read(db, tenant)
    if found is not None and found.limits.orders_a_day is not None:
        limit = found.limits.orders_a_day
        await _make_room(db, limit, 1, lambda: tenants.count_orders(db, tenant), "orders in 24 hours")


async def _make_room(db: Db, limit: int, many: int, count: Callable[[], Awaitable[int]], what: str) -> None:
    await tenants.hold_limits(db)
    has = await count()
    if has + many > limit:
        raise LimitReached(f"this tenant may have {limit} {what} and has {has}: ask who runs the eIM for more")
