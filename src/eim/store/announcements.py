"""What is said by NOTIFY to the processes that answer polls: in which buckets work may have come (services/lookout.py).

Postgres delivers the notifications of a database to each session that listens in the order of their commits, all of a
transaction or none, to its end or to the session's. So whoever has heard one has heard all that were committed before.
"""

from collections.abc import Callable, Iterable
from typing import Final

from eim.domain.ids import Bucket
from eim.store import Db

_WORK: Final = "eim_work"  # workers are woken by it: `bucket` or `bucket:eid`
_FOUND: Final = "eim_found"  # what wakes no worker
_ANNOUNCE: Final = "SELECT pg_notify('eim_found', b::text) FROM unnest($1::smallint[]) AS b"
# Nothing is lost that need not be: a beat that a crash forgets was not heard.
_BEAT: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"


async def announce(db: Db, buckets: Iterable[Bucket]) -> None:
    """Say with this transaction's commit that polls of these buckets may find something; no worker is woken."""
    await db.execute(_ANNOUNCE, sorted(set(buckets)))


async def listen(db: Db, came: Callable[[Bucket], None], beats: str, beat: Callable[[str], None]) -> None:
    """Have `came` called for each bucket in which work may have come, and `beat` for each beat of this name.

    As long as the connection lives: who listens no more ends it.
    """

    def work(_connection: object, _pid: object, _channel: object, payload: object) -> None:
        came(Bucket(int(str(payload).partition(":")[0])))

    def beaten(_connection: object, _pid: object, _channel: object, payload: object) -> None:
        beat(str(payload))

    await db.add_listener(_WORK, work)
    await db.add_listener(_FOUND, work)
    await db.add_listener(beats, beaten)


async def send_beat(db: Db, beats: str, payload: str) -> None:
    """Commit a beat: whoever listens for its name hears it behind all that was committed before."""
    await db.execute(_BEAT, beats, payload)
