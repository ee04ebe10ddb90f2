"""The interface's description, OpenAPI 3.1, made of the table of endpoints and the types they name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from eim import api
from eim.domain.event import Happening, schema_of
from eim.domain.event_data import DATA
from eim.web.endpoints import Endpoint, item_of

_PARAMETER: Final = re.compile(r"{(\w+)}")
_CAPITAL: Final = re.compile(r"[._](\w)")
_ETAG: Final = {"type": "string", "pattern": '^("[0-9a-f]*"|\\*)$'}
_REF: Final = "#/components/schemas/{name}"
_ERRORS: Final = {
    "400": "The request can't be understood; `detail` says what to change.",
    "401": "No valid token.",
    "403": "The token's scopes don't reach.",
    "404": "There is nothing of this name in your tenant.",
    "408": "The body did not come in time.",
    "409": "It contradicts what is there; `code` says how.",
    "412": "If-Match names another version than the one that is there.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "Some lines can't be taken; `bad_lines` names each. Nothing was done.",
    "429": "This token asks more often than it may: wait the seconds in Retry-After.",
    "503": "Try again after the seconds in Retry-After.",
}
_LOCATION: Final = "Where what was made or begun is found, and how it stands."
_ABOUT: Final = (
    "Every error is a problem (RFC 9457) with a stable `code`. Lists come in pages: give `next` as `cursor`. "
    "A POST with an `Idempotency-Key` may be repeated: the same request is answered the same and done once. "
    "Within /v1 fields are added, never removed or given another meaning. `fields` leaves out what you don't need."
)
_PAGES: Final = {
    "/": ("getStatusPage", "The status page, for a browser: a token is the password of any user.", "text/html", True),
    "/v1/docs": ("getDocs", "This description as a page.", "text/html", False),
    "/v1/openapi.json": ("getOpenapi", "This description.", "application/json", False),
    "/healthz": ("getHealth", "The process answers.", "text/plain", False),
    "/readyz": ("getReadiness", "It can serve now; 503 says what is missing.", "text/plain", False),
}

_PATHS: Final = {
    "id": {"type": "string", "format": "uuid"},
    "eid": {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$", "description": "the 32 digits of the EID"},
    "tenant": {"type": "integer", "minimum": 1, "maximum": 32767},
    "identity": {"type": "integer", "minimum": 1, "maximum": 32767},
    "address": {"type": "string", "maxLength": 260, "description": "host or host:port of an SM-DP+"},
}

Json = Mapping[str, Any]  # a JSON document's edge


def describe(endpoints: Sequence[Endpoint], version: str) -> Json:
    """The whole document."""
    kinds = {kind for each in endpoints for kind in (each.body, each.answer)} | {api.Problem}
    kinds -= {api.Nothing}
    kinds |= set(DATA.values())
    _, schemas = msgspec.json.schema_components(
        sorted(kinds, key=lambda kind: kind.__name__), ref_template=_REF, schema_hook=_anything
    )
    paths: dict[str, dict[str, Json]] = {}
    for each in endpoints:
        paths.setdefault(each.route.path, {})[each.route.method.lower()] = _operation(each)
    for path, page in _PAGES.items():
        paths[path] = {"get": _page(path, *page)}
    _loosen(schemas, endpoints)
    return {
        "openapi": "3.1.0",
        "info": {"title": "eim", "version": version, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "webhooks": {kind.type: {"post": _event(kind)} for kind in Happening},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "person": {"type": "http", "scheme": "basic"},
            },
            "responses": {status: _problem(text) for status, text in _ERRORS.items()},
        },
        "security": [{"token": []}],
    }


def _page(path: str, name: str, summary: str, media_type: str, guarded: bool) -> Json:  # noqa: FBT001
    """What is no call of the interface, but is there."""
    schema = {"type": "object" if media_type == "application/json" else "string"}
    responses: dict[str, Json] = {"200": {"description": summary, "content": {media_type: {"schema": schema}}}}
    if guarded:
        responses |= {status: {"$ref": f"#/components/responses/{status}"} for status in ("401", "403", "429", "503")}
    if path == "/readyz":
        responses["503"] = {"description": "Not yet, or not now.", "content": {media_type: {"schema": schema}}}
    security: list[Json] = [{"person": []}, {"token": []}] if guarded else []
    return {"operationId": name, "summary": summary, "security": security, "responses": responses}


def _loosen(schemas: dict[str, Any], endpoints: Sequence[Endpoint]) -> None:
    """Where a query may ask for some fields only, none is sure to be there."""
    for each in endpoints:
        if "fields" in each.query.__struct_fields__:
            schemas[item_of(each.answer).__name__].pop("required", None)
            if "items" not in each.answer.__struct_fields__:
                schemas[each.answer.__name__].pop("required", None)


def _anything(kind: type) -> dict[str, Any]:
    """`object` in our types is whatever JSON can say: a card's own words."""
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError(kind)


def _operation(endpoint: Endpoint) -> Json:
    route = endpoint.route
    documented: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Takes a token with the scope `{route.scope.value}`.",
        "parameters": [*_path_parameters(route.path), *_query_parameters(endpoint), *_headers(endpoint)],
        "responses": {str(route.status): _answer(endpoint), **_error_references()},
    }
    if endpoint.body is not api.Nothing:
        content = {"application/json": {"schema": _reference(endpoint.body)}}
        documented["requestBody"] = {"required": True, "content": content}
    if endpoint.formats:
        content = {media_type: {"schema": {"type": "string"}} for media_type in endpoint.formats}
        documented["requestBody"] = {"required": True, "content": content}
    return documented


def _answer(endpoint: Endpoint) -> Json:
    content: dict[str, Json] = {"application/json": {"schema": _reference(endpoint.answer)}}
    if endpoint.stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    answer: dict[str, Any] = {"description": endpoint.route.summary, "content": content}
    if endpoint.route.found_at is not None:
        answer["headers"] = {"Location": {"description": _LOCATION, "required": True, "schema": {"type": "string"}}}
    return answer


def _event(kind: Happening) -> Json:
    """What a webhook is posted when this happened, and what the stream and the pages show."""
    told = {
        "type": {"const": kind.type},
        "dataschema": {"const": schema_of(kind)},
        "data": _reference(DATA[kind]),
        "specversion": {"const": "1.0"},
        "datacontenttype": {"const": "application/json"},
        "time": {"type": "string", "format": "date-time"},
        **{name: {"type": "string"} for name in ("id", "source", "subject")},
    }
    explained = {name: {"type": "string"} for name in ("means", "owner", "nextstep")}  # where something went wrong
    schema = {"type": "object", "required": sorted(told), "properties": told | explained}
    return {
        "operationId": _CAPITAL.sub(lambda word: word[1].upper(), f"on.{kind.text}"),
        "summary": kind.meaning,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "It was taken."}},
        "security": [],
    }


def _path_parameters(path: str) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, "schema": _PATHS[name]} for name in _PARAMETER.findall(path)]


def _query_parameters(endpoint: Endpoint) -> list[Json]:
    if endpoint.query is api.Nothing:
        return []
    _, schemas = msgspec.json.schema_components([endpoint.query], ref_template=_REF, schema_hook=_anything)
    schema = schemas[endpoint.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> Json:
    """A query parameter that is absent is absent, not null."""
    kept = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(kept) == 1:
        return dict(kept[0])
    if schema.get("enum") and None in schema["enum"]:
        return {"enum": [each for each in schema["enum"] if each is not None]}
    return schema


def _headers(endpoint: Endpoint) -> list[Json]:
    if endpoint.route.method == "PATCH":
        about = "The ETag that the change is based on: it is refused (412) when another came first."
        return [{"name": "If-Match", "in": "header", "required": False, "description": about, "schema": _ETAG}]
    if (endpoint.body is api.Nothing and not endpoint.formats) or endpoint.route.method != "POST":
        return []
    about = "The same key with the same request is done once and answered the same; with another request it is a 409."
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "description": about, "schema": schema}]


def _error_references() -> Json:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS}


def _problem(text: str) -> Json:
    return {"description": text, "content": {"application/problem+json": {"schema": _reference(api.Problem)}}}


def _reference(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": _REF.format(name=kind.__name__)}
