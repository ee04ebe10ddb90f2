"""Cursors: where a listing goes on. Opaque to the caller, and good only for the listing that gave them."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from eim.errors import InvalidCursor

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # before every row
LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)  # after every row
_CHECK: Final = 8  # octets
_REFUSAL: Final = "this cursor is not one of this listing: start again without it"

T = TypeVar("T")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last row of a page: its time, and the key that tells it from others of the same time."""

    at: datetime
    key: bytes


class Listing(msgspec.Struct, frozen=True):
    """What a cursor belongs to: the tenant, the resource and its filters."""

    tenant: int
    resource: str
    filters: tuple[str | None, ...]


def filters_of(query: msgspec.Struct) -> tuple[str | None, ...]:
    """What a page is a page of: all of its query but how many, from where, and which fields."""
    said = msgspec.to_builtins(query)
    return tuple(f"{name}={said[name]}" for name in said if name not in ("limit", "cursor", "fields"))


def write(listing: Listing, place: Place) -> str:
    """The cursor that goes on behind `place`."""
    body = msgspec.msgpack.encode(place)
    return base64.urlsafe_b64encode(_check(listing, body) + body).rstrip(b"=").decode()


def read(listing: Listing, cursor: str | None, start: Place, key_size: int) -> Place:
    """The place in `cursor`, `start` without one.

    Raises InvalidCursor for one that was altered or belongs to other filters. The check keeps slips apart, not
    attackers: whoever forges a cursor sees nothing but the rows of his own tenant.
    """
    if cursor is None:
        return start
    try:
        octets = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, body = octets[:_CHECK], octets[_CHECK:]
        place = msgspec.msgpack.decode(body, type=Place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidCursor(_REFUSAL) from None
    if check != _check(listing, body) or len(place.key) != key_size or write(listing, place) != cursor:
        raise InvalidCursor(_REFUSAL)
    return place


def split(rows: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """The rows of a page, of which one more than `limit` was asked for, and the last one when more follow."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


def _check(listing: Listing, body: bytes) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(listing) + body).digest()[:_CHECK]
