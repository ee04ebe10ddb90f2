"""The operator's interface from the other end: typed calls over HTTP, for the command line and the demo."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID, uuid4

import httpx2
import msgspec

from eim import api
from eim.api_access import (
    AuditPage,
    AuditQuery,
    IdentityList,
    IdentityView,
    NewTenant,
    NewToken,
    Retirement,
    Rotation,
    TenantChange,
    TenantList,
    TenantView,
    TokenCreated,
    TokenList,
    TokenView,
)
from eim.api_seeing import TimelinePage, TraceOrder, TracePage, TraceView
from eim.errors import InvalidRequest, Refused, Unavailable

_JSON: Final = {"Content-Type": "application/json"}
_TIMEOUT_S: Final = 60.0  # an order of 100,000 lines takes some seconds
_PAGE: Final = 1000
_TOO_MANY: Final = 429
_PATIENCE_S: Final = 30.0

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

    async def edit_euicc(self, eid: str, change: api.EuiccChange, etag: str | None = None) -> api.EuiccView:
        """Change its label or tags; with the ETag of what was seen, only unless another change came first."""
        return await self._change("PATCH", f"/v1/euiccs/{_segment(eid)}", change, api.EuiccView, etag)

    async def offboard_euicc(self, eid: str, query: api.OffboardQuery) -> api.Offboarded:
        """Take it out of the eIM."""
        params = _params(query)
        return await self._call(
            self._http.build_request("DELETE", f"/v1/euiccs/{_segment(eid)}", params=params), api.Offboarded
        )

    async def profiles(self, eid: str) -> api.Profiles:
        return await self._get(f"/v1/euiccs/{_segment(eid)}/profiles", api.Profiles)

    async def events(self, eid: str, query: api.PageQuery) -> api.EventPage:
        """What happened to one, newest first."""
        return await self._get(f"/v1/euiccs/{_segment(eid)}/events", api.EventPage, query)

    async def timeline(self, eid: str, query: api.PageQuery) -> TimelinePage:
        """All that happened to one, newest first."""
        return await self._get(f"/v1/euiccs/{_segment(eid)}/timeline", TimelinePage, query)

    async def trace(self, eid: str, order: TraceOrder) -> TraceView:
        """Keep the octets it sends and gets from now on, or with 0 minutes no more."""
        return await self._post(f"/v1/euiccs/{_segment(eid)}:trace", order, TraceView)

    async def read_trace(self, eid: str, query: api.PageQuery) -> TracePage:
        """The octets that were kept, oldest first."""
        return await self._get(f"/v1/euiccs/{_segment(eid)}/trace", TracePage, query)

    async def clear_trace(self, eid: str) -> TraceView:
        return await self._call(self._http.build_request("DELETE", f"/v1/euiccs/{_segment(eid)}/trace"), TraceView)

    async def find_profiles(self, iccid: str) -> api.Profiles:
        return await self._get("/v1/profiles", api.Profiles, api.ProfileQuery(iccid))

    async def order(self, new: api.NewOrder) -> api.OrderAccepted:
        return await self._post("/v1/operations", new, api.OrderAccepted)

    async def preview(self, new: api.NewOrder) -> api.OrderPreview:
        """What an order would do, without doing it."""
        return await self._post("/v1/operations:preview", new, api.OrderPreview)

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

    async def create_token(self, new: NewToken) -> TokenCreated:
        return await self._post("/v1/tokens", new, TokenCreated)

    async def tokens(self) -> TokenList:
        return await self._get("/v1/tokens", TokenList)

    async def rotate_token(self, token: UUID, rotation: Rotation) -> TokenCreated:
        return await self._post(f"/v1/tokens/{token}:rotate", rotation, TokenCreated)

    async def revoke_token(self, token: UUID) -> TokenView:
        return await self._post(f"/v1/tokens/{token}:revoke", None, TokenView)

    async def create_tenant(self, new: NewTenant) -> TenantView:
        return await self._post("/v1/tenants", new, TenantView)

    async def tenants(self) -> TenantList:
        return await self._get("/v1/tenants", TenantList)

    async def tenant(self, tenant: int) -> TenantView:
        return await self._get(f"/v1/tenants/{tenant}", TenantView)

    async def limit_tenant(self, seen: TenantView, change: TenantChange) -> TenantView:
        """Replace its limits, unless they are others than those in `seen` by now."""
        return await self._change("PATCH", f"/v1/tenants/{seen.id}", change, TenantView, seen.etag)

    async def create_tenant_token(self, tenant: int, new: NewToken) -> TokenCreated:
        return await self._post(f"/v1/tenants/{tenant}/tokens", new, TokenCreated)

    async def identities(self) -> IdentityList:
        return await self._get("/v1/identities", IdentityList)

    async def identity(self, identity: int) -> IdentityView:
        return await self._get(f"/v1/identities/{identity}", IdentityView)

    async def retire_identity(self, identity: int, why: Retirement) -> IdentityView:
        return await self._post(f"/v1/identities/{identity}:retire", why, IdentityView)

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Who did what, newest first."""
        return await self._get("/v1/audit", AuditPage, query)

    async def _change(self, method: str, path: str, body: msgspec.Struct, answer: type[A], etag: str | None) -> A:
        headers = _JSON | ({"If-Match": f'"{etag}"'} if etag is not None else {})
        request = self._http.build_request(method, path, content=msgspec.json.encode(body), headers=headers)
        return await self._call(request, answer)

    async def _get(self, path: str, answer: type[A], query: msgspec.Struct | None = None) -> A:
        return await self._call(self._http.build_request("GET", path, params=_params(query)), answer)

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
        response = await self._send(request)
        if response.status_code == _TOO_MANY:
            await asyncio.sleep(min(_PATIENCE_S, float(response.headers.get("retry-after", "1"))))
            response = await self._send(request)
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=answer)
            problem = msgspec.json.decode(response.content, type=api.Problem)
        except msgspec.MsgspecError as failure:
            raise ServerUnavailable(f"what answers at {self._server} is no eIM: is --server right?") from failure
        if problem.status >= 500:
            raise ServerUnavailable(f"the eIM at {self._server} can't answer: {problem.detail}")
        raise ServerRefused(problem)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._http.send(request)
        except httpx2.HTTPError as failure:
            raise ServerUnavailable(
                f"no eIM answers at {self._server}: is it running, and is --server right?{_hint(failure)}"
            ) from failure


def _hint(failure: httpx2.HTTPError) -> str:
    untrusted = "CERTIFICATE_VERIFY_FAILED" in str(failure)
    return " Its certificate leads to no CA that is trusted here: give the CA's file with --ca" if untrusted else ""


def _params(query: msgspec.Struct | None) -> dict[str, str]:
    fields: Mapping[str, object] = msgspec.to_builtins(query) if query is not None else {}
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _segment(text: str) -> str:
    """One segment of a path, whatever was typed."""
    return "".join(c for c in text if c.isalnum()) or "-"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
