"""Who is calling: a bearer token in the Authorization header, or, for the status page only, its Basic form."""

import base64
import binascii

from starlette.requests import Request

from eim.errors import Forbidden
from eim.services.tokens import Caller, Scope, Tokens, refuse_unauthenticated


async def authenticate(request: Request, tokens: Tokens) -> Caller:
    """The caller behind a bearer token. Raises Unauthenticated, which tells nothing of why."""
    scheme, secret = _authorization(request)
    if scheme != "bearer":
        raise refuse_unauthenticated()
    return await tokens.verify(secret)


async def authenticate_person(request: Request, tokens: Tokens) -> Caller:
    """The caller at a browser: a token as the password of any user name, or a bearer token."""
    scheme, secret = _authorization(request)
    if scheme == "basic":
        return await tokens.verify(_password(secret))
    return await authenticate(request, tokens)


def require(caller: Caller, scope: Scope) -> None:
    """Raises Forbidden unless the caller's token has `scope`."""
    if scope not in caller.scopes:
        raise Forbidden(f"this token may not do that: it takes one with the scope {scope.value}")


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), rest.strip()


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        raise refuse_unauthenticated() from None
