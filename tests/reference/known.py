"""The slow, obvious twin of `eim._fast.known.Known`: dictionaries that never forget."""

from collections import defaultdict

_LIVE = 1.0  # seconds


class Known:
    def __init__(self, remembered: float = 0.0) -> None:
        self._noted: dict[bytes, tuple[int, float, int]] = {}
        self._nothing: dict[bytes, float] = {}
        self._came: defaultdict[int, float] = defaultdict(float)
        self._doubted = 0.0
        self._beat = -_LIVE
        self._remembered = remembered

    def find(self, eid: bytes, source: int, since: float) -> int:
        called_from, at, bucket = self._noted.get(eid, (0, 0, -1))
        return bucket if called_from == source and at > since else -1

    def note(self, eid: bytes, source: int, now: float, bucket: int) -> None:
        self._noted[eid] = (source, now, bucket)
        self._nothing.pop(eid, None)

    def note_nothing(self, eid: bytes, asked: float) -> None:
        if eid in self._noted:
            self._nothing[eid] = asked

    def note_package(self, eid: bytes) -> None:
        if eid in self._noted:
            self._nothing[eid] = -1.0

    def may_find_package(self, eid: bytes) -> bool:
        return self._nothing.get(eid) == -1.0

    def finds_nothing(self, eid: bytes, source: int, since: float, now: float) -> bool:
        bucket = self.find(eid, source, since)
        asked = self._nothing.get(eid, 0.0)
        heard = now - self._beat < _LIVE
        return bucket >= 0 and heard and asked > max(self._came[bucket], self._doubted, now - self._remembered)

    def work_came(self, bucket: int, now: float) -> None:
        self._came[bucket] = now

    def doubt_all(self, now: float) -> None:
        self._doubted = now

    def heard(self, sent: float) -> None:
        self._beat = max(self._beat, sent)

    def deafen(self) -> None:
        self._beat = -_LIVE
