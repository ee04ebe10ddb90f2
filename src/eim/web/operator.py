"""The operator role's application: the REST interface, the status page, and whether it is well."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from eim.domain.webhook import Reach
from eim.errors import EimError, InvalidRequest, MethodNotAllowed, NotFound
from eim.services.auditing import AuditReader
from eim.services.caring import Care
from eim.services.denials import Denials
from eim.services.estate import EstateReader
from eim.services.handovers import Handovers
from eim.services.identities import Blobs, Identities, no_blobs
from eim.services.moving import Associations
from eim.services.onboarding import CheckCertificates, Onboarding
from eim.services.operations import CONFIRM_ABOVE, Operations
from eim.services.orders import SPREAD_ABOVE, Orders
from eim.services.outstanding import Outstanding
from eim.services.ports import Cipher, Clock
from eim.services.releasing import BarDesk
from eim.services.smdps import Smdps
from eim.services.streams import EventReader
from eim.services.tenants import Tenants
from eim.services.timelines import Timelines
from eim.services.tokens import Tokens
from eim.services.traces import Traces
from eim.services.unknown import UnknownCallers
from eim.services.uploads import Uploads
from eim.services.webhooks import Webhooks
from eim.store.connect import Pool
from eim.store.identities import Listed
from eim.web import docs, openapi, problems
from eim.web.associations import AssociationDesk
from eim.web.audit import AuditDesk
from eim.web.barring import BarringDesk
from eim.web.endpoints import Endpoint, Limits, Resource
from eim.web.euiccs import Euiccs
from eim.web.events import EventDesk
from eim.web.handovers import HandoverDesk
from eim.web.identities import IdentityDesk
from eim.web.imports import ImportDesk
from eim.web.notifications import NotificationDesk, SmdpDesk
from eim.web.operations import OperationDesk
from eim.web.profiles import ProfileFinder
from eim.web.rates import Rates
from eim.web.seeing import SeeingDesk
from eim.web.status import StatusPage
from eim.web.tenants import TenantDesk
from eim.web.tokens import TokenDesk
from eim.web.unknown import UnknownDesk
from eim.web.webhooks import WebhookDesk

_JSON: Final = "application/json"
_DEFAULT_LIMITS: Final = Limits()


class OperatorServices(msgspec.Struct, frozen=True):
    """What the application serves. `unready` names what is missing before it can; nothing: it is ready."""

    onboarding: Onboarding
    operations: Operations
    orders: Orders
    estate: EstateReader
    tokens: Tokens
    care: Care
    tenants: Tenants
    identities: Identities
    associations: Associations
    handovers: Handovers
    audit: AuditReader
    traces: Traces
    timelines: Timelines
    events: EventReader
    webhooks: Webhooks
    notifications: Outstanding
    smdps: Smdps
    uploads: Uploads
    unknown: UnknownCallers
    bars: BarDesk
    denials: Denials
    unready: Callable[[], Awaitable[tuple[str, ...]]]


class Ports(msgspec.Struct, frozen=True):
    """What services need of other adapters, and of the configuration."""

    check_certificates: CheckCertificates
    unready: Callable[[], Awaitable[tuple[str, ...]]]
    cipher: Cipher
    now: Clock
    export: Callable[[Listed], Blobs] = no_blobs
    confirm_above: int = CONFIRM_ABOVE
    spread_above: int = SPREAD_ABOVE
    reach: Reach = Reach()
    event_streams: int = 100


def services_on(pool: Pool, ports: Ports) -> OperatorServices:
    """All services of the operator role on one pool."""
    onboarding = Onboarding(pool, ports.check_certificates)
    return OperatorServices(
        onboarding=onboarding,
        operations=Operations(pool, ports.confirm_above, spread_above=ports.spread_above),
        orders=Orders(pool),
        estate=EstateReader(pool),
        tokens=Tokens(pool),
        care=Care(pool),
        tenants=Tenants(pool),
        identities=Identities(pool, ports.export),
        associations=Associations(pool, ports.confirm_above),
        handovers=Handovers(pool, ports.confirm_above),
        audit=AuditReader(pool),
        traces=Traces(pool),
        timelines=Timelines(pool),
        events=EventReader(pool, ports.event_streams),
        webhooks=Webhooks(pool, ports.cipher, ports.reach, ports.now),
        notifications=Outstanding(pool),
        smdps=Smdps(pool),
        uploads=Uploads(pool, onboarding),
        unknown=UnknownCallers(pool, onboarding),
        bars=BarDesk(pool),
        denials=Denials(pool),
        unready=ports.unready,
    )


def operator_app(services: OperatorServices, limits: Limits = _DEFAULT_LIMITS) -> Starlette:
    """The application; it opens and closes nothing by itself."""
    endpoints = endpoints_of(services)
    by_path: dict[str, list[Endpoint]] = {}
    for each in endpoints:
        by_path.setdefault(each.route.path, []).append(each)
    document = openapi.describe(endpoints, version("eim"))
    status, rates = StatusPage(services.estate, services.tokens, services.unknown), Rates(limits.rate)
    routes = [Route(path, Resource(some, services.tokens, limits, rates)) for path, some in _verbs_first(by_path)]
    routes += [
        Route("/", status.get),
        Route("/v1/openapi.json", _fixed(msgspec.json.encode(document), {"Content-Type": _JSON})),
        Route("/v1/docs", _fixed(docs.page(document).encode(), docs.HEADERS)),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz(services)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http, EimError: _refuse, Exception: _crash})
    app.router.redirect_slashes = False
    return app


def endpoints_of(services: OperatorServices) -> list[Endpoint]:
    """The table of the interface."""
    return [
        *Euiccs(services.onboarding, services.estate, services.care).endpoints(),
        *ImportDesk(services.uploads).endpoints(),
        *UnknownDesk(services.unknown).endpoints(),
        *BarringDesk(services.bars, services.denials).endpoints(),
        *ProfileFinder(services.estate).endpoints(),
        *OperationDesk(services.operations, services.orders, services.estate, services.identities).endpoints(),
        *TokenDesk(services.tokens).endpoints(),
        *TenantDesk(services.tenants).endpoints(),
        *IdentityDesk(services.identities).endpoints(),
        *AssociationDesk(services.associations).endpoints(),
        *HandoverDesk(services.handovers).endpoints(),
        *AuditDesk(services.audit).endpoints(),
        *SeeingDesk(services.traces, services.timelines).endpoints(),
        *EventDesk(services.events, services.tokens).endpoints(),
        *WebhookDesk(services.webhooks).endpoints(),
        *NotificationDesk(services.notifications).endpoints(),
        *SmdpDesk(services.smdps).endpoints(),
    ]


def _verbs_first(by_path: dict[str, list[Endpoint]]) -> list[tuple[str, list[Endpoint]]]:
    """`/v1/operations/{id}:withdraw` before `/v1/operations/{id}`, which would take the verb for a part of the id."""
    return sorted(by_path.items(), key=lambda item: "}:" not in item[0])


def _fixed(content: bytes, headers: Mapping[str, str]) -> Callable[[Request], Awaitable[Response]]:
    async def get(_: Request) -> Response:
        return Response(content, headers=headers)

    return get


async def _healthz(_: Request) -> Response:
    """The process runs; nothing is said of what it needs."""
    return PlainTextResponse("ok\n")


def _readyz(services: OperatorServices) -> Callable[[Request], Awaitable[Response]]:
    async def get(_: Request) -> Response:
        missing = await services.unready()
        text = "".join(f"{reason}\n" for reason in missing) or "ready\n"
        return PlainTextResponse(text, 503 if missing else 200, {"Cache-Control": "no-store"})

    return get


async def _http(_: Request, error: Exception) -> Response:
    """What Starlette refuses by itself."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return problems.answer(NotFound("there is nothing at this path: see /v1/openapi.json"))
    if status == 405:
        return problems.answer(MethodNotAllowed("only GET means something here", ["GET"]))
    return problems.answer(InvalidRequest("the request can't be understood"))


async def _refuse(_: Request, error: Exception) -> Response:
    return problems.answer(error if isinstance(error, EimError) else EimError())


async def _crash(_: Request, error: Exception) -> Response:
    """A fault of ours: the server logs it, the caller learns only that it happened."""
    return problems.answer(EimError())
