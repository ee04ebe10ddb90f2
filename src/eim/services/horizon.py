"""How far events may be read: behind what a transaction that is still under way could yet commit.

An event draws its turn when it is inserted, and its transaction has an id by then. So when turn N had been drawn, and
later every transaction has ended that had an id at that time, all events up to N that there will ever be are there.
"""

import asyncio
import time
from collections import deque
from typing import Final

import msgspec

from eim.store import Db, events

_LOOK_AGAIN_S: Final = 0.02


class _Sample(msgspec.Struct, frozen=True):
    turn: int
    next: int  # the transaction id that nobody had when `turn` was the highest


class Horizon:
    """Guards one process's samples of the highest turn."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._safe = 0

    async def safe(self, db: Db) -> int:
        """The highest turn up to which nothing can come any more. It never falls.

        Asks for a connection without an open transaction: each statement has to see what is there when it runs.
        """
        turn = await events.last_turn(db)
        running = await events.running(db)
        self._samples.append(_Sample(turn, running.next))
        while self._samples and self._samples[0].next <= running.oldest:
            self._safe = max(self._safe, self._samples.popleft().turn)
        if len(self._samples) > 1 and self._samples[-1].turn == self._samples[-2].turn:
            self._samples.pop()  # the older sample of the same turn is safe no later
        return self._safe

    async def caught_up(self, db: Db, patience: float) -> int:
        """As `safe`, but waits up to `patience` seconds until all is safe that has happened when it is asked."""
        turn, until = await events.last_turn(db), time.monotonic() + patience
        while (safe := await self.safe(db)) < turn and time.monotonic() < until:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(_LOOK_AGAIN_S)
        return safe
