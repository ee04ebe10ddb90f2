"""Whether a receiver listens: who fails time after time is left alone for a while, then asked with one event."""

import random
import time
from typing import Final

_TRIP: Final = 5  # failures in a row


class Hearing:
    """Guards what one process knows of a receiver.

    pauses  seconds to leave it alone after it failed in a row, after it failed again, and so on
    """

    def __init__(self, pauses: tuple[float, ...]) -> None:
        self._pauses = pauses
        self._failures = 0
        self._pause = 0
        self._silent_until = 0.0
        self.succeeded = False  # these two: since `begin`
        self.failure: str | None = None

    @property
    def left_alone(self) -> bool:
        return time.monotonic() < self._silent_until

    @property
    def doubted(self) -> bool:
        """Whether one event at a time is enough to find out."""
        return self._failures >= _TRIP

    def begin(self) -> None:
        """What it did before is written down."""
        self.succeeded, self.failure = False, None

    def took(self) -> None:
        self.succeeded = True
        self._failures = self._pause = 0

    def failed(self, why: str, retry_after: float | None) -> None:
        """`retry_after`: seconds for which it asked not to be called."""
        self.failure = why
        self._failures += 1
        pause = retry_after or 0.0
        if self.doubted and not self.left_alone:  # those that were under way together fail together: one step
            pause = max(pause, self._pauses[min(self._pause, len(self._pauses) - 1)])
            self._pause += 1
        pause *= 1 + random.uniform(0, 0.2)  # noqa: S311 - spreads load, guards nothing
        self._silent_until = max(self._silent_until, time.monotonic() + pause)
