"""ESipa over HTTPS, ASN.1 binding (SGP.32 sections 6.1, 6.3). Receive, serve, send."""

import re
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from eim.errors import EimError, Flooded, Malformed, Unavailable
from eim.protocol.esipa import receive
from eim.services.esipa import Esipa, polled_eid
from eim.services.whose import Source
from eim.web.body import BodyTooLarge, BodyUnfinished, read_at_most
from eim.web.connections import Polled

PATH: Final = "/gsma/rsp2/asn1"
_MEDIA_TYPE: Final = "application/x-gsma-rsp-asn1"
_ADMIN_PROTOCOL: Final = "gsma/rsp/v2.1.0"
_WELL_FORMED: Final = re.compile(r"gsma/rsp/v\d{1,3}\.\d{1,3}\.\d{1,3}")
_RETRY_AFTER: Final = "30"  # seconds
_AFTER_FLOOD: Final = "3600"

_log = structlog.get_logger()


class EsipaEndpoint:
    """POST /gsma/rsp2/asn1, for every function of ESipa."""

    def __init__(self, esipa: Esipa, polled: Polled, body_limit: int, deadline: float) -> None:
        self._esipa = esipa
        self._polled = polled
        self._body_limit = body_limit  # octets
        self._deadline = deadline  # seconds for the whole body

    async def post(self, request: Request) -> Response:
        """One message. The answer leaves after the commit that remembers it."""
        try:
            return await self._answer(request)
        except EimError as error:
            return _refusal(request, error)

    async def _answer(self, request: Request) -> Response:
        if not _is_asn1(request):
            return _plain(request, 415, f"send ESipa messages as {_MEDIA_TYPE}")
        body = await read_at_most(request, self._body_limit, self._deadline)
        if body.startswith(b"{"):  # the JSON binding's message under this one's media type
            return _plain(request, 415, f"this path takes {_MEDIA_TYPE}, which begins with no brace")
        received = receive(body)
        if (eid := polled_eid(received)) is not None:
            self._polled.note(request, eid)
        answer = await self._esipa.answer(received, _source(request, self._polled))
        if answer is None:  # HandleNotification: stored, nothing to say
            return Response(status_code=204, headers=admin_protocol(request))
        return Response(answer, media_type=_MEDIA_TYPE, headers=admin_protocol(request))


def admin_protocol(request: Request) -> dict[str, str]:
    """The X-Admin-Protocol to answer with: what was asked when it is well formed, v2.1.0 otherwise."""
    asked = request.headers.get("x-admin-protocol", "").strip()
    return {"X-Admin-Protocol": asked if _WELL_FORMED.fullmatch(asked) else _ADMIN_PROTOCOL}


def _is_asn1(request: Request) -> bool:
    """Parameters and case don't matter, and old peers leave the type out; what is clearly something else does."""
    media_type = request.headers.get("content-type", _MEDIA_TYPE).split(";")[0].strip().lower()
    return media_type == _MEDIA_TYPE


def _source(request: Request, polled: Polled) -> Source:
    peer = f"{request.client.host}" if request.client else "unknown"
    return Source(peer, polled.last(request))


def _refusal(request: Request, error: EimError) -> Response:
    match error:
        case Unavailable():
            _log.warning("esipa.unavailable", code=error.code)
            response = _plain(request, 503, "try again later")
            response.headers["Retry-After"] = _RETRY_AFTER
            return response
        case Flooded():  # not stored, so not acknowledged: the IPA keeps it
            response = _plain(request, 429, "too much came for this device within an hour")
            response.headers["Retry-After"] = _AFTER_FLOOD
            return response
        case BodyTooLarge():
            return _closing(_plain(request, 413, "the message is too large"))
        case BodyUnfinished():
            return _closing(_plain(request, 408, "the message was not complete in time"))
        case Malformed():
            _log.info("esipa.malformed", why=str(error))
            return _plain(request, 400, "this is no ESipa message")
        case _:
            raise error


def _plain(request: Request, status: int, text: str) -> Response:
    return Response(text + "\n", status_code=status, media_type="text/plain", headers=admin_protocol(request))


def _closing(response: Response) -> Response:
    """What is left of the body is not read: the connection can't be used again."""
    response.headers["Connection"] = "close"
    return response
