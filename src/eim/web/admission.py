"""How many messages one process works on: what comes on top is told to come again, before it costs the database.

A device that is refused at once comes back; one that waits for longer than it has patience comes back as well, and what
was done for it is lost. So what is under way is bounded by about what is answered in a second or two.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from eim.web.esipa import Answer, plain

_SOONEST: Final = 20  # seconds after which one that was refused comes again
_SPREAD: Final = 61  # .. or up to so many later: they must not come back together
_STRIDE: Final = 23  # has no divisor in common with _SPREAD, so that neighbours lie far apart

_log = structlog.get_logger()


class Admission:
    """Guards the count. `clock` gives seconds that never go back."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._refused = 0
        self._told = -1.0
        self.under_way = 0  # the one who asks is among them

    @property
    def is_full(self) -> bool:
        """Whether the one who has just come in is one too many."""
        return self.under_way > self._most

    def refusal(self, admin: str) -> Answer | None:
        """What the one who has just come in hears when there are too many; None: it is served."""
        if not self.is_full:
            return None
        self._refused += 1
        now = self._clock()
        if now - self._told >= 1 or self._told < 0:
            self._told = now
            _log.warning("door.overloaded", under_way=self.under_way, refused=self._refused)
        after = _SOONEST + self._refused * _STRIDE % _SPREAD
        return plain(503, "try again later", admin, {"Retry-After": str(after)})
