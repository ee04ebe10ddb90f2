"""Polls gathered: all that came while the database answered the ones before become one question (design 3.2).

Most polls find nothing. The question finds out which of them surely do; for whom something is sealed, it is handed out
together with the others' (services/handouts.py); whatever else there may be, those are answered by themselves, as if
each had come alone. For whom nothing was found a moment ago, no question is asked while work that comes is heard of
(services/lookout.py).
"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from eim._fast.known import Known
from eim.domain.ids import Bucket, Eid, bucket_of
from eim.errors import EimError
from eim.protocol.esipa import Poll
from eim.services.polls import Polls
from eim.store import glances
from eim.store.connect import Pool, acquire
from eim.store.glances import Found, Glance, Glances

_MOST: Final = 1000  # polls in one question
_AGAIN: Final = 0.2  # seconds before a lost connection is made again
_MANY: Final = 8  # polls in a question: then more come at once, and are waited for as long as they do
_TURNS: Final = 2  # of the event loop, at most
_APART: Final = 0.002  # seconds from one question's beginning to that of the next, which is for fewer than _MANY
_SECOND: Final = 48  # polls that wait before another lane asks, too: few large questions cost least
_LONG: Final = 0.05  # seconds of one question; then another lane asks, too
_SETS: Final = 1 << 18  # of four EIDs each: 32 MiB at most
_NOTHING: Final = Found(nobody=False, sealed=False, more=False, stale=False)


class Caller(Protocol):
    """Whoever polled and waits for the answer."""

    peer: str
    source: int  # the peer in 32 bits

    def nothing(self) -> None:
        """Nothing waits for it."""
        ...

    def hear(self, found: bytes | EimError | None) -> None:
        """The answer; None: this one has to be answered by itself; or why there is none."""
        ...


class _Asked(msgspec.Struct, frozen=True):
    """A poll that is looked at in full. None for `poll`: it says the EID and nothing else."""

    bucket: Bucket
    eid: Eid
    poll: Poll | None
    caller: Caller

    def glance(self) -> Glance:
        poll = self.poll
        return Glance(self.bucket, self.eid, poll.plmn if poll else None, poll is not None and poll.speaks is not None)


class _Batch(msgspec.Struct):
    """What one lane has taken and not answered yet."""

    known: list[tuple[Bucket, Eid, Caller]] = []
    others: list[_Asked] = []

    def callers(self) -> Iterator[Caller]:
        yield from (caller for _, _, caller in self.known)
        yield from (asked.caller for asked in self.others)


class Gathering:
    """Guards the polls that wait for a question of this process. Each lane holds one connection.

    Who was looked at in full a moment ago, and calls from where it called then, is asked for in short. Everything
    that changes with the full look can wait for the next: that it was onboarded, and when it was last seen.

    `known` remembers who that is, and for whom the short question found nothing.
    """

    def __init__(self, pool: Pool, polls: Polls, lanes: int, remember: float = 0.0) -> None:
        self._pool = pool
        self._polls = polls
        self._lanes = lanes
        self.stale_after = polls.stale_after
        self._handing_out = polls.handing_out
        self.known = Known(_SETS, secrets.randbits(64), remember)
        self.questioned = 0  # polls that were not answered from memory
        self._known: list[tuple[Bucket, Eid, Caller]] = []
        self._others: list[_Asked] = []
        self._asked = -_APART  # by the event loop's clock: when the last question began
        self._calls = [asyncio.Event() for _ in range(lanes)]

    def ask(self, poll: Poll, caller: Caller) -> None:
        """Have `caller` told once, from the event loop, as soon as it is known."""
        if (refusal := self._polls.refusal(caller.peer)) is not None:
            caller.hear(refusal)
            return
        if poll.state_change:  # said once, and to be committed
            caller.hear(None)
            return
        eid = Eid(poll.eid)
        self._others.append(_Asked(bucket_of(eid), eid, poll, caller))
        self._call()

    def ask_bare(self, eid: Eid, caller: Caller) -> None:
        """The same for a poll that says `eid` and nothing else; by what is `known` it may be told at once."""
        now = time.monotonic()
        fresh = now - self.stale_after
        if self.known.finds_nothing(eid, caller.source, fresh, now):
            caller.nothing()
            return
        found = self.known.find(eid, caller.source, fresh)
        if found >= 0:
            bucket = Bucket(found)
            if self.known.may_find_package(eid):
                self._handing_out.ask(bucket, eid, caller, partial(self._missed, bucket, eid, caller))
            else:
                self._ask_in_short(bucket, eid, caller)
            return
        if (refusal := self._polls.refusal(caller.peer)) is not None:
            caller.hear(refusal)
            return
        self._others.append(_Asked(bucket_of(eid), eid, None, caller))
        self._call()

    @property
    def polls(self) -> int:
        """How many that said an EID and nothing else came so far."""
        return self.questioned + self.known.hits

    def _ask_in_short(self, bucket: Bucket, eid: Eid, caller: Caller) -> None:
        self._known.append((bucket, eid, caller))
        self._call()

    def _missed(self, bucket: Bucket, eid: Eid, caller: Caller) -> None:
        """There was a package for it when it polled before, and now there is none to take."""
        self.known.note_nothing(eid, 0.0)
        self._ask_in_short(bucket, eid, caller)

    async def run(self) -> None:
        """Ask and answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._handing_out.run())
            for number in range(self._lanes):
                group.create_task(self._lane(number))

    def _call(self) -> None:
        """Wake the first lane; all of them when more wait than one should take."""
        self._calls[0].set()
        if len(self._known) + len(self._others) >= _SECOND:
            self._call_all()

    def _call_all(self) -> None:
        if self._known or self._others:
            for call in self._calls:
                call.set()

    async def _lane(self, number: int) -> None:
        call, batch = self._calls[number], _Batch()
        while True:
            try:
                async with acquire(self._pool) as db:
                    questions = await glances.prepare(db, self.stale_after)
                    while True:
                        await call.wait()
                        await self._gather(len(batch.known) + len(batch.others))
                        batch = self._take(call)
                        await self._answer(questions, batch)
            except EimError as error:
                for each in (batch, self._take(call)):
                    for caller in each.callers():
                        caller.hear(error)
                batch = _Batch()
                await asyncio.sleep(_AGAIN)

    async def _gather(self, before: int) -> None:
        """Where many just came at once, let in those who are coming now; where few come time and again, one question
        does for those of two milliseconds. Who comes alone is asked for at once."""
        for _ in range(_TURNS if before >= _MANY else 0):
            if len(self._known) + len(self._others) >= before:
                break
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        early = self._asked + _APART - loop.time()
        if early > 0 and len(self._known) + len(self._others) < _MANY:
            await asyncio.sleep(early)
        self._asked = loop.time()

    def _take(self, call: asyncio.Event) -> _Batch:
        batch = _Batch(self._known[:_MOST], self._others[:_MOST])
        self._known, self._others = self._known[_MOST:], self._others[_MOST:]
        if not self._known and not self._others:
            call.clear()
        return batch

    async def _answer(self, questions: Glances, batch: _Batch) -> None:
        self.questioned += len(batch.known) + len(batch.others)
        stuck = asyncio.get_running_loop().call_later(_LONG, self._call_all)
        try:
            if batch.known:
                asked = time.monotonic()
                found = await questions.short([each[0] for each in batch.known], [each[1] for each in batch.known])
                known, batch.known = batch.known, []
                self._answer_known(known, found, asked)
            if batch.others:
                full = await questions.full([each.glance() for each in batch.others])
                others, batch.others = batch.others, []
                self._answer_others(others, full)
        finally:
            stuck.cancel()

    def _answer_known(self, known: list[tuple[Bucket, Eid, Caller]], found: dict[int, bool], asked: float) -> None:
        for place, is_sealed in found.items():
            bucket, eid, caller = known[place]
            if is_sealed:
                self.known.note_package(eid)
                self._handing_out.ask(bucket, eid, caller)
            else:
                caller.hear(None)
        if found:
            known = [each for place, each in enumerate(known) if place not in found]
        for _, eid, caller in known:
            self.known.note_nothing(eid, asked)
            caller.nothing()

    def _answer_others(self, others: list[_Asked], found: dict[int, Found]) -> None:
        for place, asked in enumerate(others):
            self._answer_one(asked, found.get(place, _NOTHING))

    def _answer_one(self, asked: _Asked, found: Found) -> None:
        bucket, eid, caller = asked.bucket, asked.eid, asked.caller
        if found.nobody:
            caller.hear(self._polls.answer_stranger(eid, caller.peer))
        elif found.more:
            caller.hear(None)
        else:
            if asked.poll is None:
                self.known.note(eid, caller.source, time.monotonic(), bucket)
            plmn = asked.poll.plmn if asked.poll is not None else None
            if found.stale:
                self._polls.note(bucket, eid)
            sign = self._polls.sign_in(eid, plmn, caller.peer)
            if not found.sealed:
                caller.nothing()
            elif sign is None:
                self._handing_out.ask(bucket, eid, caller)
            if sign is not None:  # it may bar the eUICC, so it is written down before anything goes out
                then = partial(caller.hear, None) if found.sealed else _do_nothing
                self._polls.suspect_beside(bucket, eid, sign, then)


def _do_nothing() -> None:
    """It has its answer."""
