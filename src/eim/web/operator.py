"""The operator role's application: the REST interface, the status page, and whether it is well."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from eim.errors import EimError, InvalidRequest, MethodNotAllowed, NotFound
from eim.services.estate import EstateReader
from eim.services.onboarding import Onboarding
from eim.services.operations import Operations
from eim.services.tokens import Tokens
from eim.web import openapi, problems
from eim.web.endpoints import Endpoint, Limits, Resource
from eim.web.euiccs import Euiccs
from eim.web.operations import OperationDesk
from eim.web.profiles import ProfileFinder
from eim.web.status import StatusPage
from eim.web.tokens import TokenDesk

_JSON: Final = "application/json"
_DEFAULT_LIMITS: Final = Limits()


class OperatorServices(msgspec.Struct, frozen=True):
    """What the application serves. `unready` names what is missing before it can; nothing: it is ready."""

    onboarding: Onboarding
    operations: Operations
    estate: EstateReader
    tokens: Tokens
    unready: Callable[[], Awaitable[tuple[str, ...]]]


def operator_app(services: OperatorServices, limits: Limits = _DEFAULT_LIMITS) -> Starlette:
    """The application; it opens and closes nothing by itself."""
    endpoints = endpoints_of(services)
    by_path: dict[str, list[Endpoint]] = {}
    for each in endpoints:
        by_path.setdefault(each.route.path, []).append(each)
    document = msgspec.json.encode(openapi.describe(endpoints, version("eim")))
    status = StatusPage(services.estate, services.tokens)
    routes = [Route(path, Resource(some, services.tokens, limits)) for path, some in _verbs_first(by_path)]
    routes += [
        Route("/", status.get),
        Route("/v1/openapi.json", _fixed(document)),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz(services)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http, EimError: _refuse, Exception: _crash})
    app.router.redirect_slashes = False
    return app


def endpoints_of(services: OperatorServices) -> list[Endpoint]:
    """The table of the interface."""
    return [
        *Euiccs(services.onboarding, services.estate).endpoints(),
        *ProfileFinder(services.estate).endpoints(),
        *OperationDesk(services.operations, services.estate).endpoints(),
        *TokenDesk(services.tokens).endpoints(),
    ]


def _verbs_first(by_path: dict[str, list[Endpoint]]) -> list[tuple[str, list[Endpoint]]]:
    """`/v1/operations/{id}:withdraw` before `/v1/operations/{id}`, which would take the verb for a part of the id."""
    return sorted(by_path.items(), key=lambda item: "}:" not in item[0])


def _fixed(document: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def get(_: Request) -> Response:
        return Response(document, media_type=_JSON)

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
