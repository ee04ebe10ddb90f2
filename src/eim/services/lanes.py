"""The queue of one lane, as one worker sees it: whom to seal for next (design 3.6).

Lanes are kept apart because a signature on brainpoolP256r1 costs many times one on P-256. A look asks for all that is
due in the buckets of this worker. Where so much is accepted but can't be sealed yet (no room in front of a card) that
this takes long, a look asks in full for some of the buckets only, in turns, and in all of them for what has become due
since the last look; what a result made room for is told by its hint.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from eim.domain.ids import BUCKETS, Bucket, Eid, IdentityId, TenantId
from eim.store import Db, due
from eim.store.due import Due, Question

_LONG: Final = 0.1  # seconds of a look: the next one asks for fewer buckets in full
_SHORT: Final = 0.03  # seconds: the next one asks for more
_FEWEST: Final = 16  # buckets that are asked for in full
_TOO_LONG: Final = 2.0  # seconds: a look is broken off, and far fewer are asked for
_BACK: Final = timedelta(seconds=30)  # longer than any transaction that orders
_IN_VAIN: Final = 3  # looks that name an eUICC without anything having been sealed for it since the first
_REST: Final = 10.0  # seconds that such a one is not looked at, and an identity without its key isn't either
_HINTED: Final = 10  # batches of eUICCs that are remembered from hints


class LaneRules(msgspec.Struct, frozen=True):
    name: str
    slow: bool  # identities on brainpoolP256r1
    batch: int  # eUICCs a round
    ahead: int  # packages in front of one eUICC


class Lane:
    """Guards what one lane knows: hints, how far its looks are, who is left alone."""

    def __init__(self, rules: LaneRules) -> None:
        self.rules = rules
        self._hinted: dict[tuple[Bucket, Eid], None] = {}
        self._window = BUCKETS
        self._place = 0
        self._looked: datetime | None = None  # by the database's clock
        self._crowded = False  # the last look may have left some out, for those it named
        self._tried: Counter[tuple[Eid, int]] = Counter()
        self._resting: frozenset[Eid] = frozenset()
        self._forget_at = 0.0
        self._muted: dict[IdentityId, float] = {}
        self.faults = 0  # how often something was left alone: the next look finds others

    def hint(self, bucket: Bucket, eid: Eid) -> None:
        """There may be something to do for `eid`."""
        if len(self._hinted) < _HINTED * self.rules.batch:
            self._hinted[bucket, eid] = None
        else:
            self._window = BUCKETS  # the looks find them

    def mute(self, identities: Iterable[IdentityId]) -> None:
        """Leave all eUICCs of these alone for a while: they can't be sealed for."""
        until = time.monotonic() + _REST
        self._muted |= dict.fromkeys(identities, until)
        self.faults += 1

    async def next(self, db: Db, buckets: Sequence[Bucket]) -> list[Due]:
        """At most a batch of eUICCs, tenants in turns; none: nothing is due as far as this look can tell."""
        self._forget()
        return in_turns([*await self._of_hints(db, buckets), *await self._look(db, buckets)], self.rules.batch)

    def note(self, batch: Sequence[Due]) -> None:
        """They were tried. Who stands in the way again and again and gets nothing is not looked at for a while."""
        if not self._crowded:
            return
        self._tried.update({(each.eid, each.packages) for each in batch})
        vain = {eid for (eid, _), times in self._tried.items() if times >= _IN_VAIN}
        self._resting = frozenset(vain)

    def _forget(self) -> None:
        now = time.monotonic()
        self._muted = {identity: until for identity, until in self._muted.items() if until > now}
        if now >= self._forget_at:
            self._tried.clear()
            self._resting = frozenset()
            self._forget_at = now + _REST

    async def _of_hints(self, db: Db, buckets: Sequence[Bucket]) -> list[Due]:
        ours = set(buckets)
        some = [each for each in self._hinted if each[0] in ours][: self.rules.batch]
        if len(some) < self.rules.batch:
            self._hinted.clear()
        for each in some:
            self._hinted.pop(each, None)
        return await due.whose(db, some, self._question()) if some else []

    async def _look(self, db: Db, buckets: Sequence[Bucket]) -> list[Due]:
        some = self._turn(buckets)
        if not some:
            return []
        began = time.monotonic()
        found = await self._ask(db, some, self._question())
        self._crowded = len(found) >= self.rules.batch
        took = time.monotonic() - began
        if _LONG < took < _TOO_LONG and len(found) < self.rules.batch:
            self._window = max(len(some) // 2, _FEWEST)
        elif took < _SHORT:
            self._window = min(self._window * 2, BUCKETS)
        if len(some) < len(buckets):
            found += await self._fresh(db, buckets)
        return found

    async def _ask(self, db: Db, buckets: Sequence[Bucket], question: Question) -> list[Due]:
        if len(buckets) <= _FEWEST:
            return await due.ask(db, buckets, question)
        try:
            return await due.ask(db, buckets, question, _TOO_LONG)
        except TimeoutError:
            self._window = max(min(self._window, len(buckets)) // 16, _FEWEST)
            return []

    async def _fresh(self, db: Db, buckets: Sequence[Bucket]) -> list[Due]:
        """What became due since the last look; should the clock have been set back, since it was."""
        now = await due.now(db)
        since = min(self._looked or now, now) - _BACK
        found = await self._ask(db, buckets, msgspec.structs.replace(self._question(), since=since))
        if len(found) < self.rules.batch:
            self._looked = now
        return found

    def _turn(self, buckets: Sequence[Bucket]) -> Sequence[Bucket]:
        if self._window >= len(buckets):
            return buckets
        start = self._place % len(buckets)
        self._place = start + self._window
        return [*buckets[start : start + self._window], *buckets[: max(start + self._window - len(buckets), 0)]]

    def _question(self) -> Question:
        rules = self.rules
        return Question(
            slow=rules.slow,
            muted=list(self._muted),
            resting=list(self._resting),
            ahead=rules.ahead,
            limit=rules.batch,
        )


def in_turns(found: Iterable[Due], most: int) -> list[Due]:
    """At most `most` of `found`, none twice, one of each tenant before the second of any."""
    queues: dict[TenantId, dict[Eid, Due]] = {}
    for each in found:
        queues.setdefault(each.tenant, {}).setdefault(each.eid, each)
    rows = [list(queue.values()) for queue in queues.values()]
    longest = max(map(len, rows), default=0)
    return [row[turn] for turn in range(longest) for row in rows if turn < len(row)][:most]
