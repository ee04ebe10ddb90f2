"""Whose message is it? (design 3.7)"""

from typing import Final

import msgspec

from eim.asn1.sgp32 import DataError, DataResponse, ErrorSigned, ErrorUnsigned, Payload, ResultSigned, Unreadable
from eim.domain.ids import Bucket, Eid, TransactionId, bucket_in_transaction, bucket_of
from eim.protocol.trust import eid_in_certificate
from eim.store import Db, packages

_EID_OCTETS: Final = 16


class Source(msgspec.Struct, frozen=True):
    """Where a message came from: nothing in it is proven."""

    peer: str  # for the log and for strays
    polled: Eid | None = None  # the EID that last polled on this connection


def transaction_in(payload: Payload) -> TransactionId | None:
    """The eimTransactionId that a result carries."""
    match payload:
        case ResultSigned() | ErrorSigned():
            found = payload.data.transaction_id
        case DataResponse():
            found = payload.data.transaction_id
        case Unreadable():
            return None
        case _:
            found = payload.transaction_id
    return TransactionId(found) if found else None


async def whose(db: Db, eid: bytes | None, payload: Payload, source: Source) -> tuple[Bucket, Eid] | None:
    """The eUICC that a result speaks of: tag 5A, our transaction id, the certificate inside, the polling connection.

    One indexed look-up at most, at any fleet size. None: it names nobody.
    """
    if eid is not None and len(eid) == _EID_OCTETS:
        return bucket_of(Eid(eid)), Eid(eid)
    transaction = transaction_in(payload)
    if transaction is not None and (found := await _by_transaction(db, transaction)):
        return found
    if certified := _certified(payload):
        return bucket_of(certified), certified
    if source.polled is not None:
        return bucket_of(source.polled), source.polled
    return None


async def _by_transaction(db: Db, transaction: TransactionId) -> tuple[Bucket, Eid] | None:
    bucket = bucket_in_transaction(transaction)
    if bucket is not None and (eid := await packages.owner_of(db, bucket, transaction)):
        return bucket, eid
    return await packages.owner_of_foreign(db, transaction)


def _certified(payload: Payload) -> Eid | None:
    if isinstance(payload, DataResponse) and payload.data.euicc_certificate is not None:
        return eid_in_certificate(payload.data.euicc_certificate)
    return None


def is_error_without_signature(payload: Payload) -> bool:
    """Whether anybody could have sent it."""
    return isinstance(payload, ErrorUnsigned | DataError)
