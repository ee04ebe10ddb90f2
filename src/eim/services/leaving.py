"""Everything of ours in one signed bundle: freedom to leave."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import BUCKETS, Bucket, Eid, format_eid
from eim.services import bundle
from eim.services.bundle import Key, Writer
from eim.store import Db, estate
from eim.store.connect import Pool, acquire

_MAILBOX: Final = ("number", "handed_at", "deliveries", "highest_handed")


class History(Enum):
    LEFT = "left"  # what matters for going on
    TAKEN = "taken"  # and the events of each eUICC


class Leaving:
    """Reads the whole installation at one moment. Holds the owner's pool: no role may see every tenant's rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, to: Writer, header: bundle.Header, keys: Iterable[Key], history: History) -> int:
        """Write all but the end; how many eUICCs that are. Memory holds one bucket, a thousandth of them."""
        written = 0
        to.add(header)
        async with self._snapshot() as db:
            for row in await estate.tenants(db):
                to.add(msgspec.convert(row, bundle.Tenant))
            for row in await estate.identities(db):
                to.add(msgspec.convert(row, bundle.Identity))
            for row in await estate.identity_keys(db):
                to.add(msgspec.convert(row, bundle.IdentityKey))
            for row in await estate.denials(db):
                to.add(msgspec.convert(row, bundle.Denial))
            for key in keys:
                to.add(key)
            for number in range(BUCKETS):
                for euicc in _euiccs(await estate.of_bucket(db, Bucket(number))):
                    to.add(euicc)
                    written += 1
            if history is History.TAKEN:
                await _write_events(db, to)
        return written

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Db]:
        async with acquire(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            yield db


async def _write_events(db: Db, to: Writer) -> None:
    for number in range(BUCKETS):
        for row in await estate.events_of_bucket(db, Bucket(number)):
            to.add(msgspec.convert(dict(row) | {"eid": format_eid(row["eid"])}, bundle.Event))


def _euiccs(rows: estate.Rows) -> Iterable[bundle.Euicc]:
    profiles, opened, out = (_by_eid(each) for each in (rows.profiles, rows.open, rows.out))
    for row in rows.euiccs:
        eid, values = row["eid"], dict(row)
        with_card = {package["number"] for package in out.get(eid, ()) if package["state"] == "head"}
        mailbox = {name: values.pop(name) for name in _MAILBOX}
        if mailbox["number"] not in with_card or mailbox["handed_at"] is None:
            mailbox |= {"number": None, "handed_at": None, "deliveries": 0}
        keys = {name: values.pop(name) for name in bundle.Association.__struct_fields__}
        values |= {
            "keys": keys,
            "eid": format_eid(Eid(eid)),
            "profiles": profiles.get(eid, ()),
            "open_operations": opened.get(eid, ()),
            "out": out.get(eid, ()),
            "mailbox": mailbox,
        }
        yield msgspec.convert(values, bundle.Euicc)


def _by_eid(rows: Sequence[Row]) -> Mapping[bytes, list[dict[str, Any]]]:
    found: dict[bytes, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["eid"], []).append(dict(row))
    return found


def header(at: datetime, version: str) -> bundle.Header:
    return bundle.Header(bundle.VERSION, at, version)
