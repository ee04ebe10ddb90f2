"""Orders as an operator looks at them, stops them and takes them back; those for very many cards are placed here.

Such an order is one row, and one row a bucket that says how far it is; workers do the rest (services/spreading.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.event import Happening
from eim.domain.ids import Bucket, TenantId
from eim.domain.operation import ENDED, State
from eim.errors import InvalidRequest, NotFound
from eim.services.lines import MOST_LINES, OnError
from eim.services.ordering import Estate, Ordering
from eim.services.placing import record_of
from eim.services.tokens import Caller
from eim.store import Db, audit, events, orders, spreads
from eim.store.audit import Record, bucket_of_subject
from eim.store.connect import Pool, transaction
from eim.store.orders import Order, Placing, Share
from eim.store.spreads import Job, Refusal

SPREAD_ABOVE: Final = 10_000  # cards of one order
_NAMED: Final = 100  # refused cards that are shown


class Spread(msgspec.Struct, frozen=True):
    """How far workers are with an order for very many."""

    jobs: tuple[Job, ...]  # one a bucket

    @property
    def cards(self) -> int:
        """How many were meant when it was placed."""
        return sum(job.cards for job in self.jobs)

    @property
    def looked_at(self) -> int:
        return sum(job.looked_at for job in self.jobs)

    @property
    def placed(self) -> int:
        """Operations."""
        return sum(job.placed for job in self.jobs)

    @property
    def refused(self) -> dict[str, int]:
        """How many cards can't be asked that, by the reason's code."""
        codes = sorted({code for job in self.jobs for code in job.refused})
        return {code: sum(job.refused.get(code, 0) for job in self.jobs) for code in codes}

    @property
    def problems(self) -> tuple[Refusal, ...]:
        """The first of them."""
        return tuple(problem for job in self.jobs for problem in job.problems)[:_NAMED]

    def seconds_left(self, order: Order, now: datetime) -> int | None:
        """Until it is placed, at the pace so far; None: not known yet, or over."""
        left = sum(max(job.cards - job.looked_at, 0) for job in self.jobs if not job.done)
        if order.spread_at is not None or order.stopped_at is not None or not self.looked_at:
            return None
        return round((now - order.created_at).total_seconds() * left / self.looked_at)


class Progress(msgspec.Struct, frozen=True):
    """How the operations of an order stand."""

    order: Order
    shares: tuple[Share, ...]
    spread: Spread | None = None  # None: it was placed at once

    @property
    def size(self) -> int:
        """Operations, so far."""
        return self.order.size if self.spread is None else self.spread.placed

    def by_state(self) -> dict[State, int]:
        return {state: sum(s.many for s in self.shares if s.state is state) for state in State}

    def by_reason(self) -> dict[str, int]:
        """The outcomes' reasons, and how often each."""
        reasons = sorted({share.reason for share in self.shares} - {""})
        return {reason: sum(s.many for s in self.shares if s.reason == reason) for reason in reasons}

    def oldest_waiting(self) -> datetime | None:
        """Since when the one that waits longest has been waiting."""
        return min((share.oldest for share in self.shares if share.state not in ENDED), default=None)


async def meant(db: Db, tenant: TenantId, asked: Ordering) -> Mapping[Bucket, int]:
    """How many cards an order by tag means, by bucket; none where it names its cards."""
    return await spreads.count(db, tenant, asked.targets.tag) if isinstance(asked.targets, Estate) else {}


def is_bulk(asked: Ordering, cards: int, above: int) -> bool:
    """Whether workers place it. Raises InvalidRequest for what is too much at once and may not be done in part."""
    if asked.on_error is OnError.SKIP:
        return cards > above
    if cards > MOST_LINES:
        raise InvalidRequest(
            f"this order means {cards} cards: more than {MOST_LINES} are asked one after the other, so one that can't "
            'be asked can\'t stop the others; say so with "on_error": "skip", and see GET /v1/orders/ID for who was not'
        )
    return False


async def spread(db: Db, caller: Caller, asked: Ordering, control: UUID, cards: Mapping[Bucket, int]) -> None:
    """Place an order for very many: workers go on with it when this commits."""
    placing = Placing(control, asked.kind, 0, caller.actor, msgspec.to_builtins(asked))
    await orders.insert(db, caller.tenant, placing)
    await spreads.insert(db, caller.tenant, control, cards)
    tag = asked.targets.tag if isinstance(asked.targets, Estate) else None
    about: dict[str, object] = {"cards": sum(cards.values()), "tag": tag}
    told = {"order": str(control), "kind": asked.kind.value, "by": caller.actor, **about}
    bucket = bucket_of_subject(str(control))
    await events.record(db, bucket, None, caller.tenant, Happening.ORDER_PLACED, told)
    await audit.write(db, [record_of(caller, control, asked, about)])
    await events.hint(db, cards)


async def progress_of(db: Db, tenant: TenantId, order: UUID) -> Progress:
    """How an order stands. Raises NotFound."""
    found = await _read(db, tenant, order)
    jobs = await spreads.of_order(db, tenant, order) if found.is_bulk else ()
    return Progress(found, await orders.progress(db, tenant, order), Spread(jobs) if found.is_bulk else None)


class Orders:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stop(self, caller: Caller, order: UUID) -> Progress:
        """Place nothing more of it from the commit of this on; what is placed goes on. Again changes nothing.

        Raises NotFound.
        """
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await _read(db, caller.tenant, order)
            if await orders.stop(db, caller.tenant, order):
                await _note(db, caller, "order.stop", order)
            return await progress_of(db, caller.tenant, order)

    async def withdraw(self, caller: Caller, order: UUID) -> Progress:
        """Take back all that it placed, and place nothing more: workers do it, each operation as if it was withdrawn
        alone. Again changes nothing. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await _read(db, caller.tenant, order)
            await orders.stop(db, caller.tenant, order)
            if await orders.withdraw(db, caller.tenant, order, caller.actor):
                await _note(db, caller, "order.withdraw", order)
            return await progress_of(db, caller.tenant, order)


async def _note(db: Db, caller: Caller, action: str, order: UUID) -> None:
    await audit.write(db, [Record(caller.tenant, caller.actor, action, str(order), {})])
    await events.hint(db, _EVERY)


async def _read(db: Db, tenant: TenantId, order: UUID) -> Order:
    found = await orders.read(db, tenant, order)
    if found is None:
        raise NotFound(f"there is no order {order}")
    return found


_EVERY: Final[Sequence[Bucket]] = tuple(map(Bucket, range(1024)))
