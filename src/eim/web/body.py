"""Reading a request's body: bounded in size and in time, before anything looks at it."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from eim.errors import Refused


class BodyTooLarge(Refused):
    """More octets than the configuration allows: 413."""

    code = "body-too-large"


class BodyUnfinished(Refused):
    """The body did not come within its deadline, or its sender went away: 408, and the connection is closed."""

    code = "body-unfinished"


async def read_at_most(request: Request, limit: int, deadline: float) -> bytes:
    """The body, of at most `limit` octets, within `deadline` seconds. Raises BodyTooLarge, BodyUnfinished."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(f"the body is announced with {announced} octets, at most {limit} are taken")
    try:
        async with asyncio.timeout(deadline):
            return await _read(request, limit)
    except TimeoutError:
        raise BodyUnfinished(f"the body was not complete within {deadline:g} seconds") from None
    except ClientDisconnect:
        raise BodyUnfinished("the connection ended before the body did") from None


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLarge(f"the body has more than the {limit} octets that are taken")
        parts.append(part)
    return b"".join(parts)
