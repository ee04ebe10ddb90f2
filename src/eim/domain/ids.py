"""EID, ICCID, bucket and the ids we draw: octets inside, text only at the edges."""

import hashlib
from typing import Final, NewType
from uuid import UUID

from eim.errors import InvalidEid, InvalidIccid

Eid = NewType("Eid", bytes)  # 16 octets, plain BCD as on the wire
Iccid = NewType("Iccid", bytes)  # 10 octets, nibble-swapped as on the wire
Bucket = NewType("Bucket", int)  # 0..1023
TransactionId = NewType("TransactionId", bytes)  # 1..16 octets; ours: 16, the first two are the bucket
TenantId = NewType("TenantId", int)
IdentityId = NewType("IdentityId", int)

BUCKETS: Final = 1024
DEFAULT_TENANT: Final = TenantId(1)
DEFAULT_GATE: Final = 1  # the gate of what belongs to no campaign

_SWAPPED: Final = bytes(octet >> 4 | (octet & 15) << 4 for octet in range(256))  # each octet with its digits exchanged


def bucket_of(eid: Eid) -> Bucket:
    """The first 10 bits of SHA-256 over the 16 octets: fixed for ever (design 3.5)."""
    digest = hashlib.sha256(eid).digest()
    return Bucket(digest[0] << 2 | digest[1] >> 6)


def eid_check_digits_hold(eid: Eid) -> bool:
    """Whether the 32 digits, taken as a number, leave 1 when divided by 97 (ISO 7064, SGP.02 section 2.2.2)."""
    text = eid.hex()
    return text.isdigit() and int(text) % 97 == 1


def read_eid(text: str) -> Eid:
    """An EID of 32 digits, whatever its check digits (test equipment has wrong ones). Raises InvalidEid."""
    digits = text.strip().replace(" ", "")
    if len(digits) != 32 or not (digits.isascii() and digits.isalnum()):
        raise InvalidEid(f"an EID has 32 digits, this has {len(digits)} characters: give those printed on the card")
    try:
        return Eid(bytes.fromhex(digits))
    except ValueError:
        raise InvalidEid("an EID has digits only: give the 32 digits printed on the card") from None


def parse_eid(text: str) -> Eid:
    """An EID of 32 digits whose check digits hold, so a mistyped one never becomes a device. Raises InvalidEid."""
    eid = read_eid(text)
    if not eid_check_digits_hold(eid):
        raise InvalidEid(f"the check digits of EID {format_eid(eid)} don't match the rest: a digit is mistyped")
    return eid


def format_eid(eid: Eid) -> str:
    """The 32 digits."""
    return eid.hex().upper()


def parse_iccid(text: str) -> Iccid:
    """An ICCID of 18 to 20 characters; test cards use A..F and wrong Luhn digits, so both pass. Raises InvalidIccid."""
    digits = text.strip().upper()
    if not 18 <= len(digits) <= 20 or any(c not in "0123456789ABCDEF" for c in digits):
        raise InvalidIccid("an ICCID has 18 to 20 digits: give the number printed on the SIM or shown by the card")
    padded = digits.ljust(20, "F")
    return Iccid(bytes.fromhex("".join(padded[i + 1] + padded[i] for i in range(0, 20, 2))))


def format_iccid(iccid: Iccid) -> str:
    """The digits, without the padding F at the end."""
    return iccid.translate(_SWAPPED).hex().upper().rstrip("F")


def derive_operation_id(control: UUID, position: int, eid: Eid) -> UUID:
    """The id of the operation that line `position` of the request `control` asks of `eid`.

    Derived, so the same request again names the same operations; a version 8 UUID whose first two octets are
    the bucket, so reading it by id touches one partition (design 3.5).
    """
    digest = hashlib.sha256(operation_seed(control, position) + eid).digest()
    return with_bucket(bucket_of(eid), digest[:14])


def operation_seed(control: UUID, position: int) -> bytes:
    """What comes in front of the EID in the digest that an operation's id is made of."""
    return control.bytes + position.to_bytes(8, "big")


def with_bucket(bucket: Bucket, rest: bytes) -> UUID:
    """A version 8 UUID of the bucket (2 octets) and `rest` (14 octets, six bits of it given up for the form)."""
    raw = bytearray(bucket.to_bytes(2, "big") + rest)
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return UUID(bytes=bytes(raw))


def bucket_in(public_id: UUID) -> Bucket | None:
    """The bucket that an id of ours carries; None when it can't be one of ours."""
    value = int.from_bytes(public_id.bytes[:2], "big")
    return Bucket(value) if value < BUCKETS else None


def transaction_of(bucket: Bucket, random: bytes) -> TransactionId:
    """An eimTransactionId of 16 octets: the bucket, then 14 random octets."""
    return TransactionId(bucket.to_bytes(2, "big") + random)


def bucket_in_transaction(transaction: TransactionId) -> Bucket | None:
    """The bucket that our own transaction ids carry; None when it isn't one of ours."""
    if len(transaction) != 16:
        return None
    value = int.from_bytes(transaction[:2], "big")
    return Bucket(value) if value < BUCKETS else None
