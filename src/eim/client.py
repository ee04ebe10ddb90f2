"""The operator's interface from the other end: typed calls over HTTP, for the command line and the demo."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote
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
from eim.api_associations import KeyChoice, KeyList, KeyMove, KeyMoving, Resumed, Resumption
from eim.api_barring import (
    BarReason,
    BarredEuicc,
    BarredPage,
    BarredQuery,
    DenialPage,
    DenialQuery,
    DenialView,
    LiftQuery,
    NewDenial,
)
from eim.api_events import (
    CloudEventPage,
    DeadLetterPage,
    EventQuery,
    NewWebhook,
    Replay,
    Replayed,
    SecretRotation,
    TestAsked,
    WebhookChange,
    WebhookMade,
    WebhookPage,
    WebhookPageQuery,
    WebhookView,
)
from eim.api_handovers import (
    HandoverAbort,
    HandoverBegun,
    HandoverConfirmation,
    HandoverList,
    HandoverQuery,
    HandoverView,
    NewHandover,
)
from eim.api_notifications import (
    GivingUp,
    NewSmdp,
    NotificationPage,
    NotificationQuery,
    NotificationView,
    SmdpChange,
    SmdpPage,
    SmdpQuery,
    SmdpView,
)
from eim.api_onboarding import (
    Adoption,
    AdoptionOfMany,
    ImportProblems,
    ImportQuery,
    ImportView,
    ProblemQuery,
    UnknownCallers,
    UnknownQuery,
)
from eim.api_seeing import TimelinePage, TraceOrder, TracePage, TraceView
from eim.domain.event import CloudEvent
from eim.errors import InvalidRequest, Refused, Unavailable

_JSON: Final = {"Content-Type": "application/json"}
_TIMEOUT_S: Final = 60.0  # an order of 100,000 lines takes some seconds
_PAGE: Final = 1000
_PAUSES: Final = (0.5, 2.0, 5.0)  # seconds before an upload goes on
_UPLOAD_TIMEOUT_S: Final = 300.0  # for one piece to be taken
_TOO_MANY: Final = 429
_PATIENCE_S: Final = 30.0
_RECONNECT_S: Final = 2.0

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


class Upload(msgspec.Struct, frozen=True):
    """A file to send: `pieces` opens it anew each time."""

    media_type: str
    pieces: Callable[[], AsyncIterator[bytes]]


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

    async def import_euiccs(self, file: "Upload", query: ImportQuery) -> ImportView:
        """Onboard what a file of any length lists; when the connection breaks it goes on where it was."""
        headers = {"Content-Type": file.media_type, "Idempotency-Key": str(uuid4())}
        for pause in _PAUSES:
            try:
                return await self._call(self._upload(file, query, headers), ImportView)
            except ServerUnavailable:
                await asyncio.sleep(pause)
        return await self._call(self._upload(file, query, headers), ImportView)

    def _upload(self, file: "Upload", query: ImportQuery, headers: Mapping[str, str]) -> httpx2.Request:
        path, params = "/v1/euiccs:import", _params(query)
        return self._http.build_request(
            "POST", path, params=params, headers=headers, content=file.pieces(), timeout=_UPLOAD_TIMEOUT_S
        )

    async def import_report(self, of: UUID) -> ImportView:
        """How an import stands or ended; its first bad lines."""
        return await self._get(f"/v1/imports/{of}", ImportView)

    async def import_problems(self, of: UUID, query: ProblemQuery) -> ImportProblems:
        return await self._get(f"/v1/imports/{of}/problems", ImportProblems, query)

    async def unknown_callers(self, query: UnknownQuery) -> UnknownCallers:
        """EIDs that call and that nobody onboarded."""
        return await self._get("/v1/unknown-callers", UnknownCallers, query)

    async def adopt(self, eid: str, adoption: Adoption) -> api.Onboarded:
        return await self._post(f"/v1/unknown-callers/{_segment(eid)}:adopt", adoption, api.Onboarded)

    async def adopt_many(self, adoption: AdoptionOfMany) -> api.Onboarded:
        return await self._post("/v1/unknown-callers:adopt", adoption, api.Onboarded)

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

    async def quarantine(self, eid: str, why: BarReason) -> BarredEuicc:
        return await self._post(f"/v1/euiccs/{_segment(eid)}:quarantine", why, BarredEuicc)

    async def release(self, eid: str, why: BarReason) -> BarredEuicc:
        return await self._post(f"/v1/euiccs/{_segment(eid)}:release", why, BarredEuicc)

    async def all_barred(self, query: BarredQuery) -> AsyncIterator[BarredEuicc]:
        """Every eUICC to which nothing goes out, page by page."""
        query = msgspec.structs.replace(query, limit=_PAGE)
        while True:
            page = await self._get("/v1/barred", BarredPage, query)
            for item in page.items:
                yield item
            if page.next is None:
                return
            query = msgspec.structs.replace(query, cursor=page.next)

    async def add_denial(self, new: NewDenial) -> DenialView:
        return await self._post("/v1/denials", new, DenialView)

    async def denial(self, denial: UUID) -> DenialView:
        return await self._get(f"/v1/denials/{denial}", DenialView)

    async def all_denials(self, query: DenialQuery) -> AsyncIterator[DenialView]:
        """Every denial that stands, page by page."""
        query = msgspec.structs.replace(query, limit=_PAGE)
        while True:
            page = await self._get("/v1/denials", DenialPage, query)
            for item in page.items:
                yield item
            if page.next is None:
                return
            query = msgspec.structs.replace(query, cursor=page.next)

    async def lift_denial(self, denial: UUID, query: LiftQuery) -> DenialView:
        request = self._http.build_request("DELETE", f"/v1/denials/{denial}", params=_params(query))
        return await self._call(request, DenialView)

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

    async def resume(self, operation: UUID) -> api.OperationView:
        """Let a parked operation go on."""
        return await self._post(f"/v1/operations/{operation}:resume", None, api.OperationView)

    async def order_chain(self, new: api.NewChain) -> api.ChainAccepted:
        """Order operations that come one after the other."""
        return await self._post("/v1/operations:chain", new, api.ChainAccepted)

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

    async def stop_order(self, order: UUID) -> api.OrderView:
        """Place nothing more of an order for very many."""
        return await self._post(f"/v1/orders/{order}:stop", None, api.OrderView)

    async def withdraw_order(self, order: UUID) -> api.OrderView:
        """Take back all that an order placed."""
        return await self._post(f"/v1/orders/{order}:withdraw", None, api.OrderView)

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

    async def identity_keys(self, identity: int) -> KeyList:
        """The keys of an identity, and how many eUICCs obey each."""
        return await self._get(f"/v1/identities/{identity}/keys", KeyList)

    async def move_to_newest_key(self, identity: int, move: KeyMove) -> KeyMoving:
        """Move eUICCs on older keys to the newest one; once more for those that are left."""
        return await self._post(f"/v1/identities/{identity}:move", move, KeyMoving)

    async def load_key(self, identity: int, choice: KeyChoice) -> KeyList:
        return await self._post(f"/v1/identities/{identity}:loadKey", choice, KeyList)

    async def retire_keys(self, identity: int, choice: KeyChoice) -> KeyList:
        """Retire the keys before the chosen one."""
        return await self._post(f"/v1/identities/{identity}:retireKeys", choice, KeyList)

    async def begin_handover(self, new: NewHandover) -> HandoverBegun:
        """Take cards over from another eIM, or give them to one."""
        return await self._post("/v1/handovers", new, HandoverBegun)

    async def handovers(self) -> HandoverList:
        return await self._get("/v1/handovers", HandoverList)

    async def handover(self, handover: UUID, query: HandoverQuery) -> HandoverView:
        """How it stands, card by card."""
        return await self._get(f"/v1/handovers/{handover}", HandoverView, query)

    async def confirm_handover(self, handover: UUID, said: HandoverConfirmation) -> HandoverView:
        """The cards have called the other eIM."""
        return await self._post(f"/v1/handovers/{handover}:confirm", said, HandoverView)

    async def abort_handover(self, handover: UUID, why: HandoverAbort) -> HandoverView:
        """Undo what can be undone."""
        return await self._post(f"/v1/handovers/{handover}:abort", why, HandoverView)

    async def resume_euicc(self, eid: str, why: Resumption) -> Resumed:
        """Let a stalled eUICC go on."""
        return await self._post(f"/v1/euiccs/{eid}:resume", why, Resumed)

    async def retire_identity(self, identity: int, why: Retirement) -> IdentityView:
        return await self._post(f"/v1/identities/{identity}:retire", why, IdentityView)

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Who did what, newest first."""
        return await self._get("/v1/audit", AuditPage, query)

    async def _change(self, method: str, path: str, body: msgspec.Struct, answer: type[A], etag: str | None) -> A:
        headers = _JSON | ({"If-Match": f'"{etag}"'} if etag is not None else {})
        request = self._http.build_request(method, path, content=msgspec.json.encode(body), headers=headers)
        return await self._call(request, answer)

    async def read_events(self, query: EventQuery) -> CloudEventPage:
        """What happened to all cards, oldest first."""
        return await self._get("/v1/events", CloudEventPage, query)

    async def follow_events(self, query: EventQuery) -> AsyncIterator[CloudEvent]:
        """What happens from now on, or from a time on, for ever: connects again where it was cut off."""
        reached: str | None = None
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": reached} if reached else {})
            request = self._http.build_request("GET", "/v1/events", params=_params(query), headers=headers)
            try:
                response = await self._http.send(request, stream=True)
                try:
                    async for place, event in _told(await self._streaming(response)):
                        reached = place
                        if event is not None:
                            yield event
                finally:
                    await response.aclose()
            except httpx2.HTTPError as failure:
                if reached is None:
                    raise self._nobody(failure) from failure
            await asyncio.sleep(_RECONNECT_S)

    async def _streaming(self, response: httpx2.Response) -> httpx2.Response:
        if not response.is_success:
            await response.aread()
            self._decoded(response, CloudEventPage)
        return response

    async def create_webhook(self, new: NewWebhook) -> WebhookMade:
        return await self._post("/v1/webhooks", new, WebhookMade)

    async def webhooks(self, query: WebhookPageQuery) -> WebhookPage:
        return await self._get("/v1/webhooks", WebhookPage, query)

    async def webhook(self, webhook: UUID) -> WebhookView:
        return await self._get(f"/v1/webhooks/{webhook}", WebhookView)

    async def change_webhook(self, webhook: UUID, change: WebhookChange, etag: str | None = None) -> WebhookView:
        return await self._change("PATCH", f"/v1/webhooks/{webhook}", change, WebhookView, etag)

    async def delete_webhook(self, webhook: UUID) -> WebhookView:
        return await self._call(self._http.build_request("DELETE", f"/v1/webhooks/{webhook}"), WebhookView)

    async def rotate_webhook(self, webhook: UUID, rotation: SecretRotation) -> WebhookMade:
        return await self._post(f"/v1/webhooks/{webhook}:rotate", rotation, WebhookMade)

    async def test_webhook(self, webhook: UUID) -> TestAsked:
        return await self._post(f"/v1/webhooks/{webhook}:test", None, TestAsked)

    async def replay_webhook(self, webhook: UUID, replay: Replay) -> Replayed:
        return await self._post(f"/v1/webhooks/{webhook}:replay", replay, Replayed)

    async def dead_letters(self, webhook: UUID, query: WebhookPageQuery) -> DeadLetterPage:
        return await self._get(f"/v1/webhooks/{webhook}/dead-letters", DeadLetterPage, query)

    async def notifications(self, query: NotificationQuery) -> NotificationPage:
        return await self._get("/v1/notifications", NotificationPage, query)

    async def notification(self, notification: UUID) -> NotificationView:
        return await self._get(f"/v1/notifications/{notification}", NotificationView)

    async def retry_notification(self, notification: UUID) -> NotificationView:
        return await self._post(f"/v1/notifications/{notification}:retry", None, NotificationView)

    async def give_up_notification(self, notification: UUID, why: GivingUp) -> NotificationView:
        return await self._post(f"/v1/notifications/{notification}:give-up", why, NotificationView)

    async def add_smdp(self, new: NewSmdp) -> SmdpView:
        return await self._post("/v1/smdps", new, SmdpView)

    async def smdps(self, query: SmdpQuery) -> SmdpPage:
        return await self._get("/v1/smdps", SmdpPage, query)

    async def smdp(self, address: str) -> SmdpView:
        return await self._get(f"/v1/smdps/{quote(address, safe='')}", SmdpView)

    async def change_smdp(self, address: str, change: SmdpChange, etag: str | None = None) -> SmdpView:
        return await self._change("PATCH", f"/v1/smdps/{quote(address, safe='')}", change, SmdpView, etag)

    async def remove_smdp(self, address: str) -> SmdpView:
        request = self._http.build_request("DELETE", f"/v1/smdps/{quote(address, safe='')}")
        return await self._call(request, SmdpView)

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
        return self._decoded(response, answer)

    def _decoded(self, response: httpx2.Response, answer: type[A]) -> A:
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
            raise self._nobody(failure) from failure

    def _nobody(self, failure: httpx2.HTTPError) -> ServerUnavailable:
        return ServerUnavailable(
            f"no eIM answers at {self._server}: is it running, and is --server right?{_hint(failure)}"
        )


async def _told(response: httpx2.Response) -> AsyncIterator[tuple[str, CloudEvent | None]]:
    """The events of a stream, each with its place; without one, a place alone."""
    place, data = "", ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            place = value
        elif name == "data":
            data = value
        elif not line and place:
            yield place, msgspec.json.decode(data, type=CloudEvent) if data else None
            data = ""


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
