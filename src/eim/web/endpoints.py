"""One call of the operator's interface: who, may he, what does he say; and its answer. The same for every route."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, TypeAlias, TypeVar, get_args, get_type_hints

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
from eim.web.rates import Rate, Rates

_JSON: Final = "application/json"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_ETAG: Final = re.compile(r'"([^"]*)"')

B = TypeVar("B", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)


class Limits(msgspec.Struct, frozen=True):
    """What one request may cost."""

    body: int = 32 * 1024 * 1024  # octets: 10,000 eUICCs with their certificates
    deadline: float = 60.0  # seconds until the whole body must be here
    rate: Rate = Rate()  # of each token


class Call(msgspec.Struct, Generic[B, Q], frozen=True):
    """A request that was understood, of a caller who may."""

    caller: Caller
    path: Mapping[str, str]
    body: B
    query: Q
    repeat: Repeat | None  # of its Idempotency-Key
    match: str | None = None  # the ETag in If-Match; None: whatever is there


class Reply(msgspec.Struct, frozen=True):
    """What is answered: JSON, the ETag of what can be changed, and where to find what was made or begun."""

    body: object
    etag: str | None = None
    location: str | None = None


Serve: TypeAlias = Callable[[Request, Caller, bytes], Awaitable[Reply]]
Stream: TypeAlias = Callable[[Request, Caller], Awaitable[Response | None]]  # None: no stream is asked for


class Route(msgspec.Struct, frozen=True):
    """Where a call is found, and who may make it."""

    method: str
    path: str
    scope: Scope
    name: str  # operationId
    summary: str
    status: int = 200
    found_at: str | None = None  # where what was made or begun is: `/v1/orders/{0.order}`, with the answer put in


class Endpoint(msgspec.Struct, frozen=True):
    """A route with what it takes and gives. The table of these is the interface: served and documented from it."""

    route: Route
    body: type[msgspec.Struct]
    query: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    serve: Serve
    stream: Stream | None = None  # server-sent events, for who accepts them
    formats: tuple[str, ...] = ()  # media types of a body that `serve` reads by itself, as it comes


A = TypeVar("A", bound=msgspec.Struct)


def endpoint(
    route: Route, body: type[B], query: type[Q], answer: type[A], handle: Callable[[Call[B, Q]], Awaitable[A]]
) -> Endpoint:
    """Join a route and its handler, which sees only decoded values."""

    known = frozenset(item_of(answer).__struct_fields__)

    async def serve(request: Request, caller: Caller, octets: bytes) -> Reply:
        call = Call(
            caller,
            {name: str(value) for name, value in request.path_params.items()},
            _decode(request, octets, body),
            query_of(request, query),
            _repeat(request, octets),
            _match(request),
        )
        fields = _wanted_fields(call.query, known)
        given = await handle(call)
        shown = _only(given, fields) if fields else given
        return Reply(shown, getattr(given, "etag", None), location_of(route, given))

    return Endpoint(route, body, query, answer, serve)


class Resource:
    """All methods of one path, as an ASGI application."""

    def __init__(self, endpoints: Sequence[Endpoint], tokens: Tokens, limits: Limits, rates: Rates) -> None:
        self._endpoints = {endpoint.route.method: endpoint for endpoint in endpoints}
        self._tokens = tokens
        self._limits = limits
        self._rates = rates

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        request = Request(connection, receive)
        standing: dict[str, str] = {}
        try:
            response = await self._respond(request, standing)
        except EimError as error:
            response = problems.answer(error)
        response.headers.update(standing)
        await response(connection, receive, send)

    async def _respond(self, request: Request, standing: dict[str, str]) -> Response:
        found = self._endpoints.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            allowed = sorted(self._endpoints)
            raise MethodNotAllowed(f"{request.method} means nothing here: use {' or '.join(allowed)}", allowed)
        caller = await authenticate(request, self._tokens)
        if (rate := self._rates.take(caller.token, time.monotonic())) is not None:
            standing.update(rate.headers())
        require(caller, found.route.scope)
        if found.stream is not None and (stream := await found.stream(request, caller)) is not None:
            return stream
        reply = await self._reply(found, request, caller)
        headers = _HEADERS | ({"ETag": f'"{reply.etag}"'} if reply.etag else {})
        headers |= {"Location": reply.location} if reply.location else {}
        return Response(msgspec.json.encode(reply.body), found.route.status, headers, media_type=_JSON)

    async def _reply(self, found: Endpoint, request: Request, caller: Caller) -> Reply:
        if found.formats:
            return await found.serve(request, caller, b"")
        octets = await read_at_most(request, self._limits.body, self._limits.deadline)
        return await again(lambda: found.serve(request, caller, octets))


def location_of(route: Route, given: msgspec.Struct) -> str | None:
    """Where what `given` tells of is found from now on; ids, EIDs and addresses need no quoting in a path."""
    return None if route.found_at is None else route.found_at.format(given)


def _decode(request: Request, octets: bytes, kind: type[B]) -> B:
    if issubclass(kind, api.Nothing):
        if octets:
            raise InvalidRequest("this call takes no body: send none")
        return kind()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise UnsupportedMediaType(f"the body has to be JSON: send it with 'Content-Type: {_JSON}'")
    try:
        return _timely(msgspec.json.decode(octets, type=kind))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is not what this call takes: {_plain(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {_plain(error)}") from None


def query_of(request: Request, kind: type[Q]) -> Q:
    """What the query says. Raises InvalidRequest."""
    names = [name for name, _ in request.query_params.multi_items()]
    if len(names) != len(set(names)):
        raise InvalidRequest("a query parameter came twice: give each once")
    try:
        return _timely(msgspec.convert(dict(request.query_params), kind, strict=False))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query is not what this call takes: {_plain(error)}") from None


def _timely(said: Q) -> Q:
    """What was said, all its times within what a database and a calendar can tell apart from nonsense."""
    for name in said.__struct_fields__:
        moment = getattr(said, name)
        if isinstance(moment, datetime) and not _EARLIEST <= moment <= _LATEST:
            raise InvalidRequest(f"'{name}' has to lie between the years 1970 and 2200")
    return said


def _plain(error: Exception) -> str:
    """The decoder's sentence in the words of a reader who never saw our types."""
    text = str(error).replace("Object contains unknown field", "there is no field").replace("`", "'")
    text = text.replace("Object missing required field", "missing is the field")
    return text.replace("'^[^\\x00]*$'", "text without NUL")


def _match(request: Request) -> str | None:
    said = request.headers.get("if-match")
    if said is None or said.strip() == "*":
        return None
    found = _ETAG.fullmatch(said.strip())
    if found is None:
        raise InvalidRequest('If-Match takes one ETag as it was given, in its quotes, or *: If-Match: "..."')
    return found[1]


def item_of(answer: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """What `fields` chooses from: one item of a list, or the answer itself."""
    hints = get_type_hints(answer)
    item: type[msgspec.Struct] = get_args(hints["items"])[0] if "items" in hints else answer
    return item


def _wanted_fields(query: msgspec.Struct, known: frozenset[str]) -> frozenset[str]:
    """The fields that the query asks for; empty: all. Raises InvalidRequest for one that there is none of."""
    wanted = frozenset((getattr(query, "fields", None) or "").split(",")) - {""}
    if unknown := wanted - known:
        raise InvalidRequest(f"there is no field {min(unknown)!r} here: 'fields' takes {', '.join(sorted(known))}")
    return wanted


def _only(answer: msgspec.Struct, fields: frozenset[str]) -> object:
    whole = msgspec.to_builtins(answer)
    if "items" not in whole:
        return {name: value for name, value in whole.items() if name in fields}
    return whole | {"items": [{n: v for n, v in item.items() if n in fields} for item in whole["items"]]}


def _repeat(request: Request, octets: bytes) -> Repeat | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    asked = f"{request.method} {request.url.path}\n".encode() + octets
    return Repeat(key, hashlib.sha256(asked).digest())
