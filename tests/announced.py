"""Whether everything that lets a poll find something is announced by the transaction that commits it.

Triggers of the test's own see each eUICC for whom nothing was there become one for whom something is, as the short
question of `store/glances.py` sees it, and say so by NOTIFY, too. A listener hears both in the order of the commits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.database import Database

_CHANNELS: Final = ("eim_work", "eim_found", "test_found")
# For each eUICC how many rows a poll finds, and how many there were when this transaction first touched them.
_INSTALL: Final = """
    CREATE TABLE findable (bucket smallint, eid bytea, many integer NOT NULL, before integer NOT NULL, txid xid8,
                           PRIMARY KEY (bucket, eid));
    CREATE FUNCTION count_findable(of_bucket smallint, of_eid bytea, change integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    DECLARE
        now_there findable%ROWTYPE;
    BEGIN
        INSERT INTO findable VALUES (of_bucket, of_eid, change, 0, pg_current_xact_id())
        ON CONFLICT (bucket, eid) DO UPDATE
           SET before = CASE WHEN findable.txid = pg_current_xact_id() THEN findable.before ELSE findable.many END,
               many = findable.many + change, txid = pg_current_xact_id()
        RETURNING * INTO now_there;
        IF change > 0 AND now_there.before = 0 AND current_setting('application_name') <> 'eim owner' THEN
            PERFORM pg_notify('test_found', concat_ws(':', of_bucket, pg_current_xact_id(),
                                                         left(current_query(), 200)));
        END IF;
    END
    $body$;
    CREATE FUNCTION is_findable(of_table text, r jsonb) RETURNS integer LANGUAGE sql AS $body$
        SELECT CASE of_table WHEN 'operations'
                             THEN (r ->> 'state' IN ('accepted', 'sealed', 'out', 'in_doubt'))::integer
                             WHEN 'requests' THEN 1
                             ELSE (r ->> 'traced_until' IS NOT NULL)::integer END
    $body$;
    CREATE FUNCTION watch_findable() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    DECLARE
        was integer := CASE WHEN TG_OP = 'INSERT' THEN 0 ELSE is_findable(TG_TABLE_NAME, to_jsonb(OLD)) END;
        is_now integer := CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE is_findable(TG_TABLE_NAME, to_jsonb(NEW)) END;
    BEGIN
        IF was <> is_now THEN
            PERFORM count_findable(coalesce(NEW.bucket, OLD.bucket), coalesce(NEW.eid, OLD.eid), is_now - was);
        END IF;
        RETURN NULL;
    END
    $body$;
    CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON operations FOR EACH ROW EXECUTE FUNCTION watch_findable();
    CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON requests FOR EACH ROW EXECUTE FUNCTION watch_findable();
    CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON euiccs FOR EACH ROW EXECUTE FUNCTION watch_findable();
"""


class Announced:
    """Guards what was heard, in the order of the commits."""

    def __init__(self) -> None:
        self._heard: list[tuple[int, str, str]] = []  # backend, channel, payload

    def hear(self, _connection: object, pid: object, channel: object, payload: object) -> None:
        self._heard.append((int(str(pid)), str(channel), str(payload)))

    @property
    def found(self) -> int:
        """How often somebody came to have something."""
        return sum(channel == "test_found" for _, channel, _ in self._heard)

    def missing(self) -> list[str]:
        """The transactions and buckets of those for whom something came that was not announced with it."""
        faults, start = [], 0
        for end in range(1, len(self._heard) + 1):
            if end == len(self._heard) or self._heard[end][0] != self._heard[start][0]:
                faults += _missing(self._heard[start:end])
                start = end
        return faults


def _missing(said: list[tuple[int, str, str]]) -> list[str]:
    """Of one backend's transactions in a row."""
    announced = {payload.partition(":")[0] for _, channel, payload in said if channel != "test_found"}
    found = {payload for _, channel, payload in said if channel == "test_found"}
    return sorted(each for each in found if each.partition(":")[0] not in announced)


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[Announced]:
    """Watch all that is committed from now on."""
    connection = await asyncpg.connect(database.superuser_dsn, server_settings={"search_path": database.schema})
    heard = Announced()
    try:
        await connection.execute(_INSTALL)
        for channel in _CHANNELS:
            await connection.add_listener(channel, heard.hear)
        yield heard
        await connection.execute("SELECT pg_notify('test_end', '')")
        await asyncio.sleep(0.1)  # what was committed is on its way
        await connection.execute("SELECT 1")
    finally:
        await connection.close()
