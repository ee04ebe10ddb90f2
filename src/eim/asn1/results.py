"""What an eUICC answers to a package: results and errors, signed or not (SGP.32 section 2.11.2.1).

Where a class has `raw`, that is the whole TLV as received; a value made by us leaves it empty. Encoding gives `raw`
when there is one, so what came is never written anew.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from eim.asn1 import der
from eim.asn1.der import Node
from eim.asn1.kinds import Bits, Boolean, Integer, LooseText, Octets
from eim.asn1.packages import EIM_ID, ICCID, TRANSACTION
from eim.asn1.schema import Kept, ListOf, Member, Sequence, Tagged
from eim.errors import Malformed


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


class Operator(msgspec.Struct, frozen=True):
    """Whose profiles a rule is for: MCC and MNC as in TS 24.008 (EEEEEE: anybody's), and the group ids."""

    plmn: bytes  # 3 octets
    gid1: bytes | None = None
    gid2: bytes | None = None


class Rule(msgspec.Struct, frozen=True):
    """One rule of the rules authorisation table (SGP.22 section 2.9.2.2)."""

    ppr_ids: frozenset[int]  # 0 update control, 1 ppr1 (no disable), 2 ppr2 (no delete)
    operators: tuple[Operator, ...]
    flags: frozenset[int]  # 0 consentRequired

    @property
    def said(self) -> dict[str, object]:
        """In plain words."""
        return {
            "pprs": [_PPRS.get(number, str(number)) for number in sorted(self.ppr_ids)],
            "operators": [
                {name: octets.hex().upper() for name, octets in msgspec.structs.asdict(each).items() if octets}
                for each in self.operators
            ],
            "consentRequired": 0 in self.flags,
        }


_PPRS: Final = {0: "pprUpdateControl", 1: "ppr1", 2: "ppr2"}


class EuiccResult(msgspec.Struct, frozen=True):
    """The result of one operation. One that can't be read has kind "unknown" and only `raw`."""

    tag: int  # as written: 0x83, 0xBF2D ..
    kind: str
    code: int | None = None  # 0 is success for most kinds; None where another member says more
    profiles: tuple[ProfileInfo, ...] | None = None
    association_token: int | None = None
    eims: tuple[tuple[str, int | None], ...] | None = None  # (eimId, eimIdType)
    rules: tuple[Rule, ...] | None = None  # of getRAT; None: they can't be read
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


class Unreadable(msgspec.Struct, frozen=True):
    """Sound TLVs in the place of something we know, that don't say it. Evidence, and no reason to refuse the rest."""

    raw: bytes


PROFILE: Final = Kept(
    Tagged(
        0xE3,
        Sequence(
            ProfileInfo,
            (
                Member("iccid", ICCID, None),
                Member("isdp_aid", Tagged(0x4F, Octets(1, 16)), None),
                Member("state", Tagged(0x9F70, Integer()), None),
                Member("nickname", Tagged(0x90, LooseText()), None),
                Member("service_provider", Tagged(0x91, LooseText()), None),
                Member("name", Tagged(0x92, LooseText()), None),
                Member("profile_class", Tagged(0x95, Integer()), None),
                Member("ppr", Tagged(0x99, Octets()), None),
                Member("fallback", Tagged(0x9F26, Boolean()), False),
                Member("fallback_allowed", Tagged(0x9F67, Boolean()), None),
            ),
        ),
    )
)


class _EimIdInfo(msgspec.Struct, frozen=True):
    eim_id: str
    id_type: int | None


_EIM_ID_INFO: Final = Tagged(
    0x30,
    Sequence(
        _EimIdInfo,
        (
            Member("eim_id", Tagged(0x80, EIM_ID)),
            Member("id_type", Tagged(0x82, Integer(), also=(0x84,)), None),  # 84 in v1.0.1
        ),
    ),
)

_OPERATOR: Final = Tagged(
    0x30,
    Sequence(
        Operator,
        (
            Member("plmn", Tagged(0x80, Octets(3, 3))),
            Member("gid1", Tagged(0x81, Octets()), None),
            Member("gid2", Tagged(0x82, Octets()), None),
        ),
    ),
)
_RULE: Final = Tagged(
    0x30,
    Sequence(
        Rule,
        (
            Member("ppr_ids", Tagged(0x80, Bits())),
            Member("operators", Tagged(0xA1, ListOf(_OPERATOR))),
            Member("flags", Tagged(0x82, Bits())),
        ),
    ),
)

# The kinds whose whole content is a code, by tag.
_CODES: Final = {
    0x83: "enable",
    0x84: "disable",
    0x85: "delete",
    0x87: "configureImmediateEnable",
    0x89: "deleteEim",
    0x8A: "updateEim",
    0x8C: "rollback",
    0x8D: "setFallbackAttribute",
    0x8E: "unsetFallbackAttribute",
    0x02: "processingTerminated",
}
_LIST_PROFILES: Final = 0xBF2D
_GET_RAT: Final = 0xA6
_ADD_EIM: Final = 0xA8
_LIST_EIM: Final = 0xAB
_SET_ADDRESS: Final = 0xBF65
_LISTS: Final = (0xA0, 0x30)  # the list alternative of a CHOICE, also under a universal tag


def read_result(data: bytes, node: Node) -> EuiccResult:
    """One EuiccResultData. What can't be read is kept as "unknown": a result is never refused for one part of it."""
    raw = der.whole(data, node)
    try:
        tag = node[0]
        if tag in _CODES:
            return EuiccResult(tag, _CODES[tag], Integer().read(data, node), raw=raw)
        if tag in _READERS:
            return _READERS[tag](data, der.undouble(data, node), raw)
    except Malformed:
        pass
    return EuiccResult(node[0], "unknown", raw=raw)


def results_of_codes(codes: Iterable[tuple[int, int, bytes]]) -> tuple[EuiccResult, ...] | None:
    """The results whose (tag, code, octets) these are; None when one of them is of a kind that says something else."""
    found = []
    for tag, code, raw in codes:
        kind = _CODES.get(tag)
        if kind is None:
            return None
        found.append(EuiccResult(tag, kind, code, raw=raw))
    return tuple(found)


def _read_profiles(data: bytes, node: Node, raw: bytes) -> EuiccResult:
    held = der.inside(data, node)
    if not held or held[0][0] == 0xE3:  # the list without its own tag
        return EuiccResult(_LIST_PROFILES, "listProfileInfo", profiles=ListOf(PROFILE).read(data, node), raw=raw)
    if held[0][0] in _LISTS:
        return EuiccResult(_LIST_PROFILES, "listProfileInfo", profiles=ListOf(PROFILE).read(data, held[0]), raw=raw)
    return EuiccResult(_LIST_PROFILES, "listProfileInfo", _code(data, held), raw=raw)


def _read_rat(data: bytes, node: Node, raw: bytes) -> EuiccResult:
    try:
        rules = ListOf(_RULE).read(data, node)
    except Malformed:  # the card did what it was asked; how it writes its rules is another matter
        rules = None
    return EuiccResult(_GET_RAT, "getRAT", rules=rules, raw=raw)


def _read_add_eim(data: bytes, node: Node, raw: bytes) -> EuiccResult:
    held = der.inside(data, node)
    if len(held) == 1 and held[0][0] in _LISTS:  # the CHOICE once more under a tag of its own
        held = der.inside(data, held[0])
    number = _code(data, held)
    if held[0][0] == 0x84:
        return EuiccResult(_ADD_EIM, "addEim", 0, association_token=number, raw=raw)
    return EuiccResult(_ADD_EIM, "addEim", number, raw=raw)


def _read_list_eim(data: bytes, node: Node, raw: bytes) -> EuiccResult:
    held = der.inside(data, node)
    if held and held[0][0] not in _LISTS:
        return EuiccResult(_LIST_EIM, "listEim", _code(data, held), raw=raw)
    infos: tuple[_EimIdInfo, ...] = ListOf(_EIM_ID_INFO).read(data, held[0]) if held else ()
    return EuiccResult(_LIST_EIM, "listEim", eims=tuple((i.eim_id, i.id_type) for i in infos), raw=raw)


def _read_set_address(data: bytes, node: Node, raw: bytes) -> EuiccResult:
    return EuiccResult(_SET_ADDRESS, "setDefaultDpAddress", _code(data, der.inside(data, node)), raw=raw)


def _code(data: bytes, held: list[Node]) -> int:
    """The one INTEGER in `held`, whatever its tag."""
    if len(held) != 1 or der.is_constructed(held[0][0]):
        raise Malformed("no result code")
    return Integer().read(data, held[0])


_READERS: Final[dict[int, Callable[[bytes, Node, bytes], EuiccResult]]] = {
    _LIST_PROFILES: _read_profiles,
    _GET_RAT: _read_rat,
    _ADD_EIM: _read_add_eim,
    _LIST_EIM: _read_list_eim,
    _SET_ADDRESS: _read_set_address,
}


def write_result(value: EuiccResult) -> bytes:
    """The TLV of one EuiccResultData: `raw` when there is one."""
    if value.raw:
        return value.raw
    if value.tag == _LIST_PROFILES and value.profiles is not None:
        return der.wrap(value.tag, der.wrap(0xA0, ListOf(PROFILE).write(value.profiles)))
    if value.tag == _ADD_EIM and value.association_token is not None:
        return der.wrap(value.tag, Tagged(0x84, Integer()).write(value.association_token))
    if value.tag == _GET_RAT and value.rules is not None:
        return der.wrap(value.tag, ListOf(_RULE).write(value.rules))
    if value.tag == _LIST_EIM and value.eims is not None:
        infos = (_EimIdInfo(*eim) for eim in value.eims)
        return der.wrap(value.tag, der.wrap(0xA0, ListOf(_EIM_ID_INFO).write(infos)))
    return _write_code(value)


def _write_code(value: EuiccResult) -> bytes:
    code = Integer().write(value.code or 0)
    if value.tag in _CODES:
        return der.wrap(value.tag, code)
    inner = {_LIST_PROFILES: 0x81, _LIST_EIM: 0x81, _ADD_EIM: 0x02, _SET_ADDRESS: 0x80}.get(value.tag)
    return der.wrap(value.tag, der.wrap(inner, code) if inner else b"")


class _Results(msgspec.Struct, frozen=True):
    """SEQUENCE OF EuiccResultData, where any tag is a result."""

    def read(self, data: bytes, node: Node) -> tuple[EuiccResult, ...]:
        return tuple(read_result(data, held) for held in der.inside(data, node))

    def write(self, value: tuple[EuiccResult, ...]) -> bytes:
        return b"".join(write_result(result) for result in value)


RESULT_DATA: Final = Tagged(
    der.SEQUENCE,
    Sequence(
        ResultData,
        (
            Member("eim_id", Tagged(0x80, EIM_ID)),
            Member("counter", Tagged(0x81, Integer())),
            Member("transaction_id", Tagged(0x82, TRANSACTION), None),
            Member("seq_number", Tagged(0x83, Integer())),
            Member("results", Tagged(der.SEQUENCE, _Results())),
        ),
    ),
)

ERROR_DATA: Final = Tagged(
    der.SEQUENCE,
    Sequence(
        ErrorData,
        (
            Member("eim_id", Tagged(0x80, EIM_ID)),
            Member("counter", Tagged(0x81, Integer())),
            Member("transaction_id", Tagged(0x82, TRANSACTION), None),
            Member("code", Tagged(0x02, Integer())),
        ),
    ),
)

UNSIGNED: Final = Sequence(
    ErrorUnsigned,
    (
        Member("eim_id", Tagged(0x80, EIM_ID)),
        Member("transaction_id", Tagged(0x82, TRANSACTION), None),
        Member("association_token", Tagged(0x84, Integer()), None),
        Member("code", Tagged(0x8F, Integer()), None),
    ),
)
