"""What an IPA tells about its eUICC on request: IpaEuiccData (SGP.32 sections 2.11.1.2, 2.11.2.2)."""

from typing import Any, Final

import msgspec
from msgspec import structs

from eim.asn1 import der
from eim.asn1.der import Node
from eim.asn1.kinds import Bits, Implicit, Integer, Null, Octets, Text
from eim.asn1.package_results import PACKAGE_RESULT
from eim.asn1.packages import TRANSACTION
from eim.asn1.results import PackageResult
from eim.asn1.rsp import TAGS as NOTIFICATION_TAGS
from eim.asn1.schema import Group, ListOf, Member, Members, Opaque, Sequence, Tagged
from eim.errors import Malformed


class IpaEuiccDataRequest(msgspec.Struct, frozen=True):
    """BF52 on its way to the IPA. Unsigned; the eUICC does not see it."""

    tag_list: bytes
    ci_key_id: bytes | None = None
    notification_seq: int | None = None  # at most one of the next two, and of `all_results`
    notification_events: bytes | None = None  # content of the BIT STRING: unused bits, then the bits
    result_seq: int | None = None  # since v1.1
    transaction_id: bytes | None = None  # since v1.1
    all_results: bool = False  # v1.0.1 only: A1 82 00


class IpaCapabilities(msgspec.Struct, frozen=True):
    """Bit numbers (SGP.32 section 4.1): features 0 direct, 1 indirect download ..; protocols 0 https, 1 coaps .."""

    features: frozenset[int]
    protocols: frozenset[int] | None = None


class IpaEuiccData(msgspec.Struct, frozen=True):
    """Nothing here is signed, except what is inside the results, notifications and certificates."""

    notifications: tuple[bytes, ...] = ()  # PendingNotification TLVs
    default_smdp: str | None = None
    results: tuple[PackageResult, ...] = ()
    info1: bytes | None = None  # the BF20 TLV
    info2: bytes | None = None  # the BF22 TLV
    root_smds: str | None = None
    association_token: int | None = None
    eum_certificate: bytes | None = None  # X.509 with its outer 30
    euicc_certificate: bytes | None = None
    transaction_id: bytes | None = None
    capabilities: IpaCapabilities | None = None
    device_info: bytes | None = None  # the A9 TLV
    iot_versions: tuple[bytes, ...] = ()  # read from info2: SGP.32 versions, 3 octets each
    ci_keys_signing: tuple[bytes, ...] = ()  # read from info1 or info2: CI keys the eUICC can sign under
    unreadable: tuple[bytes, ...] = ()  # TLVs of members and list elements that don't say what they should


class Listed(msgspec.Struct, frozen=True):
    """What a list holds; also a whole BF2B, in which v1.0.1 embeds its lists."""

    notifications: tuple[bytes, ...] = ()
    results: tuple[PackageResult, ...] = ()
    unreadable: tuple[bytes, ...] = ()

    def and_then(self, more: "Listed") -> "Listed":
        """Both, `more` behind."""
        return Listed(
            self.notifications + more.notifications, self.results + more.results, self.unreadable + more.unreadable
        )


class DataResponse(msgspec.Struct, frozen=True):
    data: IpaEuiccData
    raw: bytes = b""  # the whole BF52


class DataError(msgspec.Struct, frozen=True):
    code: int  # 1 incorrectTagList, 5 euiccCiPKIdNotFound, 104 ecallActive, 127
    transaction_id: bytes | None = None
    raw: bytes = b""


DATA_TAG: Final = 0xBF52
NOTIFICATIONS: Final = ListOf(Opaque(NOTIFICATION_TAGS))
_RESULTS: Final = ListOf(PACKAGE_RESULT)

DATA_REQUEST: Final = Tagged(
    DATA_TAG,
    Sequence(
        IpaEuiccDataRequest,
        (
            Member("tag_list", Tagged(0x5C, Octets())),
            Member("ci_key_id", Tagged(0x04, Octets()), None),
            Group(
                0xA1,
                (
                    Member("notification_seq", Tagged(0x80, Integer()), None),
                    Member("notification_events", Tagged(0x81, Octets(1)), None),
                    Member("all_results", Tagged(0x82, Null()), False),
                ),
            ),
            Group(0xA2, (Member("result_seq", Tagged(0x80, Integer()), None),)),
            Member("transaction_id", Tagged(0x83, TRANSACTION), None),
        ),
    ),
)

# onomondo-ipa sends 6 and 5 octets of 00 or 01 in place of as many bits.
_CAPABILITIES: Final = Sequence(
    IpaCapabilities,
    (
        Member("features", Tagged(0x80, Bits(octets_instead=6))),
        Member("protocols", Tagged(0x81, Bits(octets_instead=5)), None),
    ),
)


class _List(msgspec.Struct, frozen=True):
    """A list of notifications or results. Each element goes by its own tag; one that is neither costs only itself."""

    def read(self, data: bytes, node: Node) -> Listed:
        notifications, results, unreadable = [], [], []
        for child in der.inside(data, node):
            if child[0] in NOTIFICATION_TAGS:
                notifications.append(der.whole(data, child))
                continue
            try:
                results.append(PACKAGE_RESULT.read(data, child))
            except Malformed:
                unreadable.append(der.whole(data, child))
        return Listed(tuple(notifications), tuple(results), tuple(unreadable))

    def write(self, value: Listed) -> bytes:
        return NOTIFICATIONS.write(value.notifications) + _RESULTS.write(value.results)


LIST: Final = _List()


class _Retrieved(msgspec.Struct, frozen=True):
    """RetrieveNotificationsListResponse: a list, the results, both (A3 in v1.0.1), or an error, read as nothing."""

    def read(self, data: bytes, node: Node) -> Listed:
        held = der.inside(data, node)
        if len(held) == 1 and held[0][0] == _BOTH:
            held = der.inside(data, held[0])
        found = Listed()
        for child in held:
            if child[0] in _LISTS:
                found = found.and_then(LIST.read(data, child))
            elif child[0] != _LIST_ERROR:
                found = found.and_then(Listed(unreadable=(der.whole(data, child),)))
        return found

    def write(self, value: Listed) -> bytes:
        notifications = der.wrap(0xA0, NOTIFICATIONS.write(value.notifications))
        if not value.results:
            return notifications
        if not value.notifications:
            return der.wrap(0xA2, _RESULTS.write(value.results))
        return der.wrap(_BOTH, notifications + der.wrap(0xA1, _RESULTS.write(value.results)))


_BOTH: Final = 0xA3
_LISTS: Final = (0xA0, 0xA1, 0xA2)  # notifications; results, as A1 inside A3
_LIST_ERROR: Final = 0x81
RETRIEVED: Final = Tagged(0xBF2B, _Retrieved())

# In the module's order. At 80 and BF2B v1.0.1 has the default SM-DP+ and the notifications.
_MEMBERS: Final = (
    Member("notifications", Tagged(0xA0, NOTIFICATIONS), ()),
    Member("default_smdp", Tagged(0x81, Text(), also=(0x80,)), None),
    Member("results", Tagged(0xA2, _RESULTS), ()),
    Member("info1", Opaque((0xBF20,)), None),
    Member("info2", Opaque((0xBF22,)), None),
    Member("root_smds", Tagged(0x83, Text()), None),
    Member("association_token", Tagged(0x84, Integer()), None),
    Member("eum_certificate", Tagged(0xA5, Implicit()), None),
    Member("euicc_certificate", Tagged(0xA6, Implicit()), None),
    Member("transaction_id", Tagged(0x87, TRANSACTION), None),
    Member("capabilities", Tagged(0xA8, _CAPABILITIES), None),
    Member("device_info", Opaque((0xA9,)), None),
)
_LISTING: Final = (
    Member("notifications", Tagged(0xA0, LIST), Listed()),
    Member("results", Tagged(0xA2, LIST), Listed()),
    Member("retrieved", RETRIEVED, Listed()),
)
_READ: Final = Members((*(m for m in _MEMBERS if m.name not in ("notifications", "results")), *_LISTING))
_DATA: Final = Sequence(IpaEuiccData, _MEMBERS)

_ERROR: Final = Sequence(
    DataError,
    (
        Member("transaction_id", Tagged(0x80, TRANSACTION), None),
        Member("code", Tagged(0x02, Integer())),
    ),
)


def read_data_response(data: bytes, node: Node) -> DataResponse | DataError:
    """The answer in the BF52 at `node`: in its arm (A0, A1), as bare members, or the bare error 81 of v1.0.1."""
    raw = der.whole(data, node)
    held = der.inside(data, der.undouble(data, node))
    if len(held) == 1:
        (sole,) = held
        if sole[0] == 0xA1:
            return _error(data, der.inside(data, sole), raw)
        if sole[0] == 0x81 and sole[3] - sole[2] <= 2:  # an address is longer
            return DataError(Integer().read(data, sole), raw=raw)
        if sole[0] in (0xA0, der.SEQUENCE):
            held = der.inside(data, sole)
    if any(child[0] == 0x02 for child in held):
        return _error(data, held, raw)
    return DataResponse(_read_data(data, held), raw)


def is_v1_0_1(raw: bytes) -> bool:
    """Whether the BF52 TLV of a response has something that only v1.0.1 writes: 80, BF2B, or the bare error 81."""
    node = der.undouble(raw, der.read_one(raw))
    held = der.inside(raw, node)
    if len(held) == 1 and held[0][0] == 0x81:
        return held[0][3] - held[0][2] <= 2
    if len(held) == 1 and held[0][0] in (0xA0, der.SEQUENCE):
        held = der.inside(raw, held[0])
    tags = {child[0] for child in held}
    return RETRIEVED.tag in tags or (0x80 in tags and 0x02 not in tags)


def _error(data: bytes, held: list[Node], raw: bytes) -> DataError:
    error: DataError = _ERROR.build(data, held)
    return structs.replace(error, raw=raw)


def _read_data(data: bytes, held: list[Node]) -> IpaEuiccData:
    values: dict[str, Any] = {}
    listed = Listed(unreadable=_READ.read_readable(values, data, held))
    for member in _LISTING:
        listed = listed.and_then(values.pop(member.name))
    values |= {name: getattr(listed, name) for name in listed.__struct_fields__}
    info1, info2 = values["info1"], values["info2"]
    values["iot_versions"] = _octets_at(info2, (0xB4, 0xA0))
    values["ci_keys_signing"] = _octets_at(info1, (0xAA,)) or _octets_at(info2, (0xAA,))
    return IpaEuiccData(**values)


def _octets_at(info: bytes | None, path: tuple[int, ...]) -> tuple[bytes, ...]:
    """The OCTET STRINGs in the list at `path` inside `info`; none when there is no such list."""
    if info is None:
        return ()
    node = der.read_one(info)
    for tag in path:
        found = next((child for child in der.inside(info, node) if child[0] == tag), None)
        if found is None:
            return ()
        node = found
    return tuple(der.value(info, child) for child in der.inside(info, node) if child[0] == 0x04)


def write_data_response(value: DataResponse | DataError) -> bytes:
    """The BF52 TLV as v1.2 has it: `raw` when there is one."""
    if value.raw:
        return value.raw
    arm = (
        der.wrap(0xA1, _ERROR.write(value)) if isinstance(value, DataError) else der.wrap(0xA0, _DATA.write(value.data))
    )
    return der.wrap(DATA_TAG, arm)


_MEMBERS_V1_0_1: Final = (
    Member("default_smdp", Tagged(0x80, Text()), None),
    *(m for m in _MEMBERS if m.name not in ("notifications", "default_smdp", "results", "transaction_id")),
)


def encode_data_v1_0_1(data: IpaEuiccData) -> bytes:
    """The BF52 TLV as a v1.0.1 IPA sends it: default SM-DP+ at 80, notifications and results in BF2B at the end."""
    retrieved = Listed(data.notifications, data.results)
    content = Sequence(IpaEuiccData, _MEMBERS_V1_0_1).write(data) + RETRIEVED.write(retrieved)
    return der.wrap(DATA_TAG, der.wrap(0xA0, content))
