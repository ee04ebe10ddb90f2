"""The client against a server that misbehaves."""

import httpx2
import pytest

from eim import api
from eim.client import Client, ServerRefused, ServerUnavailable
from eim.services.tokens import SETUP, NewToken, Scope
from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import eid_text, services_of


class Losing(httpx2.AsyncBaseTransport):
    """Loses the first answer after the server has given it."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self.lost = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if self.lost == 0:
            self.lost += 1
            raise httpx2.ReadError("the connection broke")
        return response


class Saying(httpx2.AsyncBaseTransport):
    """Answers everything with the same."""

    def __init__(self, status: int, body: bytes) -> None:
        self._answer = (status, body)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        status, body = self._answer
        return httpx2.Response(status, content=body, request=request)


async def test_a_lost_answer_is_asked_for_again_and_the_order_placed_once(database: Database) -> None:
    await database.seed_identity()
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("t", frozenset(Scope)))
    transport = Losing(httpx2.ASGITransport(app=operator_app(services)))
    async with Client("http://eim.test", made.secret, transport=transport) as client:
        done = await client.add_euicc(api.NewEuiccAlone(eid_text(1)))
        assert (done.eids, transport.lost) == ((eid_text(1),), 1)
        with pytest.raises(ServerRefused) as refused:
            await client.add_euicc(api.NewEuiccAlone(eid_text(1)))
        assert refused.value.problem.code == "conflict"


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (404, b"not found"), (502, b""), (200, b"[]")])
async def test_what_is_no_eim_is_said_to_be_none(status: int, body: bytes) -> None:
    async with Client("http://eim.test", "eim_x", transport=Saying(status, body)) as client:
        with pytest.raises(ServerUnavailable, match="is no eIM"):
            await client.summary()


async def test_all_eids_of_an_estate_come_over_many_pages(database: Database) -> None:
    await database.seed_identity()
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("t", frozenset(Scope)))
    transport = httpx2.ASGITransport(app=operator_app(services))
    async with Client("http://eim.test", made.secret, transport=transport) as client:
        await client.add_euiccs(api.NewEuiccs(tuple(api.NewEuicc(eid_text(n)) for n in range(2100))))
        found = [each.eid async for each in client.all_euiccs(api.EuiccQuery())]
    assert sorted(found) == sorted(eid_text(n) for n in range(2100))
