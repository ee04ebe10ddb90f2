"""An independent tool asks what the description allows, and what it does not: no server error, nothing undocumented."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx2
import hypothesis
import pytest
import schemathesis
from hypercorn.asyncio import serve
from hypercorn.config import Config
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from eim.web.operator import operator_app
from tests.database import Database
from tests.web.samples import table_of

_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_SMOKE: Final = 250
_MANY: Final = 10_000


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """`app` on a socket of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    address, config, stop = f"http://127.0.0.1:{listener.getsockname()[1]}", Config(), asyncio.Event()
    config.bind = [f"fd://{listener.detach()}"]  # closed by the server
    config.errorlog = None

    async def stopped() -> None:
        await stop.wait()

    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stopped))  # type: ignore[arg-type] # Starlette is an ASGI application
    yield address
    stop.set()
    await serving


def operations_of(document: dict[str, Any]) -> Iterator[Any]:  # schemathesis carries no types
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = result.ok() if isinstance(result, Ok) else None
        if operation.path not in ("/", "/v1/docs"):  # pages for people
            yield operation


def try_all(document: dict[str, Any], address: str, token: str, cases: int) -> int:
    """Ask `cases` times in all, spread over the operations; how many were asked."""
    asked = 0
    headers = {"Authorization": f"Bearer {token}"}
    operations = list(operations_of(document))
    modes = schemathesis.GenerationMode
    for operation in operations:
        for mode in (modes.POSITIVE, modes.NEGATIVE):

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(
                max_examples=max(1, cases // (2 * len(operations)) + 1),
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate],
            )
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(base_url=address, headers=headers, checks=_CHECKS, timeout=20)

            with suppress(hypothesis.errors.Unsatisfiable):  # an operation that takes nothing can't be asked wrongly
                ask()
    return asked


async def _try(database: Database, cases: int) -> int:
    async with table_of(database) as table, served(operator_app(table.services)) as address:
        async with httpx2.AsyncClient(base_url=address) as client:
            document = (await client.get("/v1/openapi.json")).json()
        return await asyncio.to_thread(try_all, document, address, table.own.all, cases)


async def test_some_hundred_cases_give_no_server_error_and_nothing_undocumented(database: Database) -> None:
    assert await _try(database, _SMOKE) > _SMOKE // 2


@pytest.mark.slow
async def test_ten_thousand_cases_give_no_server_error_and_nothing_undocumented(database: Database) -> None:
    assert await _try(database, _MANY) > _MANY // 2
