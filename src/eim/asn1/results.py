"""What an eUICC answers to a package: results and errors, signed or not (SGP.32 section 2.11.2.1).

Where a class has `raw`, that is the whole TLV as received; a value made by us leaves it empty. Encoding gives `raw`
when there is one, so what came is never written anew.
"""

import msgspec


class ProfileInfo(msgspec.Struct, frozen=True):
    """One profile as the card lists it. A text that is no UTF-8, or has a NUL, reads as None."""

    iccid: bytes | None = None
    isdp_aid: bytes | None = None
    state: int | None = None  # 0 disabled, 1 enabled
    nickname: str | None = None
    service_provider: str | None = None
    name: str | None = None
    profile_class: int | None = None  # 0 test, 1 provisioning, 2 operational
    ppr: bytes | None = None  # content of the BIT STRING: unused bits, then the bits
    fallback: bool = False
    fallback_allowed: bool | None = None
    raw: bytes = b""


class EuiccResult(msgspec.Struct, frozen=True):
    """The result of one operation. One that can't be read has kind "unknown" and only `raw`."""

    tag: int  # as written: 0x83, 0xBF2D ..
    kind: str
    code: int | None = None  # 0 is success for most kinds; None where another member says more
    profiles: tuple[ProfileInfo, ...] | None = None
    association_token: int | None = None
    eims: tuple[tuple[str, int | None], ...] | None = None  # (eimId, eimIdType)
    raw: bytes = b""


class ResultData(msgspec.Struct, frozen=True):
    eim_id: str
    counter: int
    transaction_id: bytes | None
    seq_number: int  # the card's own count, for acknowledging
    results: tuple[EuiccResult, ...]


class ResultSigned(msgspec.Struct, frozen=True):
    signed: bytes  # the data TLV as received: what the signature covers, before the token
    data: ResultData
    signature: bytes  # content of 5F37
    raw: bytes = b""  # the whole BF51


class ErrorData(msgspec.Struct, frozen=True):
    eim_id: str
    counter: int
    transaction_id: bytes | None
    code: int  # 3 invalidEid, 4 replayError, 6 counterValueOutOfRange, 15 sizeOverflow, 104 ecallActive, 127


class ErrorSigned(msgspec.Struct, frozen=True):
    signed: bytes
    data: ErrorData
    signature: bytes
    raw: bytes = b""


class ErrorUnsigned(msgspec.Struct, frozen=True):
    """The eUICC knows no such eIM, or the signature or the coding was wrong. It proves nothing."""

    eim_id: str
    transaction_id: bytes | None = None
    association_token: int | None = None
    code: int | None = None  # v1.3: 15 sizeOverflow, 127
    raw: bytes = b""


PackageResult = ResultSigned | ErrorSigned | ErrorUnsigned
