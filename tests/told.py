"""Whether the events that a test left behind are such as receivers were promised."""

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from eim.domain.event import kind_of
from eim.domain.event_data import DATA
from tests.database import Database

_MOST: Final = 5000
_TOLD: Final = "SELECT DISTINCT ON (kind, md5(data::text)) kind, data FROM events LIMIT $1"


async def broken_promises(database: Database) -> Sequence[str]:
    """What is wrong with the `data` of the events in this database: missing, misplaced, or not declared."""
    # Not by its pools: a test may have closed them.
    connection = await asyncpg.connect(database.superuser_dsn, server_settings={"search_path": database.schema})
    try:
        rows = await connection.fetch(_TOLD, _MOST)
    finally:
        await connection.close()
    return [fault for row in rows for fault in _faults(row["kind"], msgspec.json.decode(row["data"]))]


def _faults(kind: str, data: dict[str, object]) -> Sequence[str]:
    promised = DATA[kind_of(kind)]
    unknown = set(data) - {field.encode_name for field in msgspec.structs.fields(promised)}
    found = [f"{kind}: {name} is not declared in eim.domain.event_data" for name in sorted(unknown)]
    try:
        msgspec.convert(data, promised)
    except msgspec.ValidationError as error:
        found.append(f"{kind}: {error}")
    return found
