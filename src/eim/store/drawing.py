"""Ids of rows that nobody names before they are there: of results, events, audit records and requests.

They are drawn here, many at once, for gen_random_uuid opens, reads and closes a file for each where Postgres is built
without OpenSSL, as the embedded one is. That costs as much as the row.
"""

from collections.abc import Sequence
from secrets import token_bytes
from typing import Final
from uuid import UUID

from asyncpg.pgproto import pgproto

from eim.domain.ids import Bucket

_SIZE: Final = 16
# Version 8 and the variant, in their octets, around what was drawn (RFC 9562 section 5.8).
_VERSION: Final = bytes(octet & 0x0F | 0x80 for octet in range(256))
_VARIANT: Final = bytes(octet & 0x3F | 0x80 for octet in range(256))


def draw(buckets: Sequence[Bucket]) -> list[UUID]:
    """A new id for a row of each of these buckets, which it carries as `with_bucket` has it."""
    octets = bytearray(token_bytes(_SIZE * len(buckets)))
    octets[0::_SIZE] = bytes([bucket >> 8 for bucket in buckets])
    octets[1::_SIZE] = bytes([bucket & 0xFF for bucket in buckets])
    octets[6::_SIZE] = octets[6::_SIZE].translate(_VERSION)
    octets[8::_SIZE] = octets[8::_SIZE].translate(_VARIANT)
    whole = bytes(octets)
    return [pgproto.UUID(whole[at : at + _SIZE]) for at in range(0, len(whole), _SIZE)]
