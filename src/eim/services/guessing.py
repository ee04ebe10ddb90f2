"""Who tries EIDs: a network that asks for many that nobody onboarded is not answered for a while.

What is refused then is every poll from there, of known EIDs as of others: the refusal says nothing about an EID either.
In memory and bounded; what one process has counted the others don't know.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from eim.errors import Guessing
from eim.services.strangers import network_of

PAUSE: Final = 30.0  # seconds for which a network is refused
MOST: Final = 10_000  # networks remembered, those that asked last

_log = structlog.get_logger()


class GuessRules(msgspec.Struct, frozen=True):
    """Polls for unknown EIDs that one network may make: in the long run, and at once. 0 a second: no limit."""

    a_second: float = 0.0
    burst: int = 1


class Guesses:
    """Guards how much each network may still ask. `clock` gives seconds that never go back."""

    def __init__(self, rules: GuessRules = GuessRules(), clock: Callable[[], float] = time.monotonic) -> None:  # noqa: B008 - it is frozen
        self._rules = rules
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when
        self._refused: OrderedDict[str, float] = OrderedDict()  # until when

    def count(self, peer: str) -> None:
        """`peer` polled for an EID that nobody onboarded."""
        rules = self._rules
        if not rules.a_second:
            return
        network, now = network_of(peer), self._clock()
        left, then = self._left.pop(network, (float(rules.burst), now))
        left = min(float(rules.burst), left + (now - then) * rules.a_second) - 1
        self._left[network] = (left, now)
        _bound(self._left)
        if left <= 0 and network not in self._refused:
            self._refused[network] = now + PAUSE
            _bound(self._refused)
            _log.warning("unknown_callers.refused", network=network, seconds=PAUSE)

    def refusal(self, peer: str) -> Guessing | None:
        """Why `peer` is not answered now. Nobody is refused: costs next to nothing."""
        if not self._refused:
            return None
        network = network_of(peer)
        until = self._refused.get(network)
        if until is None:
            return None
        wait = until - self._clock()
        if wait <= 0:
            del self._refused[network]
            return None
        return Guessing(f"too many unknown EIDs came from {network}", max(1, round(wait)))


def _bound(kept: OrderedDict[str, tuple[float, float]] | OrderedDict[str, float]) -> None:
    if len(kept) > MOST:
        kept.popitem(last=False)
