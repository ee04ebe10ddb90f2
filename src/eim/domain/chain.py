"""How audit records are chained by hash, and how the heads of the chains are told (design 3.13). Pure."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket
from eim.errors import Malformed

START: Final = bytes(32)  # what the first link of a chain follows
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD_SIZE: Final = 2 + 8 + 32
_LINK: Final = b"eim audit link 1"
_CHECKPOINT: Final = b"eim audit checkpoint 1"


class Record(msgspec.Struct, frozen=True):
    """An audit record, all of it."""

    bucket: Bucket
    id: UUID
    tenant: int
    at: datetime
    actor: str
    action: str
    subject: str
    data: Mapping[str, object]


class Head(msgspec.Struct, frozen=True):
    """The last link of a bucket's chain; seq 0 with START where there is none yet."""

    seq: int
    hash: bytes  # 32 octets


class Checkpoint(msgspec.Struct, frozen=True):
    """What is signed: the heads that changed, behind all that was signed before."""

    seq: int  # 1, 2, 3, ...
    at: datetime
    previous: bytes  # the hash of the checkpoint before; START for the first
    heads: bytes  # as `write_heads` makes them

    @property
    def tbs(self) -> bytes:
        """The octets that are signed."""
        said = (_CHECKPOINT, self.previous, self.seq, _moment(self.at), self.heads)
        return msgspec.msgpack.encode(said)

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.tbs).digest()


def link_hash(previous: bytes, seq: int, linked_at: datetime, record: Record) -> bytes:
    """SHA-256 over the hash before, the place, the time of linking and every field of the record."""
    data = msgspec.json.encode(record.data, order="sorted")
    whole = (record.bucket, record.id.bytes, record.tenant, _moment(record.at), record.actor, record.action)
    return hashlib.sha256(
        msgspec.msgpack.encode((_LINK, previous, seq, _moment(linked_at), *whole, record.subject, data))
    ).digest()


def write_heads(heads: Mapping[Bucket, Head]) -> bytes:
    """42 octets a head, in the order of the buckets."""
    return b"".join(
        bucket.to_bytes(2, "big") + heads[bucket].seq.to_bytes(8, "big") + heads[bucket].hash
        for bucket in sorted(heads)
    )


def read_heads(octets: bytes) -> Sequence[tuple[Bucket, Head]]:
    """Raises Malformed for what `write_heads` can't have made."""
    if len(octets) % _HEAD_SIZE:
        raise Malformed(f"{len(octets)} octets of heads, {_HEAD_SIZE} each")
    return list(_heads(octets))


def _heads(octets: bytes) -> Iterator[tuple[Bucket, Head]]:
    for at in range(0, len(octets), _HEAD_SIZE):
        bucket, seq = octets[at : at + 2], octets[at + 2 : at + 10]
        hashed = octets[at + 10 : at + _HEAD_SIZE]
        yield Bucket(int.from_bytes(bucket, "big")), Head(int.from_bytes(seq, "big"), hashed)


def _moment(at: datetime) -> int:
    """Microseconds since 1970, as exact as the database keeps them."""
    return (at - _EPOCH) // _MICROSECOND
