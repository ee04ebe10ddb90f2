"""What a card told of itself beside its profiles: columns of `euiccs`, as results and data answers write them."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eim.domain.euicc import Eim
from eim.domain.ids import Bucket, Eid
from eim.store import Db

_READ: Final = "SELECT settings, eims FROM euiccs WHERE bucket = $1 AND eid = $2"
_SETTINGS: Final = "UPDATE euiccs SET settings = coalesce(settings, '{}') || $3 WHERE bucket = $1 AND eid = $2"
_EIMS: Final = "UPDATE euiccs SET eims = $3 WHERE bucket = $1 AND eid = $2"
_LISTED: Final = "UPDATE euiccs SET eims = $3, eims_at = now() WHERE bucket = $1 AND eid = $2"


class CardView(msgspec.Struct, frozen=True):
    """None: nothing was told yet."""

    settings: Mapping[str, object] | None
    eims: tuple[Eim, ...] | None


async def read(db: Db, bucket: Bucket, eid: Eid) -> CardView:
    """What we believe."""
    row = await db.fetchrow(_READ, bucket, eid)
    return msgspec.convert(dict(row), CardView) if row else CardView(None, None)


async def learn(db: Db, bucket: Bucket, eid: Eid, settings: Mapping[str, object]) -> None:
    """These settings are so now; the others stay."""
    await db.execute(_SETTINGS, bucket, eid, dict(settings))


async def know_eims(db: Db, bucket: Bucket, eid: Eid, eims: Sequence[Eim]) -> None:
    """These eIMs are on the card, after one was added or deleted."""
    await db.execute(_EIMS, bucket, eid, eims)


async def list_eims(db: Db, bucket: Bucket, eid: Eid, eims: Sequence[Eim]) -> None:
    """The card listed its eIMs just now."""
    await db.execute(_LISTED, bucket, eid, eims)
