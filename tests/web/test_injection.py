"""Fifty payloads in every string that the interface takes: nothing breaks, nothing leaks, nothing is run."""

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx2
import pytest

from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import client_of
from tests.web.samples import SAMPLES, Table, table_of

_TELLS: Final = re.compile(
    r"syntax error|asyncpg|pg_catalog|PostgreSQL|relation \"|Traceback|unterminated", re.IGNORECASE
)
_QUOTES: Final = ("'", '"', "`", "$$", "\\'", "%27", "’", "''", "E'\\''", ")'")
_ENDS: Final = (
    "",
    " OR '1'='1",
    "; DROP TABLE euiccs; --",
    " UNION SELECT hash FROM tokens --",
    "||pg_sleep(5)||'",
)
PAYLOADS: Final = tuple(f"{quote}{end}" for quote, end in itertools.product(_QUOTES, _ENDS))
_AT_ONCE: Final = 4


def test_there_are_fifty_payloads() -> None:
    assert len(set(PAYLOADS)) == 50


class Aim:
    """One string of one call: where the payload goes."""

    def __init__(self, method: str, path: str, place: str, name: str, body: Mapping[str, object]) -> None:
        self.method, self.path, self.place, self.name, self.body = method, path, place, name, body

    async def shoot(self, client: httpx2.AsyncClient, payload: str) -> httpx2.Response:
        match self.place:
            case "path":
                path = self.path.replace(
                    "{" + self.name + "}", httpx2.URL("/", params={"p": payload}).query.decode()[2:]
                )
                return await client.request(self.method, path.replace("+", "%20"))
            case "query":
                return await client.request(self.method, self.path, params={self.name: payload})
            case "header":
                return await client.request(
                    self.method, self.path, headers={self.name.encode(): payload.encode()}, json=self.body
                )
            case _:
                return await client.request(self.method, self.path, json=put(self.body, self.name, payload))


def put(body: Mapping[str, object], name: str, payload: str) -> dict[str, object]:
    """The body with the payload as its field, or as one entry where that is a list."""
    old = body.get(name)
    return {**body, name: [payload] if isinstance(old, list) else payload}


def aims(document: Mapping[str, Any], table: Table) -> Iterator[Aim]:
    """Every string of every call, by the interface's own description."""
    schemas = document["components"]["schemas"]
    for endpoint in table.endpoints():
        sample, route = SAMPLES[endpoint.route.name], endpoint.route
        path = sample.path(endpoint, table.own.rows)
        operation = document["paths"][route.path][route.method.lower()]
        body = {k: table.own.rows.eid if v == "EID" else v for k, v in (sample.body or {}).items()}
        for each in operation["parameters"]:
            if each["in"] == "path":
                yield Aim(route.method, route.path, "path", each["name"], body)
            elif each["in"] == "header" or "string" in str(each["schema"]):
                yield Aim(route.method, path, each["in"], each["name"], body)
        content = operation.get("requestBody", {}).get("content", {})
        if reference := content.get("application/json", {}).get("schema", {}).get("$ref"):
            for name, field in schemas[reference.rpartition("/")[2]]["properties"].items():
                if "string" in str(field) or "$ref" in str(field):
                    yield Aim(route.method, path, "body", name, body)


async def test_no_payload_in_any_string_reaches_the_database_as_sql(database: Database) -> None:
    async with table_of(database) as table:
        async with client_of(operator_app(table.services), table.own.all) as client:
            document = (await client.get("/v1/openapi.json")).json()
            harmless = [aim for aim in aims(document, table) if not _ends_something(aim)]
            shots = list(itertools.product(harmless, PAYLOADS))
            assert len(harmless) > 80
            gate = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(_shot(client, gate, aim, payload) for aim, payload in _some(shots)))
        kept = await database.owner().fetchval("SELECT count(*) FROM euiccs WHERE tenant = 2")
        assert kept == 2


@pytest.mark.slow
async def test_no_payload_at_all_in_any_string_reaches_the_database_as_sql(database: Database) -> None:
    async with table_of(database) as table, client_of(operator_app(table.services), table.own.all) as client:
        document = (await client.get("/v1/openapi.json")).json()
        gate = asyncio.Semaphore(_AT_ONCE)
        shots = itertools.product(aims(document, table), PAYLOADS)
        await asyncio.gather(*(_shot(client, gate, aim, payload) for aim, payload in shots))


def _some(shots: list[tuple[Aim, str]]) -> list[tuple[Aim, str]]:
    """Every payload and every string, but not every pair: each string gets ten of the fifty."""
    return [shot for number, shot in enumerate(shots) if (number + number // len(PAYLOADS)) % 5 == 0]


def _ends_something(aim: Aim) -> bool:
    return aim.method == "DELETE" and aim.place == "query"


async def _shot(client: httpx2.AsyncClient, gate: asyncio.Semaphore, aim: Aim, payload: str) -> None:
    async with gate:
        answer = await asyncio.wait_for(aim.shoot(client, payload), 4.5)  # less than the sleep that some ask for
    assert answer.status_code < 500, (aim.method, aim.path, aim.name, payload, answer.text)
    said = answer.text.replace(payload, "")
    assert not _TELLS.search(said) or "DROP" in said, (aim.path, aim.name, payload, said)
