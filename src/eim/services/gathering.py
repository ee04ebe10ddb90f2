"""Polls gathered: all that came while the database answered the ones before become one question (design 3.2).

Most polls find nothing. The question finds out which of them surely do; whatever else there may be for the others, each
of those is answered by itself, as if it had come alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from eim.domain.ids import Bucket, Eid, bucket_of
from eim.errors import EimError
from eim.protocol.esipa import NO_PACKAGE, Poll
from eim.services.polls import Polls
from eim.store import Db, glances
from eim.store.connect import Pool, acquire
from eim.store.glances import Found, Glance

_MOST: Final = 1000  # polls in one question
_AGAIN: Final = 0.2  # seconds before a lost connection is made again

# The answer; None: this one has to be answered by itself; or why there is none.
Respond = Callable[[bytes | EimError | None], None]


class _Asked(msgspec.Struct, frozen=True):
    bucket: Bucket
    eid: Eid
    poll: Poll
    peer: str
    respond: Respond


class Gathering:
    """Guards the polls that wait for a question of this process. Each lane holds one connection."""

    def __init__(self, pool: Pool, polls: Polls, lanes: int) -> None:
        self._pool = pool
        self._polls = polls
        self._lanes = lanes
        self._waiting: list[_Asked] = []
        self._somebody = asyncio.Event()

    def ask(self, poll: Poll, peer: str, respond: Respond) -> None:
        """Have `respond` called once, from the event loop, as soon as it is known."""
        if (refusal := self._polls.refusal(peer)) is not None:
            respond(refusal)
            return
        if poll.state_change:  # said once, and to be committed
            respond(None)
            return
        eid = Eid(poll.eid)
        self._waiting.append(_Asked(bucket_of(eid), eid, poll, peer, respond))
        self._somebody.set()

    async def run(self) -> None:
        """Ask and answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._lanes):
                group.create_task(self._lane())

    async def _lane(self) -> None:
        asked: list[_Asked] = []
        while True:
            try:
                async with acquire(self._pool) as db:
                    while True:
                        await self._somebody.wait()
                        asked = self._take()
                        for each, found in zip(asked, await _glance(db, asked), strict=True):
                            self._answer(each, found)
                        asked = []
            except EimError as error:
                for each in [*asked, *self._take()]:
                    each.respond(error)
                asked = []
                await asyncio.sleep(_AGAIN)

    def _take(self) -> list[_Asked]:
        asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if not self._waiting:
            self._somebody.clear()
        return asked

    def _answer(self, asked: _Asked, found: Found) -> None:
        match found:
            case Found.NOTHING:
                self._polls.note(asked.bucket, asked.poll, asked.peer)
                asked.respond(NO_PACKAGE)
            case Found.NOBODY:
                asked.respond(self._polls.answer_stranger(asked.eid, asked.peer))
            case Found.MORE:
                asked.respond(None)


async def _glance(db: Db, asked: Sequence[_Asked]) -> Sequence[Found]:
    if not asked:
        return ()
    return await glances.glance(db, [Glance(e.bucket, e.eid, e.poll.plmn, e.poll.speaks is not None) for e in asked])
