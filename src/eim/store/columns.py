"""What asyncpg takes for an array, told in a way that it can ask quickly.

It asks of each element of each array whether it is an array, too, by two abstract base classes. Each question is a call
of Python and costs as much as writing the element; statements for many rows have some seventy elements a row. Ours are
of built-in types only, for which `isinstance` needs no call.
"""

from typing import Final

from asyncpg.protocol import protocol

_NAME: Final = "IterableABC"
_VIEWS: Final[tuple[object, ...]] = ({}.keys(), {}.values())
# All that a column, or an array in one, may be. Text, octets and mappings are values to asyncpg either way.
ARRAYS: Final[tuple[type, ...]] = (list, tuple, set, frozenset, range, *map(type, _VIEWS))


def ask_quickly() -> bool:
    """Have every connection of this process ask so; whether this asyncpg can be told. Again changes nothing."""
    if not hasattr(protocol, _NAME):
        return False
    setattr(protocol, _NAME, ARRAYS)
    return True
