"""The application's own filter by tenant taken out of every statement: the database alone shows no foreign row."""

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Final

import pytest

import eim.store
from eim.services.tokens import Scope
from eim.web.operator import Ports, operator_app, services_on
from tests.database import Database
from tests.operator_side import DATA_KEY, client_of, no_roots, now, ready
from tests.web.samples import ABSENT, SAMPLES, Table, table_of
from tests.web.test_matrix import marks_of, masked, vars_of

_FILTER: Final = re.compile(r"((?:\w+\.)?tenant = \$\d+)(?!::)")
_AT_LEAST: Final = 40  # statements that have such a filter


def statements() -> Iterator[tuple[ModuleType, str, str]]:
    """Every statement of the store that filters by tenant: its module, its name, and itself without the filter."""
    for found in pkgutil.iter_modules(eim.store.__path__):
        module = importlib.import_module(f"eim.store.{found.name}")
        for name, value in vars(module).items():
            if isinstance(value, str) and name.isupper() and _FILTER.search(value):
                yield module, name, _FILTER.sub(r"(\1 OR true)", value)


@pytest.fixture
async def table(database: Database) -> AsyncIterator[Table]:
    async with table_of(database) as made:
        yield made


async def test_without_the_filter_no_route_shows_or_changes_a_foreign_row(
    table: Table, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    unfiltered = list(statements())
    assert len(unfiltered) > _AT_LEAST
    for module, name, statement in unfiltered:
        monkeypatch.setattr(module, name, statement)
    before = await _own_rows(database)
    app, answered = operator_app(table.services), 0
    async with client_of(app, table.other.all) as client:
        for endpoint in table.endpoints():
            if endpoint.route.scope is Scope.TENANTS:
                continue
            sample = SAMPLES[endpoint.route.name]
            foreign = await sample.ask(client, endpoint, table.own.rows)
            assert foreign.status_code < 500, (endpoint.route, foreign.text)
            asked = str(foreign.request.url) + foreign.request.content.decode()
            for mark in set(marks_of(table.own)) - {value for value in vars_of(table.own.rows) if value in asked}:
                assert mark not in foreign.text, (endpoint.route, mark)
            if sample.names:
                absent = await sample.ask(client, endpoint, ABSENT)
                assert masked(foreign, table.own.rows) == masked(absent, ABSENT), endpoint.route
            answered += 1
    assert answered > 30
    assert await _own_rows(database) == before


async def test_past_row_level_security_the_same_statements_show_everything(
    table: Table, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    """Otherwise the test above would prove nothing."""
    for module, name, statement in statements():
        monkeypatch.setattr(module, name, statement)
    app = operator_app(services_on(database.owner(), Ports(no_roots, ready, DATA_KEY, now)))
    async with client_of(app, table.other.all) as client:
        for path in ("/v1/euiccs", "/v1/operations", "/v1/audit", "/v1/tokens", "/v1/webhooks"):
            answer = (await client.get(path)).text
            assert any(mark in answer for mark in marks_of(table.own)), path


async def _own_rows(database: Database) -> list[str]:
    """All that the first tenant has, as text."""
    found = []
    for name in (
        "euiccs",
        "profiles",
        "operations",
        "orders",
        "tokens",
        "webhooks",
        "identities",
        "mailbox",
        "imports",
    ):
        rows = await database.owner().fetch(f"SELECT t::text AS t FROM {name} t WHERE tenant = 1 ORDER BY 1")
        found += [f"{name} {row['t']}" for row in rows]
    return found
