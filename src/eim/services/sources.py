"""Where each EID polls from, as one device process sees it: two sources that alternate too fast are suspicious.

In memory and bounded, and no write a poll: a device that keeps its address and its network costs one look-up in a
dictionary. Devices behind a carrier's NAT do change addresses, so by default this is told and bars nobody.
"""

from collections import OrderedDict
from typing import Final

from eim.domain.ids import Eid
from eim.domain.suspicion import SuspicionRules, Why
from eim.services.strangers import network_of

MOST: Final = 20_000  # EIDs, those that polled last
Sign = tuple[Why, dict[str, object]]  # what is suspicious, and the evidence


class _Track:
    """The last source of one EID and the one before, and how often they took turns."""

    __slots__ = ("before", "flips", "last", "since")

    def __init__(self, last: str, since: float) -> None:
        self.last, self.before = last, ""
        self.flips, self.since = 0, since


class Sources:
    """Guards what is known of sources."""

    def __init__(self, rules: SuspicionRules) -> None:
        self.rules = rules
        self._tracks: OrderedDict[tuple[Eid, Why], _Track] = OrderedDict()

    def suspicious(self, eid: Eid, peer: str, plmn: bytes | None, now: float) -> Sign | None:
        """What a poll makes suspicious, with its evidence. `now` in seconds of any clock that only goes forward."""
        if not self.rules.flips:
            return None
        if plmn is not None and (found := self._took_turns((eid, Why.NETWORKS), plmn.hex(), now)):
            return found
        return self._took_turns((eid, Why.SOURCES), peer, now)

    def _took_turns(self, key: tuple[Eid, Why], source: str, now: float) -> Sign | None:
        track = self._tracks.get(key)
        if track is None:
            self._tracks[key] = _Track(source, now)
            if len(self._tracks) > 2 * MOST:
                self._tracks.popitem(last=False)
            return None
        if source == track.last:
            return None
        self._tracks.move_to_end(key)
        if now - track.since > self.rules.window:
            track.flips, track.since = 0, now
        if source == track.before:
            track.flips += 1
        track.last, track.before = source, track.last
        if track.flips < self.rules.flips:
            return None
        track.flips = 0
        between = [network_of(each) if key[1] is Why.SOURCES else each for each in (track.before, source)]
        return key[1], {"between": between, "times": self.rules.flips, "within_s": int(now - track.since)}
