"""What a writing worker must still have: the leases of the buckets it writes (design 3.6)."""

from collections.abc import Sequence
from typing import Protocol

from eim.domain.ids import Bucket
from eim.store import Db


class Hold(Protocol):
    """Locks the lease rows FOR SHARE in the caller's transaction."""

    async def __call__(self, db: Db, buckets: Sequence[Bucket]) -> None:
        """Return when all are still ours. Raises LeaseLost when one was taken over: the write must not happen."""
        ...
