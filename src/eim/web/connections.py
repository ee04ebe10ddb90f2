"""Which EID last polled on a connection: an untrusted hint for results that name nobody (design 3.7)."""

from collections import OrderedDict
from typing import Final

from starlette.requests import Request

from eim.domain.ids import Eid

_AT_MOST: Final = 100_000


class Polled:
    """Guards what this process knows of its connections, the oldest forgotten first.

    The peer's address and port name a TCP connection while it lives; a later one with the same pair polls first.
    """

    def __init__(self) -> None:
        self._eids: OrderedDict[tuple[str, int], Eid] = OrderedDict()

    def note(self, request: Request, eid: Eid) -> None:
        key = _key(request)
        if key is not None:
            self._eids[key] = eid
            self._eids.move_to_end(key)
            if len(self._eids) > _AT_MOST:
                self._eids.popitem(last=False)

    def last(self, request: Request) -> Eid | None:
        key = _key(request)
        return self._eids.get(key) if key is not None else None


def _key(request: Request) -> tuple[str, int] | None:
    return (request.client.host, request.client.port) if request.client else None
