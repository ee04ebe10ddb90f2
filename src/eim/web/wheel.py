"""One clock for many deadlines: connections are looked at in turn, none has a timer of its own."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Protocol

_TICK: Final = 0.5  # seconds
_LOOK_AT_LEAST_EVERY: Final = 2.0  # seconds: how much later than its deadline somebody may be dropped


class Timed(Protocol):
    """Has one deadline at a time, which it may move at will, to and fro."""

    deadline: float  # by time.monotonic(); infinite: none
    slot: int  # the wheel's own

    def expire(self) -> None:
        """The deadline is over."""
        ...


class Wheel:
    """Guards the slots. Moving a deadline costs nothing: whoever is looked at too early goes into a later slot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: defaultdict[int, set[Timed]] = defaultdict(set)
        self._turned = int(clock() / _TICK)

    def add(self, timed: Timed) -> None:
        """Watch `timed` until it is removed or expires."""
        self._place(timed, self._clock())

    def remove(self, timed: Timed) -> None:
        """Forget `timed` at once; again changes nothing."""
        self._slots[timed.slot].discard(timed)

    def turn(self) -> None:
        """Expire whoever is due."""
        now = self._clock()
        until = int(now / _TICK)
        for slot in range(self._turned, until):
            for timed in self._slots.pop(slot, ()):
                if timed.deadline <= now:
                    timed.expire()
                else:
                    self._place(timed, now)
        self._turned = max(until, self._turned)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            self.turn()

    def _place(self, timed: Timed, now: float) -> None:
        look_at = min(timed.deadline, now + _LOOK_AT_LEAST_EVERY)
        timed.slot = max(int(look_at / _TICK), int(now / _TICK) + 1)
        self._slots[timed.slot].add(timed)
