"""The slow, obvious twin of `eim._fast.known.Known`: a dictionary that never forgets."""


class Known:
    def __init__(self) -> None:
        self._noted: dict[bytes, tuple[int, int, int]] = {}

    def find(self, eid: bytes, source: int, since: int) -> int:
        called_from, at, bucket = self._noted.get(eid, (0, 0, -1))
        return bucket if called_from == source and at > since else -1

    def note(self, eid: bytes, source: int, now: int, bucket: int) -> None:
        self._noted[eid] = (source, now, bucket)
