"""A card and we don't agree on its counter, or on the key it obeys: bounded tries, then an operator. Worker role.

In the caller's transaction, under the eUICC's lock. Each try is an audit record and an event.
"""

from typing import Final

from eim.domain import counter
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, format_eid
from eim.services import associating
from eim.store import Db, associations, audit, events, mailbox, work
from eim.store.associations import Card
from eim.store.requests import Request

REPLAY: Final = "replay"
RESUMED: Final = "resumed"  # an operator says: try again
OUT_OF_RANGE: Final = "counterValueOutOfRange"
_UNREACHABLE: Final = "counterUnreachable"
_KEY_TRIES: Final = 6  # each of the two keys three times


async def resync(db: Db, request: Request, card: Card) -> None:
    """Before a recovery: where its packages were called replays themselves, or too high, look for a counter between."""
    bucket, eid = request.bucket, request.eid
    if request.reason in (REPLAY, RESUMED) and await work.failed_recoveries(db, bucket, eid, REPLAY):
        await _move(db, (bucket, eid), card, counter.beyond(card.counter, card.resyncs), _UNREACHABLE)
    elif request.reason == OUT_OF_RANGE:
        accepted = await associations.highest_accepted(db, bucket, eid)
        await mailbox.unseal(db, bucket, eid)
        await _move(db, (bucket, eid), card, counter.below(accepted, card.counter, card.resyncs), OUT_OF_RANGE)
    if card.next_key is not None and await _is_key_unknown(db, bucket, eid):
        await _try_other_key(db, bucket, eid, card)


async def _is_key_unknown(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Whether an updateEim is in doubt, or was when the card was taken out: then there is none any more."""
    in_doubt = await work.renewal_in_doubt(db, bucket, eid) is not None
    return in_doubt or not await work.is_renewing(db, bucket, eid)


async def is_given_up(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Whether an operator has to do something first."""
    card = await associations.lock(db, bucket, eid)
    return card is None or card.stalled is not None


async def _move(db: Db, at: tuple[Bucket, Eid], card: Card, to: int | None, why: str) -> None:
    bucket, eid = at
    if to is None:
        await associating.stall(db, bucket, eid, card.tenant, why)
        return
    await associations.move_counter(db, bucket, eid, to)
    about: dict[str, object] = {"counter": to, "before": card.counter, "try": card.resyncs + 1}
    await events.record(db, bucket, eid, card.tenant, Happening.EUICC_COUNTER_JUMPED, about)
    await audit.record(
        db, bucket, card.tenant, actor="worker", action="counter.resynced", subject=format_eid(eid), data=about
    )


async def _try_other_key(db: Db, bucket: Bucket, eid: Eid, card: Card) -> None:
    if card.resyncs >= _KEY_TRIES:
        await associating.stall(db, bucket, eid, card.tenant, "keyUnknown")
        return
    tried = await associations.try_key(db, bucket, eid)
    about: dict[str, object] = {"key": tried}
    await audit.record(
        db, bucket, card.tenant, actor="worker", action="euicc.key_tried", subject=format_eid(eid), data=about
    )
