"""EIDs that call us and that nobody onboarded: table `unknown_callers`, a bounded one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from eim.domain.ids import Eid, bucket_of
from eim.store import Db

# The bounds are the function's: the device role has no other way to write here.
_NOTE: Final = "SELECT note_unknown_callers($1, $2, $3, $4)"
_PAGE: Final = """
    SELECT eid, source, polls, first_seen_at, last_seen_at FROM unknown_callers
     WHERE (-polls, eid) > ($1, $2) ORDER BY -polls, eid LIMIT $3
"""
_COUNT: Final = "SELECT count(*) FROM unknown_callers"
_EVERY: Final = "SELECT eid FROM unknown_callers ORDER BY eid"
_AMONG: Final = "SELECT eid FROM unknown_callers WHERE eid = ANY ($1::bytea[])"
_FORGET: Final = "DELETE FROM unknown_callers WHERE eid = ANY ($1::bytea[])"


class Noted(msgspec.Struct, frozen=True):
    """What a device process heard of one EID since it wrote the last time."""

    eid: Eid
    source: str  # the network: /24 or /48
    polls: int


class Unknown(msgspec.Struct, frozen=True):
    eid: Eid
    source: str
    polls: int
    first_seen_at: datetime
    last_seen_at: datetime


async def note(db: Db, noted: Sequence[Noted]) -> None:
    """Add these; whoever is onboarded is left out, and whoever calls least leaves when there are too many."""
    buckets, eids = [bucket_of(each.eid) for each in noted], [each.eid for each in noted]
    await db.execute(_NOTE, buckets, eids, [each.source for each in noted], [each.polls for each in noted])


async def page(db: Db, after: tuple[int, Eid], limit: int) -> tuple[Unknown, ...]:
    """Who calls most often comes first; `after` is (polls, EID) of the last one."""
    polls, eid = after
    rows = await db.fetch(_PAGE, -polls, eid, limit)
    return tuple(msgspec.convert(dict(row), Unknown) for row in rows)


async def count(db: Db) -> int:
    return int(await db.fetchval(_COUNT))


async def every(db: Db) -> list[Eid]:
    return [Eid(row["eid"]) for row in await db.fetch(_EVERY)]


async def among(db: Db, eids: Sequence[Eid]) -> set[Eid]:
    """Which of these call and are unknown."""
    return {Eid(row["eid"]) for row in await db.fetch(_AMONG, list(eids))}


async def forget(db: Db, eids: Sequence[Eid]) -> None:
    """They are onboarded, or not wanted in the list."""
    await db.execute(_FORGET, list(eids))
