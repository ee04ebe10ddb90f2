"""Errors as RFC 9457 problems: the one place where kinds of errors become statuses."""

from typing import Final

import msgspec
from starlette.responses import Response

from eim.api import BadLine, Problem
from eim.errors import (
    Conflict,
    EimError,
    Forbidden,
    Guarded,
    InvalidLines,
    MethodNotAllowed,
    NotFound,
    PeerFault,
    PreconditionFailed,
    RateLimited,
    Refused,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from eim.web.body import BodyTooLarge, BodyUnfinished

_MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 5
_LATER: Final = "the service can't answer now: try again in a few seconds"
_OUR_FAULT: Final = "something went wrong here and is logged: try again, and report it when it stays"

# The first class that fits decides, so the precise ones come first.
_STATUSES: Final[tuple[tuple[type[EimError], int, str], ...]] = (
    (Unauthenticated, 401, "Not authenticated"),
    (Forbidden, 403, "Not allowed"),
    (NotFound, 404, "Not found"),
    (MethodNotAllowed, 405, "No such method here"),
    (Conflict, 409, "Conflict"),
    (Guarded, 409, "Guarded"),
    (BodyUnfinished, 408, "Body unfinished"),
    (BodyTooLarge, 413, "Body too large"),
    (PreconditionFailed, 412, "Changed meanwhile"),
    (RateLimited, 429, "Too many requests"),
    (UnsupportedMediaType, 415, "Wrong content type"),
    (InvalidLines, 422, "Some lines can't be taken"),
    (Refused, 400, "Bad request"),
    (PeerFault, 400, "Bad request"),
    (Unavailable, 503, "Not available"),
)


def problem_of(error: EimError) -> Problem:
    """What the caller may know of `error`: of an outage nothing but that it is one."""
    status, title = _status_of(error)
    detail = _LATER if isinstance(error, Unavailable) else _OUR_FAULT if status == 500 else str(error)
    lines = error.lines if isinstance(error, InvalidLines) else ()
    bad_lines = tuple(BadLine(position + 1, text) for position, text in lines)
    return Problem(f"urn:eim:problem:{error.code}", title, status, error.code, detail, bad_lines)


def answer(error: EimError) -> Response:
    """The problem as a response, with the headers its status asks for."""
    problem = problem_of(error)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="eim"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return Response(msgspec.json.encode(problem), problem.status, headers, media_type=_MEDIA_TYPE)


def _status_of(error: EimError) -> tuple[int, str]:
    for kind, status, title in _STATUSES:
        if isinstance(error, kind):
            return status, title
    return 500, "Internal error"
