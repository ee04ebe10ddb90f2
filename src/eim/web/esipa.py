"""ESipa over HTTPS, ASN.1 binding (SGP.32 sections 6.1, 6.3): what an HTTP request means and how it is answered.

One place for both servers: `EsipaEndpoint` puts it behind Starlette, `web/door.py` behind our own listener.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from eim.errors import EimError, Flooded, Guessing, Malformed, Unavailable
from eim.protocol.esipa import Received, receive
from eim.services.esipa import Esipa, polled_eid
from eim.services.whose import Source
from eim.web.body import BodyTooLarge, BodyUnfinished, read_at_most
from eim.web.connections import Polled

PATH: Final = "/gsma/rsp2/asn1"
MEDIA_TYPE: Final = "application/x-gsma-rsp-asn1"
ADMIN_PROTOCOL: Final = "gsma/rsp/v2.1.0"
_WELL_FORMED: Final = re.compile(r"gsma/rsp/v\d{1,3}\.\d{1,3}\.\d{1,3}")
_RETRY_AFTER: Final = "30"  # seconds
_AFTER_FLOOD: Final = "3600"

_log = structlog.get_logger()


class Answer(msgspec.Struct, frozen=True):
    """What goes back. `media_type` is None where there is no body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    media_type: str | None = None


class EsipaEndpoint:
    """POST /gsma/rsp2/asn1, for every function of ESipa, behind Starlette."""

    def __init__(self, esipa: Esipa, polled: Polled, body_limit: int, deadline: float) -> None:
        self._esipa = esipa
        self._polled = polled
        self._body_limit = body_limit  # octets
        self._deadline = deadline  # seconds for the whole body

    async def post(self, request: Request) -> Response:
        """One message. The answer leaves after the commit that remembers it."""
        admin = admin_protocol(request.headers.get("x-admin-protocol", ""))
        answer = await self._answer(request, admin)
        return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.media_type)

    async def _answer(self, request: Request, admin: str) -> Answer:
        if not is_asn1(request.headers.get("content-type", MEDIA_TYPE)):
            return wrong_media_type(admin)
        try:
            received = read(await read_at_most(request, self._body_limit, self._deadline))
            if (eid := polled_eid(received)) is not None:
                self._polled.note(request, eid)
            peer = request.client.host if request.client else "unknown"
            return await answer_to(self._esipa, received, Source(peer, self._polled.last(request)), admin)
        except EimError as error:
            return refusal(error, admin)


def read(body: bytes) -> Received:
    """The message in a body. Raises Malformed; a body of the JSON binding raises JsonBody."""
    if body.startswith(b"{"):
        raise JsonBody(f"this path takes {MEDIA_TYPE}, which begins with no brace")
    return receive(body)


class JsonBody(Malformed):
    """The JSON binding's message under this one's media type: 415."""

    code = "json-body"


async def answer_to(esipa: Esipa, received: Received, source: Source, admin: str) -> Answer:
    """What the eIM says to one message; it may be sent, for all is committed. Raises EimError."""
    answer = await esipa.answer(received, source)
    if answer is None:  # HandleNotification: stored, nothing to say
        return Answer(204, {"X-Admin-Protocol": admin})
    return Answer(200, {"X-Admin-Protocol": admin}, answer, MEDIA_TYPE)


def admin_protocol(asked: str) -> str:
    """The X-Admin-Protocol to answer with: what was asked when it is well formed, v2.1.0 otherwise."""
    asked = asked.strip()
    return asked if _WELL_FORMED.fullmatch(asked) else ADMIN_PROTOCOL


def is_asn1(content_type: str) -> bool:
    """Parameters and case don't matter, and old peers leave the type out; what is clearly something else does."""
    return content_type.split(";", maxsplit=1)[0].strip().lower() == MEDIA_TYPE


def wrong_media_type(admin: str) -> Answer:
    return plain(415, f"send ESipa messages as {MEDIA_TYPE}", admin)


def refusal(error: EimError, admin: str) -> Answer:
    """What `error` looks like to a device. Raises it when it is a fault of ours."""
    match error:
        case Unavailable():
            _log.warning("esipa.unavailable", code=error.code)
            return plain(503, "try again later", admin, {"Retry-After": _RETRY_AFTER})
        case Flooded() | Guessing():
            return _too_much(error, admin)
        case BodyTooLarge():  # what is left of the body is not read: the connection can't be used again
            return plain(413, "the message is too large", admin, {"Connection": "close"})
        case BodyUnfinished():
            return plain(408, "the message was not complete in time", admin, {"Connection": "close"})
        case JsonBody():
            return plain(415, str(error), admin)
        case Malformed():
            _log.info("esipa.malformed", why=str(error))
            return plain(400, "this is no ESipa message", admin)
        case _:
            raise error


def _too_much(error: Flooded | Guessing, admin: str) -> Answer:
    if isinstance(error, Guessing):
        return plain(429, "too much came from this network", admin, {"Retry-After": str(error.retry_after)})
    # It is not stored, so it is not acknowledged: the IPA keeps it.
    return plain(429, "too much came for this device within an hour", admin, {"Retry-After": _AFTER_FLOOD})


def plain(status: int, text: str, admin: str, more: Mapping[str, str] | None = None) -> Answer:
    """An answer of one line of text."""
    headers = {"X-Admin-Protocol": admin, **(more or {})}
    return Answer(status, headers, f"{text}\n".encode(), "text/plain; charset=utf-8")
