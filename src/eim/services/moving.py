"""A fleet moves to a newer key of its identity: ordered in portions, counted by key, and the old key retired.

What the cards do about it is in services/renewing.py; docs/keys-and-trust.md tells the whole.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.domain.counter import ALARM
from eim.domain.event import Happening
from eim.domain.ids import Eid, IdentityId, bucket_of, derive_operation_id, format_eid
from eim.domain.operation import Priority
from eim.errors import Conflict, Guarded, InvalidRequest, NotFound, Unconfirmed
from eim.services.caring import not_onboarded
from eim.services.lines import answered_before
from eim.services.lines import remember as remember_answer
from eim.services.tokens import Caller
from eim.store import Db, audit, events, identities, renewals, requests
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.events import Event
from eim.store.identities import Key, Listed
from eim.store.orders import Repeat
from eim.store.renewals import Mover, Older, Terms, Which
from eim.store.requests import Ask

PORTION: Final = 10_000  # eUICCs of one call; the next call goes on
_EVERYBODY: Final = 10_000_000
_RESUMED: Final = "resumed"


class Move(msgspec.Struct, frozen=True):
    """Which eUICCs are to obey the identity's newest key."""

    reason: str
    which: Which = Which()
    new_count: bool = False  # the count begins anew; without, only where it is high
    confirm: int | None = None  # how many whoever orders expects
    most: int = PORTION


class Moving(msgspec.Struct, frozen=True):
    """What was ordered; `left`: those that this call did not take. The order is None when there was nobody to move."""

    order: UUID | None
    key: int
    ordered: int
    left: int


class KeyState(msgspec.Struct, frozen=True):
    key: Key
    euiccs: int  # that obey it
    moving: int  # of them, those with an order to leave it
    is_loaded: bool  # new eUICCs come from their factory with it
    is_retired: bool


class Associations:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool, confirm_above: int) -> None:
        self._pool = pool
        self._confirm_above = confirm_above

    async def keys(self, caller: Caller, identity: IdentityId) -> tuple[KeyState, ...]:
        """The identity's keys, and how many eUICCs obey each. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            known = await _identity(db, caller, identity)
            return await _keys(db, caller, known)

    async def move(self, caller: Caller, identity: IdentityId, move: Move, repeat: Repeat | None) -> Moving:
        """Order that eUICCs on older keys move to the newest one; the next call takes those that are left.

        Raises NotFound, Conflict where there is no newer key, Unconfirmed, KeyReused.
        """
        order = uuid4()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, order, Moving)
            if before is not None:
                return before
            await _identity(db, caller, identity)
            newest = max(key.number for key in await identities.keys(db, caller.tenant, identity))
            if newest == 0:
                raise Conflict("this identity has one key only: make the next one with `eim keys rotate`")
            found = await renewals.older(db, caller.tenant, identity, newest, move.which, _EVERYBODY)
            _refuse_unconfirmed(move, len(found), self._confirm_above)
            taken = found[: move.most]
            terms = Terms(newest, order, Priority.NORMAL, caller.actor)
            movers = await self._movers(db, caller, terms, taken, move)
            if movers:
                await renewals.place(db, caller.tenant, terms, movers)
                await _tell(db, caller, move, terms, movers)
            done = Moving(order if movers else None, newest, len(movers), len(found) - len(taken))
            await remember_answer(db, caller.tenant, repeat, done)
        return done

    async def _movers(self, db: Db, caller: Caller, terms: Terms, found: Sequence[Older], move: Move) -> list[Mover]:
        """Those found that nobody ordered to move, or moved, before they were locked here."""
        movers: list[Mover] = []
        for bucket, group in groupby(sorted((f.bucket, f.eid) for f in found), key=lambda each: each[0]):
            locked = await renewals.lock(db, caller.tenant, bucket, [eid for _, eid in group])
            gone = await renewals.on_their_way(db, bucket, list(locked))
            for eid, (counter, key) in sorted(locked.items()):
                if key < terms.key and eid not in gone:
                    start = 0 if move.new_count or counter >= ALARM else None
                    movers.append(Mover(bucket, eid, derive_operation_id(terms.order, len(movers), eid), start))
        return movers

    async def load_with(self, caller: Caller, identity: IdentityId, number: int, reason: str) -> tuple[KeyState, ...]:
        """From now on new eUICCs come with this key. Raises NotFound, and Conflict for a retired one."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            known = await _identity(db, caller, identity)
            await _key(db, caller, known, number)
            if number < known.lowest_key:
                raise Conflict(f"key {number} is retired: choose a newer one")
            await identities.load_new_with(db, caller.tenant, identity, number)
            await _note(db, caller, known, "identity.load_key", {"key": number, "reason": reason})
            return await _keys(db, caller, await _identity(db, caller, identity))

    async def retire_keys(self, caller: Caller, identity: IdentityId, below: int, reason: str) -> tuple[KeyState, ...]:
        """Retire the keys before `below`. Raises NotFound, and Guarded while an eUICC obeys one of them."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            known = await _identity(db, caller, identity)
            await _key(db, caller, known, below)
            left = sum(c.euiccs for c in await renewals.counts(db, caller.tenant, identity) if c.number < below)
            if left:
                raise Guarded(f"{left} eUICCs obey an older key: move them first (`eim associations move`)")
            await identities.retire_keys_below(db, caller.tenant, identity, below)
            await _note(db, caller, known, "identity.retire_keys", {"below": below, "reason": reason})
            return await _keys(db, caller, await _identity(db, caller, identity))

    async def resume(self, caller: Caller, eid: Eid, reason: str) -> None:
        """Let a stalled eUICC go on: what was tried in vain is tried again, further on. Raises NotFound, Conflict."""
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await renewals.stalled(db, caller.tenant, bucket, eid)
            if found is None:
                raise not_onboarded(eid)
            if found.stalled is None:
                raise Conflict(f"nothing holds EID {format_eid(eid)} up: there is nothing to resume")
            await renewals.resume(db, caller.tenant, bucket, eid)
            await requests.add(db, bucket, eid, Ask.RECOVER, _RESUMED)
            about: dict[str, object] = {"was": found.stalled, "reason": reason}
            await audit.write(db, [Record(caller.tenant, caller.actor, "euicc.resume", format_eid(eid), about, bucket)])
            told = {"was": found.stalled, "why": reason, "by": caller.actor}
            await events.append(db, caller.tenant, [Event(bucket, eid, Happening.EUICC_RESUMED, told)])
            await events.hint(db, [bucket])


def _refuse_unconfirmed(move: Move, many: int, limit: int) -> None:
    if move.confirm == many or (move.confirm is None and many <= limit):
        return
    said = "" if move.confirm is None else f", not {move.confirm}"
    raise Unconfirmed(f'this moves {many} eUICCs to another key{said}: if that is what you want, say "confirm": {many}')


async def _identity(db: Db, caller: Caller, identity: IdentityId) -> Listed:
    found = await identities.read(db, caller.tenant, identity)
    if found is None:
        raise NotFound(f"there is no identity {identity}")
    return found


async def _key(db: Db, caller: Caller, identity: Listed, number: int) -> Key:
    for key in await identities.keys(db, caller.tenant, identity.id):
        if key.number == number:
            return key
    raise InvalidRequest(f"{identity.eim_id} has no key {number}: `eim associations keys {identity.id}` lists them")


async def _keys(db: Db, caller: Caller, identity: Listed) -> tuple[KeyState, ...]:
    counted = {c.number: c for c in await renewals.counts(db, caller.tenant, identity.id)}
    return tuple(
        KeyState(
            key,
            counted[key.number].euiccs if key.number in counted else 0,
            counted[key.number].moving if key.number in counted else 0,
            key.number == identity.key_number,
            key.number < identity.lowest_key,
        )
        for key in await identities.keys(db, caller.tenant, identity.id)
    )


async def _note(db: Db, caller: Caller, identity: Listed, action: str, about: dict[str, object]) -> None:
    await audit.write(db, [Record(caller.tenant, caller.actor, action, identity.eim_id, about)])


async def _tell(db: Db, caller: Caller, move: Move, terms: Terms, movers: Sequence[Mover]) -> None:
    about: dict[str, object] = {"key": terms.key, "euiccs": len(movers), "reason": move.reason}
    await audit.write(db, [Record(caller.tenant, caller.actor, "identity.move", str(terms.order), about)])
    told = [
        Event(
            m.bucket,
            m.eid,
            Happening.OPERATION_ACCEPTED,
            {"operation": str(m.operation), "kind": "renewAssociation", "by": caller.actor},
        )
        for m in movers
    ]
    await events.append(db, caller.tenant, told)
    await events.hint(db, [m.bucket for m in movers])
