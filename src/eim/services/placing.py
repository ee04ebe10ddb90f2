"""What an order becomes, row by row: the same whether it is placed at once or spread over very many cards."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain import opening
from eim.domain.ids import Eid, TenantId
from eim.domain.step import Step, name_of
from eim.services.ordering import Known, Ordering
from eim.services.tokens import Caller
from eim.store import Db, operations, profiles
from eim.store.audit import Record
from eim.store.euiccs import Locked
from eim.store.operations import Line, Terms

PART: Final = 32  # bits for the position of a line in front of the number of its package


def terms_of(asked: Ordering, control: UUID, actor: str) -> Terms:
    """What all operations of the order have in common."""
    return Terms(
        order_id=control,
        ordered_by=actor,
        priority=asked.priority,
        not_before=asked.not_before,
        expires_at=asked.expires_at,
        after_event=asked.after_event,
        opening=str(asked.opening) if asked.opening else None,
        retries=asked.retries,
    )


def in_window(line: Line, asked: Ordering, time_zone: str | None, now: datetime) -> Line:
    """The line with the window in which it may go out first."""
    window = window_of(asked, time_zone, now)
    return line if window is None else msgspec.structs.replace(line, window=window)


def window_of(asked: Ordering, time_zone: str | None, now: datetime) -> opening.Window | None:
    """The first window of a card in this zone; None: it may go out at any time."""
    if asked.opening is None:
        return None
    first = max(asked.not_before or now, now)
    return opening.window(asked.opening, opening.zone_named(time_zone), first)


async def known_of(
    db: Db, tenant: TenantId, cards: Mapping[Eid, Locked], done_before: Mapping[Eid, Sequence[Step]]
) -> Known:
    """What the order is judged by; what `done_before` leaves behind is taken for granted."""
    at = [(card.bucket, card.eid) for card in cards.values()]
    held, queued = await profiles.of_many(db, tenant, at), await operations.queued(db, tenant, at)
    return Known(cards, held, queued, done_before)


def record_of(caller: Caller, control: UUID, asked: Ordering, about: Mapping[str, object]) -> Record:
    """What the audit keeps of an order as it is placed, with `about` how many it means."""
    data = {
        "kind": asked.kind.value,
        "steps": [name_of(template.step) for template in asked.steps] or None,
        **about,
        "iccid": asked.iccid,
        "service_provider": asked.service_provider,
        "rollback": asked.rollback,
        "force_reason": asked.force_reason,
    }
    return Record(caller.tenant, caller.actor, "order.place", str(control), data)
