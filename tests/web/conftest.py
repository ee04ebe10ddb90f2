"""A client of the operator's interface, over ASGI, on a database of its own."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.database import Database
from tests.operator_side import operator_client


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async with operator_client(database) as made:
        yield made
