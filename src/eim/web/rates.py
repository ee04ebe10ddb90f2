"""How often a token may ask: a token bucket each, in this process (draft-ietf-httpapi-ratelimit-headers)."""

import math
from collections import OrderedDict
from typing import Final
from uuid import UUID

import msgspec

from eim.errors import RateLimited

_AT_MOST: Final = 10_000  # tokens remembered; one that is forgotten starts with a full bucket


class Rate(msgspec.Struct, frozen=True):
    """`a_second` requests in the long run, `burst` at once. 0 a second: no limit."""

    a_second: float = 0.0
    burst: int = 1


class Standing(msgspec.Struct, frozen=True):
    """What is left in a token's bucket, as headers say it."""

    left: float
    rate: Rate

    def headers(self) -> dict[str, str]:
        rate = self.rate
        full = math.ceil((rate.burst - self.left) / rate.a_second)
        window = math.ceil(rate.burst / rate.a_second)
        policy = f'"token";q={rate.burst};w={window}'
        return {"RateLimit-Policy": policy, "RateLimit": f'"token";r={math.floor(self.left)};t={full}'}


class Rates:
    """Guards the buckets. `now` is a clock's seconds that never go back."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[UUID, tuple[float, float]] = OrderedDict()  # left, and when

    def take(self, token: UUID | None, now: float) -> Standing | None:
        """Take one from the token's bucket; None: nothing is limited. Raises RateLimited, with what to wait."""
        rate = self._rate
        if token is None or not rate.a_second:
            return None
        left, then = self._buckets.pop(token, (float(rate.burst), now))
        left = min(float(rate.burst), left + (now - then) * rate.a_second)
        enough = left >= 1
        self._buckets[token] = (left - enough, now)
        if len(self._buckets) > _AT_MOST:
            self._buckets.popitem(last=False)
        if not enough:
            raise RateLimited(max(1, math.ceil((1 - left) / rate.a_second)))
        return Standing(left - 1, rate)
