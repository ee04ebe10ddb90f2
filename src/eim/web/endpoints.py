"""One call of the operator's interface: who, may he, what does he say; and its answer. The same for every route."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from eim import api
from eim.errors import EimError, InvalidRequest, MethodNotAllowed, UnsupportedMediaType
from eim.services.again import again
from eim.services.tokens import Caller, Scope, Tokens
from eim.store.orders import Repeat
from eim.web import problems
from eim.web.auth import authenticate, require
from eim.web.body import read_at_most

_JSON: Final = "application/json"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

B = TypeVar("B", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)


class Limits(msgspec.Struct, frozen=True):
    """What one request may cost."""

    body: int = 32 * 1024 * 1024  # octets: 10,000 eUICCs with their certificates
    deadline: float = 60.0  # seconds until the whole body must be here


class Call(msgspec.Struct, Generic[B, Q], frozen=True):
    """A request that was understood, of a caller who may."""

    caller: Caller
    path: Mapping[str, str]
    body: B
    query: Q
    repeat: Repeat | None  # of its Idempotency-Key


Serve: TypeAlias = Callable[[Request, Caller, bytes], Awaitable[msgspec.Struct]]


class Route(msgspec.Struct, frozen=True):
    """Where a call is found, and who may make it."""

    method: str
    path: str
    scope: Scope
    name: str  # operationId
    summary: str
    status: int = 200


class Endpoint(msgspec.Struct, frozen=True):
    """A route with what it takes and gives. The table of these is the interface: served and documented from it."""

    route: Route
    body: type[msgspec.Struct]
    query: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    serve: Serve


A = TypeVar("A", bound=msgspec.Struct)


def endpoint(
    route: Route, body: type[B], query: type[Q], answer: type[A], handle: Callable[[Call[B, Q]], Awaitable[A]]
) -> Endpoint:
    """Join a route and its handler, which sees only decoded values."""

    async def serve(request: Request, caller: Caller, octets: bytes) -> msgspec.Struct:
        call = Call(
            caller,
            {name: str(value) for name, value in request.path_params.items()},
            _decode(request, octets, body),
            _query(request, query),
            _repeat(request, octets),
        )
        return await handle(call)

    return Endpoint(route, body, query, answer, serve)


class Resource:
    """All methods of one path, as an ASGI application."""

    def __init__(self, endpoints: Sequence[Endpoint], tokens: Tokens, limits: Limits) -> None:
        self._endpoints = {endpoint.route.method: endpoint for endpoint in endpoints}
        self._tokens = tokens
        self._limits = limits

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        request = Request(connection, receive)
        try:
            response = await self._respond(request)
        except EimError as error:
            response = problems.answer(error)
        await response(connection, receive, send)

    async def _respond(self, request: Request) -> Response:
        found = self._endpoints.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            allowed = sorted(self._endpoints)
            raise MethodNotAllowed(f"{request.method} means nothing here: use {' or '.join(allowed)}", allowed)
        caller = await authenticate(request, self._tokens)
        require(caller, found.route.scope)
        octets = await read_at_most(request, self._limits.body, self._limits.deadline)
        answer = await again(lambda: found.serve(request, caller, octets))
        return Response(msgspec.json.encode(answer), found.route.status, _HEADERS, media_type=_JSON)


def _decode(request: Request, octets: bytes, kind: type[B]) -> B:
    if issubclass(kind, api.Nothing):
        if octets:
            raise InvalidRequest("this call takes no body: send none")
        return kind()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise UnsupportedMediaType(f"the body has to be JSON: send it with 'Content-Type: {_JSON}'")
    try:
        return msgspec.json.decode(octets, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is not what this call takes: {_plain(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {_plain(error)}") from None


def _query(request: Request, kind: type[Q]) -> Q:
    names = [name for name, _ in request.query_params.multi_items()]
    if len(names) != len(set(names)):
        raise InvalidRequest("a query parameter came twice: give each once")
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query is not what this call takes: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    """The decoder's sentence in the words of a reader who never saw our types."""
    text = str(error).replace("Object contains unknown field", "there is no field").replace("`", "'")
    text = text.replace("Object missing required field", "missing is the field")
    return text.replace("'^[^\\x00]*$'", "text without NUL")


def _repeat(request: Request, octets: bytes) -> Repeat | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    asked = f"{request.method} {request.url.path}\n".encode() + octets
    return Repeat(key, hashlib.sha256(asked).digest())
