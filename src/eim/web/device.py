"""The app of the device role: ESipa, and whether it can serve. Nothing of the operator's side is reachable here."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from eim.web.esipa import PATH, EsipaEndpoint, admin_protocol

Ready = Callable[[], Awaitable[str | None]]  # None: ready; otherwise why not, without names or addresses


def device_app(esipa: EsipaEndpoint, ready: Ready) -> Starlette:
    """POST /gsma/rsp2/asn1, GET /healthz, GET /readyz."""
    probes = Probes(ready)
    app = Starlette(
        routes=[
            Route(PATH, esipa.post, methods=["POST"]),
            Route("/healthz", probes.health, methods=["GET"]),
            Route("/readyz", probes.readiness, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False  # IPAs follow no redirect: another path is answered 404
    return app


class Probes:
    """Live: the process answers. Ready: it could serve a device now."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    async def health(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readiness(self, _: Request) -> Response:
        why = await self._ready()
        return PlainTextResponse("ready\n") if why is None else PlainTextResponse(f"{why}\n", status_code=503)


async def _refused(request: Request, error: Exception) -> Response:
    """What fails before dispatch (404, 405) carries X-Admin-Protocol all the same."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    kept = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return PlainTextResponse(f"{status}\n", status_code=status, headers={**kept, **_admin(request)})


async def _failed(request: Request, _: Exception) -> Response:
    return PlainTextResponse("internal error\n", status_code=500, headers=_admin(request))


def _admin(request: Request) -> dict[str, str]:
    return {"X-Admin-Protocol": admin_protocol(request.headers.get("x-admin-protocol", ""))}
