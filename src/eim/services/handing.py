"""The worker's part of a hand-over: each card goes on when what its stage asked of it has ended."""

import secrets
from typing import Final

from eim.domain.event import Happening
from eim.domain.handover import Direction, Move, Stage, Stands, move
from eim.domain.ids import format_eid, with_bucket
from eim.domain.operation import Priority
from eim.domain.step import compact
from eim.services.holding import Hold
from eim.store import Db, associations, audit, card_views, events, handovers
from eim.store.associations import Card
from eim.store.connect import Pool, transaction
from eim.store.handovers import Due, Standing

_BY: Final = "eim"
_DONE: Final = "done"


class Handing:
    """Holds the worker role's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def go_on(self, due: Due, hold: Hold) -> None:
        """Move one card on, in one transaction. Again changes nothing."""
        async with transaction(self._pool) as db:
            await hold(db, [due.bucket])
            card = await associations.lock(db, due.bucket, due.eid)
            found = await handovers.standing(db, due) if card is not None else None
            if card is None or found is None:
                return
            listed = (await card_views.read(db, due.bucket, due.eid)).eims
            eims = frozenset(eim.eim_id for eim in listed) if listed is not None else None
            why = None if found.state in (None, _DONE) else found.reason or found.state
            stands = Stands(found.stage, why, found.operation is not None, eims, found.confirmed)
            await _go(db, due, found, card, move(found.terms, stands, card.eim_id))


async def _go(db: Db, due: Due, found: Standing, card: Card, to: Move) -> None:
    operation = None
    if to.step is not None:
        operation = with_bucket(due.bucket, secrets.token_bytes(14))
        await handovers.place(db, due, operation, compact((to.step,)), (Priority.NORMAL, _BY))
    await handovers.go(db, due, to.stage, operation, to.reason)
    about: dict[str, object] = {"handover": str(due.handover), "stage": to.stage.value, "eimId": found.terms.eim_id}
    if to.reason is not None:
        about["reason"] = to.reason
    if to.stage is Stage.DONE and found.terms.direction is Direction.OUT:
        await handovers.handed_over(db, due)
    await events.record(db, due.bucket, due.eid, card.tenant, Happening.EUICC_HANDOVER, about)
    await audit.record(
        db,
        due.bucket,
        card.tenant,
        actor="worker",
        action="euicc.handover",
        subject=format_eid(due.eid),
        data=about,
    )
