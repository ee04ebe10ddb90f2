from collections.abc import Collection
from uuid import UUID

import pytest
from asyncpg.exceptions import DataError

from eim.store.columns import ARRAYS, ask_quickly
from eim.store.connect import DbRole
from tests.database import Database

ID = UUID("00000000-0000-8000-8000-000000000001")


@pytest.mark.parametrize("as_what", ARRAYS)
@pytest.mark.parametrize(
    ("of", "values"),
    [
        ("integer", (1, 2)),
        ("bytea", (b"", b"ab")),
        ("text", ("", "ab")),
        ("uuid", (ID,)),
        ("boolean", (True, False)),
        ("bigint", ()),
    ],
)
async def test_each_container_is_a_column(
    database: Database, as_what: type, of: str, values: Collection[object]
) -> None:
    assert ask_quickly(), "this asyncpg asks in another way: see whether it still needs to be told"
    given: Collection[object]
    if as_what is range:
        of, given, values = "integer", range(1, 3), (1, 2)
    elif as_what in (list, tuple, set, frozenset):
        given = as_what(values)
    else:
        given = getattr({value: value for value in values}, as_what.__name__.removeprefix("dict_"))()
    found = await database.pool(DbRole.DEVICE).fetchval(f"SELECT $1::{of}[]", given)
    assert len(found) == len(values)
    assert set(found) == set(values)


async def test_nothing_and_json_are_elements(database: Database) -> None:
    db = database.pool(DbRole.DEVICE)
    given = [None, {"a": [1, 2]}, {}]
    assert await db.fetchval("SELECT $1::jsonb[]", given) == given
    assert await db.fetchval("SELECT $1::integer[]", [None, 1]) == [None, 1]


async def test_an_array_in_an_array_has_two_dimensions(database: Database) -> None:
    db = database.pool(DbRole.DEVICE)
    assert await db.fetchval("SELECT $1::integer[]", [[1, 2], [3, 4]]) == [[1, 2], [3, 4]]
    assert await db.fetchval("SELECT array_ndims($1::text[])", [["ab"], ["cd"]]) == 2
    with pytest.raises(DataError):
        await db.fetchval("SELECT $1::integer[]", [[1, 2], [3]])


@pytest.mark.parametrize("given", ["ab", b"ab", 5, {"a": 1}, ID])
async def test_what_is_no_column_is_refused(database: Database, given: object) -> None:
    with pytest.raises(DataError):
        await database.pool(DbRole.DEVICE).fetchval("SELECT $1::text[]", given)
