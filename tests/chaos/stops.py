"""Places in the database where a role stands until a test lets it go on, or where its statement fails.

A place is a trigger that only a test's own database has. What waits there waits for an advisory lock that the test
holds, so pg_locks says who stands where, and nothing in the product knows of it.
"""

import asyncio
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import asyncpg
import msgspec

from eim.store.connect import DEFAULT_SCHEMA, DbRole

_CLASS: Final = 0x65494D  # of the advisory locks; the product's have one number, these have two
_FUNCTION: Final = f"""
    CREATE FUNCTION {DEFAULT_SCHEMA}.stand_here() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared({_CLASS}, TG_ARGV[0]::integer);
        RETURN NEW;
    END
    $body$;
"""
_BEFORE: Final = "CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {call}"
_DEFERRED: Final = """
    CREATE CONSTRAINT TRIGGER {name} AFTER {verb} ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {call}
"""
_CLOSE: Final = "SELECT pg_advisory_lock($1::integer, $2::integer)"
_STANDING: Final = """
    SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND classid = $1 AND objid = $2 AND objsubid = 2 AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_LOOK_S: Final = 0.01


class Moment(StrEnum):
    WRITE = "write"  # before the row is written
    COMMIT = "commit"  # all is written, the commit has begun


class Step(msgspec.Struct, frozen=True):
    """One thing that a role does, told by the row it writes."""

    name: str
    role: DbRole
    table: str
    verb: str  # INSERT or UPDATE
    when: str = "true"  # about NEW and OLD


class Stop(msgspec.Struct, frozen=True):
    """A place: a step, and the moment of it."""

    number: int
    step: Step
    moment: Moment

    def __str__(self) -> str:
        return f"{self.step.role.value} {self.step.name} at its {self.moment.value}"


def stops(steps: Iterable[Step]) -> tuple[Stop, ...]:
    pairs = [(step, moment) for step in steps for moment in Moment]
    return tuple(Stop(number, step, moment) for number, (step, moment) in enumerate(pairs))


async def build(dsn: str, places: Iterable[Stop]) -> None:
    """Put the triggers into the database of `dsn`, a superuser's. Nobody stands anywhere before a place is closed."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_FUNCTION + ";".join(_trigger(place) for place in places))
    finally:
        await connection.close()


def _trigger(place: Stop) -> str:
    form = _BEFORE if place.moment is Moment.WRITE else _DEFERRED
    step = place.step
    return form.format(
        name=f"stand_{place.number}",
        verb=step.verb,
        table=f"{DEFAULT_SCHEMA}.{step.table}",
        when=f"current_setting('application_name') = 'eim {step.role.value}' AND ({step.when})",
        call=f"{DEFAULT_SCHEMA}.stand_here('{place.number}')",
    )


class Closed:
    """Guards one place that nobody passes while this is held: `async with Closed(dsn, place) as closed`."""

    def __init__(self, dsn: str, place: Stop) -> None:
        self._dsn = dsn
        self._place = place

    async def __aenter__(self) -> "Closed":
        self._connection = await asyncpg.connect(self._dsn)
        await self._connection.execute("SET application_name = 'the test'")
        await self._connection.fetchval(_CLOSE, _CLASS, self._place.number)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.terminate()  # the lock goes with its session; the database may be dead

    async def somebody_stands(self, patience: float) -> None:
        """Until a role waits here. AssertionError after `patience` seconds."""
        began = time.monotonic()
        while not await self._connection.fetchval(_STANDING, _CLASS, self._place.number):
            assert time.monotonic() - began < patience, f"nobody came to: {self._place}"
            await asyncio.sleep(_LOOK_S)
