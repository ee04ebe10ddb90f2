"""What may happen to one eUICC: the eleven actions of reliability test 63, each beginning where it makes sense."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final
from uuid import UUID

from eim.domain.euicc import Speaks
from eim.domain.ids import IdentityId, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidLines, NotFound
from eim.protocol.esipa import NO_PACKAGE
from eim.services.asking import Asking
from eim.services.caring import Care, Guard
from eim.services.moving import Associations, Move
from eim.services.onboarding import Candidate, Rules
from eim.services.tenants import Tenants, Wanted
from eim.services.tokens import SETUP, Caller, Scope
from eim.sim import messages
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.store import requests, work
from eim.store.connect import DbRole, transaction
from eim.store.requests import Ask
from eim.store.tenants import Limits
from tests.database import Database
from tests.model.front import Front, Way
from tests.model.scene import Scene
from tests.services.rig import EIM_ID, Rig, inner


class Action(StrEnum):
    ORDER = "order"
    HAND_OUT = "hand_out"
    RESULT = "result"
    LATE_RESULT = "late_result"
    WITHDRAW = "withdraw"
    NOTIFY = "notify"
    EXPIRE = "expire"
    RESEAL = "reseal"
    ROTATE = "rotate"
    DELETE = "delete"
    MOVE = "move"


class Start(StrEnum):
    """The states a run begins in, each saved once."""

    IDLE = "idle"  # profile A is enabled, nothing is ordered
    SEALED = "sealed"  # enable B waits in the mailbox
    OUT = "out"  # .. was handed out and executed, its result is on its way
    DOUBTFUL = "doubtful"  # .. and was withdrawn before the result came


_NEEDS: Final = {
    Action.HAND_OUT: Start.SEALED,
    Action.RESULT: Start.OUT,
    Action.LATE_RESULT: Start.DOUBTFUL,
    Action.WITHDRAW: Start.SEALED,
    Action.NOTIFY: Start.OUT,
    Action.EXPIRE: Start.SEALED,
    Action.RESEAL: Start.SEALED,
    Action.ROTATE: Start.SEALED,
}
_LATER: Final = frozenset({Action.WITHDRAW, Action.EXPIRE, Action.RESEAL, Action.ROTATE, Action.DELETE, Action.MOVE})
_ORDER: Final = list(Start)


def start_of(first: Action, second: Action) -> Start:
    """Where a pair begins: where both can do something. The order of a pair decides between two such states."""
    needed = max((_ORDER.index(_NEEDS.get(action, Start.IDLE)) for action in (first, second)), default=0)
    begin = _ORDER[needed]
    return Start.OUT if first in _LATER and begin is Start.SEALED and second is not Action.HAND_OUT else begin


class Doer:
    """Guards what the actions need: the scene, the operation that is under way, the octets in the device's hand."""

    def __init__(self, scene: Scene, database: Database, front: Front, other: Caller) -> None:
        self.scene = scene
        self.front = front
        self.rig: Rig = scene.rig
        self._worker = database.pool(DbRole.WORKER)
        self._device = database.pool(DbRole.DEVICE)
        self._asking = Asking(self._worker)
        self._care = Care(database.pool(DbRole.OPERATOR))
        self._moving = Associations(database.pool(DbRole.OPERATOR), confirm_above=10)
        self._owner = database.owner()
        self._other = other
        self.operation: UUID | None = None
        self.result = b""
        self.ordered: list[UUID] = []  # by actions of this run

    def deed(self, action: Action) -> Callable[[], Awaitable[None]]:
        return {
            Action.ORDER: self._order,
            Action.HAND_OUT: self._poll,
            Action.RESULT: self._report,
            Action.LATE_RESULT: self._report,
            Action.WITHDRAW: self._withdraw,
            Action.NOTIFY: self._notify,
            Action.EXPIRE: self._expire,
            Action.RESEAL: self._reseal,
            Action.ROTATE: self._rotate,
            Action.DELETE: self._delete,
            Action.MOVE: self._move,
        }[action]

    async def worker(self) -> None:
        await self.rig.worker.round()

    async def _order(self) -> None:
        card = self.scene.card
        with suppress(InvalidLines):  # another tenant's by now
            self.ordered.append(await self.rig.order(card, Kind.ENABLE, CARRIER_A, force_reason="a test"))

    async def _poll(self) -> None:
        """The device fetches what waits and its card executes it; the result is still with the card."""
        card = self.scene.card
        answer = await self.front.send(messages.poll(card.eid, Speaks.V1_2, None, None))
        if answer is not None and answer != NO_PACKAGE and inner(answer)[:2] == b"\xbf\x51":
            self.rig.execute(card, inner(answer))

    async def _report(self) -> None:
        """The result as its IPA hands it in; the card forgets what is acknowledged."""
        card = self.scene.card
        answer = await self.front.send(self.rig.wrap(card, self.result), card.eid)
        assert answer is not None
        for seq in messages.acknowledged(answer):
            card.remove_notification(seq)

    async def _withdraw(self) -> None:
        assert self.operation is not None
        with suppress(Conflict, NotFound):
            await self.rig.operations.withdraw(SETUP, self.operation)

    async def _expire(self) -> None:
        bucket = bucket_of(self.scene.card.eid)
        async with transaction(self._worker) as db:
            found = await work.expiring(db, [bucket], 10)
        for each in found:
            await self._asking.pass_time(each, self.rig.leasing.hold)

    async def _notify(self) -> None:
        """What the card has to say to SM-DP+s comes before its result, and says which profile is in use."""
        for pending in self.scene.card.notifications:
            await self.front.send(messages.notification(pending.raw), self.scene.card.eid)

    async def _rotate(self) -> None:
        """The card is to obey the newer key."""
        await self._moving.move(SETUP, IdentityId(1), Move("a test"), None)

    async def _reseal(self) -> None:
        """A token or a version was learnt: what is sealed is sealed anew."""
        card = self.scene.card
        async with transaction(self._device) as db:
            await requests.add(db, bucket_of(card.eid), card.eid, Ask.RESEAL, "a test")
        await self.worker()

    async def _delete(self) -> None:
        with suppress(NotFound):
            await self._care.offboard(SETUP, self.scene.card.eid, "a test", Guard.FORCED)

    async def _move(self) -> None:
        """To another tenant that uses the same identity: the counter goes on."""
        card = self.scene.card
        with suppress(NotFound):
            left = await self._care.offboard(SETUP, card.eid, "a move", Guard.FORCED)
            candidate = Candidate(format_eid(card.eid), counter=left.counter, association_token=left.association_token)
            await self.rig.onboarding.add(self._other, candidate, Rules(), None)

    # --- The starts -------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make and save all starts, one after the other."""
        rig, card, scene = self.rig, self.scene.card, self.scene
        await rig.onboard()
        await rig.visit(card)
        await rig.add_key()
        await scene.save(Start.IDLE)
        self.operation = await rig.order(card, Kind.ENABLE, CARRIER_B, rollback=False)
        await rig.work()
        await scene.save(Start.SEALED)
        package = await rig.poll(card)
        assert package is not None
        self.result = rig.execute(card, package)
        await scene.save(Start.OUT)
        await rig.operations.withdraw(SETUP, self.operation)
        await scene.save(Start.DOUBTFUL)

    async def begin(self, start: Start, pair: tuple[Action, Action], way: Way) -> None:
        """Put the start back, and make its operation one that is past its time when a pair needs that.

        way  by which the device's messages come
        """
        await self.scene.restore(start)
        self.rig.worker = self.rig.new_worker()
        self.front.begin(way, self.scene.card.eid)
        self.ordered.clear()
        if Action.EXPIRE in pair:
            await self._owner.execute("UPDATE operations SET expires_at = now() - interval '1 s' WHERE ordinal > 2")


async def other_tenant(database: Database) -> Caller:
    """Somebody else, who uses the same identity."""
    made = await Tenants(database.pool(DbRole.OPERATOR)).create(SETUP, Wanted("other", Limits(), EIM_ID), None)
    return Caller(made.id, "other", frozenset(Scope))
