"""The operator's interface from the other end: typed calls over HTTP, for the command line and the demo."""

import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID, uuid4

import httpx2
import msgspec

from eim import api
from eim.errors import InvalidRequest, Refused, Unavailable

_JSON: Final = {"Content-Type": "application/json"}
_TIMEOUT_S: Final = 60.0  # an order of 100,000 lines takes some seconds
_PAGE: Final = 1000

A = TypeVar("A", bound=msgspec.Struct)


class ServerRefused(Refused):
    """The server said no, and why. `problem` is what it sent."""

    code = "server-refused"

    def __init__(self, problem: api.Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class ServerUnavailable(Unavailable):
    """Nobody answers there, or not in our words."""

    code = "server-unavailable"


class Client:
    """One server, one token. Guards the connection: use it as `async with`."""

    def __init__(
        self,
        server: str,
        token: str,
        *,
        trust: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises InvalidRequest for an address or a token that can't be one."""
        if not (token.isascii() and token.isprintable() and token.strip()):
            raise InvalidRequest("this token can't be one: it is one word that begins with eim_")
        self._server = server
        try:
            self._http = httpx2.AsyncClient(
                base_url=server,
                headers={"Authorization": f"Bearer {token}"},
                timeout=_TIMEOUT_S,
                verify=trust or True,
                transport=transport,
            )
        except httpx2.InvalidURL:
            raise InvalidRequest(f"{server!r} is no address of a server: write http://host:port") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def add_euicc(self, new: api.NewEuiccAlone) -> api.Onboarded:
        return await self._post("/v1/euiccs", new, api.Onboarded)

    async def add_euiccs(self, new: api.NewEuiccs) -> api.Onboarded:
        """Onboard at most 10,000."""
        return await self._post("/v1/euiccs:batch", new, api.Onboarded)

    async def euiccs(self, query: api.EuiccQuery) -> api.EuiccPage:
        return await self._get("/v1/euiccs", api.EuiccPage, query)

    async def all_euiccs(self, query: api.EuiccQuery) -> AsyncIterator[api.EuiccEntry]:
        """Every eUICC that the filters let pass, page by page."""
        query = msgspec.structs.replace(query, limit=_PAGE)
        while True:
            page = await self.euiccs(query)
            for item in page.items:
                yield item
            if page.next is None:
                return
            query = msgspec.structs.replace(query, cursor=page.next)

    async def euicc(self, eid: str) -> api.EuiccView:
        return await self._get(f"/v1/euiccs/{_segment(eid)}", api.EuiccView)

    async def profiles(self, eid: str) -> api.Profiles:
        return await self._get(f"/v1/euiccs/{_segment(eid)}/profiles", api.Profiles)

    async def events(self, eid: str, query: api.PageQuery) -> api.EventPage:
        """What happened to one, newest first."""
        return await self._get(f"/v1/euiccs/{_segment(eid)}/events", api.EventPage, query)

    async def find_profiles(self, iccid: str) -> api.Profiles:
        return await self._get("/v1/profiles", api.Profiles, api.ProfileQuery(iccid))

    async def order(self, new: api.NewOrder) -> api.OrderAccepted:
        return await self._post("/v1/operations", new, api.OrderAccepted)

    async def operations(self, query: api.OperationQuery) -> api.OperationPage:
        return await self._get("/v1/operations", api.OperationPage, query)

    async def operation(self, operation: UUID) -> api.OperationView:
        return await self._get(f"/v1/operations/{operation}", api.OperationView)

    async def withdraw(self, operation: UUID) -> api.OperationView:
        return await self._post(f"/v1/operations/{operation}:withdraw", None, api.OperationView)

    async def order_progress(self, order: UUID) -> api.OrderView:
        return await self._get(f"/v1/orders/{order}", api.OrderView)

    async def summary(self) -> api.SummaryView:
        return await self._get("/v1/summary", api.SummaryView)

    async def create_token(self, new: api.NewToken) -> api.TokenCreated:
        return await self._post("/v1/tokens", new, api.TokenCreated)

    async def tokens(self) -> api.TokenList:
        return await self._get("/v1/tokens", api.TokenList)

    async def revoke_token(self, token: UUID) -> api.TokenView:
        return await self._post(f"/v1/tokens/{token}:revoke", None, api.TokenView)

    async def _get(self, path: str, answer: type[A], query: msgspec.Struct | None = None) -> A:
        fields: Mapping[str, object] = msgspec.to_builtins(query) if query is not None else {}
        params = {name: _text(value) for name, value in fields.items() if value is not None}
        return await self._call(self._http.build_request("GET", path, params=params), answer)

    async def _post(self, path: str, body: msgspec.Struct | None, answer: type[A]) -> A:
        """Repeated under one key when the connection breaks, so what it asks is done once."""
        content = msgspec.json.encode(body) if body is not None else b""
        headers = _JSON | {"Idempotency-Key": str(uuid4())}
        request = self._http.build_request("POST", path, content=content, headers=headers)
        try:
            return await self._call(request, answer)
        except ServerUnavailable as failure:
            if not isinstance(failure.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError):
                raise
        return await self._call(self._http.build_request("POST", path, content=content, headers=headers), answer)

    async def _call(self, request: httpx2.Request, answer: type[A]) -> A:
        try:
            response = await self._http.send(request)
        except httpx2.HTTPError as failure:
            raise ServerUnavailable(
                f"no eIM answers at {self._server}: is it running, and is --server right?"
            ) from failure
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=answer)
            problem = msgspec.json.decode(response.content, type=api.Problem)
        except msgspec.MsgspecError as failure:
            raise ServerUnavailable(f"what answers at {self._server} is no eIM: is --server right?") from failure
        if problem.status >= 500:
            raise ServerUnavailable(f"the eIM at {self._server} can't answer: {problem.detail}")
        raise ServerRefused(problem)


def _segment(text: str) -> str:
    """One segment of a path, whatever was typed."""
    return "".join(c for c in text if c.isalnum()) or "-"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
