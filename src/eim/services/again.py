"""What another transaction got in the way of is done again: it was rolled back whole."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from eim.errors import Contended

_PAUSES: Final = (0.0, 0.02, 0.1)  # seconds; the other one has gone on by then

T = TypeVar("T")


async def again(deed: Callable[[], Awaitable[T]]) -> T:
    """Do `deed`, of which nothing lasts that was not committed; up to three times more. Raises Contended after that."""
    for pause in _PAUSES:
        try:
            return await deed()
        except Contended:
            await asyncio.sleep(pause)
    return await deed()
