"""Requests about many: what happens to the good lines when some are bad, and the same request again."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from eim.domain.ids import Eid, TenantId, format_eid, read_eid
from eim.errors import EimError, InvalidLines, InvalidRequest, KeyReused
from eim.store import Db, orders
from eim.store.orders import Repeat

MOST_LINES: Final = 100_000  # of one request
_KEY_LENGTH: Final = 200

T = TypeVar("T")


class OnError(StrEnum):
    REFUSE = "refuse"  # one bad line, and nothing happens
    SKIP = "skip"  # the good ones are taken, the bad ones reported


class Problem(msgspec.Struct, frozen=True):
    """Why a line can't be taken. Positions count from 0."""

    position: int
    code: str
    text: str


class Problems:
    """Collects what is wrong with the lines of one request."""

    def __init__(self) -> None:
        self._found: dict[int, EimError] = {}

    def add(self, position: int, error: EimError) -> None:
        """The first problem of a line is the one reported."""
        self._found.setdefault(position, error)

    def has(self, position: int) -> bool:
        return position in self._found

    def copy(self) -> "Problems":
        """The same as they are now: what is done again after a failure begins with these."""
        other = Problems()
        other._found = dict(self._found)
        return other

    def all(self) -> tuple[Problem, ...]:
        """The problems, in the order of the lines."""
        return tuple(Problem(at, error.code, str(error)) for at, error in sorted(self._found.items()))

    def settle(self, on_error: OnError, size: int) -> tuple[Problem, ...]:
        """The problems, in the order of the lines.

        Raises InvalidLines, caused by the first of them, unless they may be skipped and some lines are good.
        """
        found = self.all()
        if found and (on_error is OnError.REFUSE or len(found) == size):
            raise InvalidLines(
                f"{len(found)} of {size} lines can't be taken, so nothing was done: correct them",
                [(problem.position, problem.text) for problem in found],
            ) from self._found[found[0].position]
        return found


def read_eids(texts: Sequence[str], problems: Problems) -> list[Eid | None]:
    """The EIDs of the lines; None with a problem noted where the text is none."""
    return [_read_eid(position, text, problems) for position, text in enumerate(texts)]


def name_duplicates(eids: Sequence[Eid | None], problems: Problems) -> None:
    """Note every line whose EID came before, naming the line it repeats."""
    first: dict[Eid, int] = {}
    for position, eid in enumerate(eids):
        if eid is not None and first.setdefault(eid, position) != position:
            text = f"EID {format_eid(eid)} is the same as in line {first[eid] + 1}: name it once"
            problems.add(position, InvalidRequest(text))


async def answered_before(db: Db, tenant: TenantId, repeat: Repeat | None, control: UUID, kind: type[T]) -> T | None:
    """What the same request was answered before; None when it is new, and then its key is taken.

    Raises KeyReused when the key came with another request.
    """
    if repeat is None:
        return None
    check_key(repeat.key)
    known = await orders.claim(db, tenant, repeat, control)
    if known is None:
        return None
    if known.request_hash != repeat.request_hash:
        raise KeyReused("this Idempotency-Key came before with another request: use a new key for a new request")
    return msgspec.convert(known.answer, kind)


def check_key(key: str) -> None:
    """Raises InvalidRequest for what can't be an Idempotency-Key."""
    if not (0 < len(key.strip()) <= _KEY_LENGTH and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"an Idempotency-Key has 1 to {_KEY_LENGTH} printable ASCII characters: a UUID is a good one"
        )


async def remember(db: Db, tenant: TenantId, repeat: Repeat | None, answer: msgspec.Struct) -> None:
    """Keep the answer for the same request again, in the transaction of the deed."""
    if repeat is not None:
        await orders.remember(db, tenant, repeat, msgspec.to_builtins(answer))


def _read_eid(position: int, text: str, problems: Problems) -> Eid | None:
    try:
        return read_eid(text)
    except EimError as error:
        problems.add(position, error)
        return None
