"""Every route x every scope x {own, another tenant's, nobody's} rows, and every kind of token that is none.

The cells are made of the route table: a route without an entry in samples.py fails here.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx2
import pytest

from eim.services.tokens import SETUP, NewToken, Scope
from eim.web.endpoints import Endpoint
from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import client_of
from tests.web.samples import ABSENT, SAMPLES, Rows, Side, Table, table_of

NOBODY: Final = f"eim_{'x' * 43}"
_PASSES: Final = {200, 201, 202}


def masked(answer: httpx2.Response, rows: Rows) -> tuple[int, str, str]:
    """Status, kind and text of an answer, with what was asked about taken out of it."""
    text = answer.text
    for name in rows.__struct_fields__:
        text = re.sub(rf"\b{re.escape(getattr(rows, name))}\b", "<it>", text)
    return answer.status_code, answer.headers["content-type"], text


def names_rows(endpoint: Endpoint) -> bool:
    sample = SAMPLES[endpoint.route.name]
    return bool(sample.names) or "EID" in str(sample.body)


def marks_of(side: Side) -> Iterator[str]:
    """What only this tenant's rows say."""
    yield from (side.rows.eid, side.rows.operation, side.rows.order, side.rows.token, side.rows.webhook)
    yield from (f"boss-{side.tenant}", f"Carrier of tenant {side.tenant}")


@pytest.fixture
async def table(database: Database) -> Table:
    async with table_of(database) as made:
        return made


async def test_every_route_has_an_entry_and_no_entry_is_left_over(table: Table) -> None:
    assert {endpoint.route.name for endpoint in table.endpoints()} == set(SAMPLES)


async def test_the_matrix_has_no_leak(table: Table, record_property: Callable[[str, object], None]) -> None:
    app, cells = operator_app(table.services), 0
    for endpoint in table.endpoints():
        sample = SAMPLES[endpoint.route.name]
        for scope, token in table.own.by_scope.items():
            async with client_of(app, token) as client:
                if scope is not endpoint.route.scope:
                    answers = [
                        await sample.ask(client, endpoint, r) for r in (table.own.rows, table.other.rows, ABSENT)
                    ]
                    assert {(a.status_code, a.text) for a in answers} == {(403, answers[0].text)}, endpoint.route
                    cells += len(answers)
                    continue
                cells += await _right_scope(table, endpoint, client)
    assert cells > 1000
    record_property("cells", cells)


async def _right_scope(table: Table, endpoint: Endpoint, client: httpx2.AsyncClient) -> int:
    """Others' rows are answered like nobody's, nothing of the others' is in any answer, and one's own are there."""
    sample = SAMPLES[endpoint.route.name]
    if names_rows(endpoint) and endpoint.route.scope is not Scope.TENANTS:
        others = [await sample.ask(client, endpoint, rows) for rows in (table.other.rows, ABSENT)]
        assert masked(others[0], table.other.rows) == masked(others[1], ABSENT), endpoint.route
        if endpoint.route.name not in _ONE_FOR_ALL:
            assert others[0].status_code in {404, 422} or sample.others == 404, endpoint.route
    own = await sample.ask(client, endpoint, table.own.rows)
    allowed = _PASSES | _ALSO.get(endpoint.route.name, set())
    assert own.status_code in allowed, (endpoint.route, own.status_code, own.text)
    if endpoint.route.scope is not Scope.TENANTS:
        for mark in marks_of(table.other):
            assert mark not in own.text, (endpoint.route, mark)
    return 3


# A preview counts who is refused; adopting takes who calls and is onboarded nowhere.
_ONE_FOR_ALL: Final = {"previewOrder", "adoptUnknownCaller", "adoptUnknownCallers"}
_ALSO: Final[dict[str, set[int]]] = {
    "adoptUnknownCaller": {404, 422},  # nobody calls here
    "beginHandover": {409},  # it is in one
    "moveToNewestKey": {409},  # there is one key
    "resumeEuicc": {409},  # nothing holds it up
    "adoptUnknownCallers": {404, 409, 422},
    "revokeToken": {404},  # it was rotated before
    "withdraw": {404, 409},
}


async def test_another_tenant_sees_its_own_and_nothing_else_on_every_route(table: Table) -> None:
    app = operator_app(table.services)
    async with client_of(app, table.other.all) as client:
        for endpoint in table.endpoints():
            sample = SAMPLES[endpoint.route.name]
            if endpoint.route.scope is Scope.TENANTS:
                assert (await sample.ask(client, endpoint, table.own.rows)).status_code == 403
                continue
            for rows in (table.own.rows, table.other.rows):
                answer = await sample.ask(client, endpoint, rows)
                asked = [
                    value for value in vars_of(table.own.rows) if value in str(answer.request.url) + body_of(answer)
                ]
                for mark in marks_of(table.own):
                    assert mark not in answer.text or mark in asked, (endpoint.route, mark, answer.text)


def vars_of(rows: Rows) -> list[str]:
    return [getattr(rows, name) for name in rows.__struct_fields__]


def body_of(answer: httpx2.Response) -> str:
    return answer.request.content.decode()


async def test_who_has_no_working_token_gets_one_answer_on_every_route(table: Table, database: Database) -> None:
    services = table.services
    ended = await services.tokens.create(SETUP, NewToken("ended", frozenset(Scope)))
    await services.tokens.revoke(SETUP, ended.id)
    late = await services.tokens.create(SETUP, NewToken("late", frozenset(Scope)))
    await database.owner().execute("UPDATE tokens SET expires_at = now() WHERE id = $1", late.id)
    app, answers = operator_app(services), set()
    for token in (None, NOBODY, "eim_", ended.secret, late.secret):
        async with client_of(app, token) as client:
            for endpoint in table.endpoints():
                for rows in (table.own.rows, ABSENT):
                    answer = await SAMPLES[endpoint.route.name].ask(client, endpoint, rows)
                    answers.add((answer.status_code, answer.text, answer.headers["www-authenticate"]))
    assert {status for status, _, _ in answers} == {401}
    assert len(answers) == 1


@pytest.mark.slow
async def test_others_rows_take_as_long_as_nobodys(table: Table) -> None:
    app = operator_app(table.services)
    paths = (f"/v1/euiccs/{table.own.rows.eid}", f"/v1/euiccs/{ABSENT.eid}")
    took: dict[str, list[float]] = {path: [] for path in paths}
    async with client_of(app, table.other.all) as client:
        for number in range(1500):
            for path in paths if number % 2 else paths[::-1]:
                began = time.perf_counter()
                assert (await client.get(path)).status_code == 404
                took[path].append(time.perf_counter() - began)
    others, absent = (statistics.median(took[path]) for path in paths)
    assert 0.9 < others / absent < 1.1, (others, absent)
