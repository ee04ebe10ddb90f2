"""What a card does with one profile operation: state in, state and result out (SGP.32 sections 3.3, 5.9)."""

from enum import Enum
from typing import Final, assert_never

import msgspec

from eim.asn1.sgp32 import (
    ConfigureImmediateEnable,
    Delete,
    Disable,
    Enable,
    GetRat,
    ListProfileInfo,
    Psmo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
)
from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid, format_iccid
from eim.sim.der import bits, integer, tlv
from eim.sim.journal import Act
from eim.sim.profiles import (
    DEFAULT_TAGS,
    OPERATIONAL,
    PPR_NO_DELETE,
    PPR_NO_DISABLE,
    V1_1_TAGS,
    Profile,
    profile_info,
)

OK: Final = 0
NOT_FOUND: Final = 1
WRONG_STATE: Final = 2  # enable, delete: not disabled; disable: not enabled
DISALLOWED_BY_POLICY: Final = 3
CAT_BUSY: Final = 5
CHANGE_ONGOING: Final = 11
ROLLBACK_NOT_AVAILABLE: Final = 20
RETURN_FALLBACK_PROFILE: Final = 21
_FALLBACK_NOT_ALLOWED: Final = 2
_NO_FALLBACK_ATTRIBUTE: Final = 2
_FALLBACK_PROFILE_ENABLED: Final = 3
INCORRECT_INPUT: Final = 1
_TWO_OCTET_TAG: Final = 0x1F


class Condition(Enum):
    """What else occupies a card; set from outside, to provoke its refusals."""

    READY = "ready"
    CAT_BUSY = "catBusy"  # a proactive session goes on
    CHANGE_ONGOING = "profileChangeOngoing"
    ECALL = "ecallActive"


class Event(Enum):
    """The bit of a notification's profileManagementOperation."""

    INSTALL = 0
    ENABLE = 1
    DISABLE = 2
    DELETE = 3


class State(msgspec.Struct, frozen=True):
    """A card's profiles. `undo` is what a rollback would go back to, granted by the package being executed."""

    profiles: tuple[Profile, ...]
    condition: Condition = Condition.READY
    away_from: Iccid | None = None  # the profile that the fallback mechanism left
    before_call: Iccid | None = None  # the profile that an emergency call left
    installed: Iccid | None = None  # the profile installed last, until another one is enabled
    undo: "State | None" = None
    default_smdp: str | None = None
    immediate: ConfigureImmediateEnable | None = None  # None: not configured
    rules: tuple[bytes, ...] = ()  # of the Rules Authorisation Table, each a ProfilePolicyAuthorisationRule (30)

    @property
    def enabled(self) -> Profile | None:
        return next((profile for profile in self.profiles if profile.enabled), None)

    @property
    def enabled_label(self) -> str | None:
        """The active ICCID as text."""
        profile = self.enabled
        return profile.label if profile else None

    def find(self, iccid: bytes) -> Profile | None:
        return next((profile for profile in self.profiles if profile.iccid == iccid), None)


class Step(msgspec.Struct, frozen=True):
    """One operation done."""

    state: State
    result: bytes  # the EuiccResultData TLV
    act: Act
    events: tuple[tuple[Event, Profile], ...] = ()


class _Coded(msgspec.Struct, frozen=True):
    """An operation whose result is one number."""

    tag: int
    kind: str
    iccid: bytes | None


_NAMES: Final[dict[type[Psmo], tuple[int, str]]] = {
    Enable: (0x83, "enable"),
    Disable: (0x84, "disable"),
    Delete: (0x85, "delete"),
    ListProfileInfo: (0xBF2D, "listProfileInfo"),
    GetRat: (0xA6, "getRAT"),
    ConfigureImmediateEnable: (0x87, "configureImmediateEnable"),
    SetFallbackAttribute: (0x8D, "setFallbackAttribute"),
    UnsetFallbackAttribute: (0x8E, "unsetFallbackAttribute"),
    SetDefaultDpAddress: (0xBF65, "setDefaultDpAddress"),
}
_CODE_INSIDE: Final = {0xBF2D: 0x81, 0xBF65: 0x80}  # of results that are no bare number: where the code is
_SINCE_V1_1: Final = (SetFallbackAttribute, UnsetFallbackAttribute, SetDefaultDpAddress)


def name_of(operation: Psmo) -> str:
    """What the operation and its result are called."""
    return _NAMES[type(operation)][1]


def known(operation: Psmo, speaks: Speaks) -> bool:
    """Whether a card of this version has the operation; another one terminates the package there."""
    return speaks is not Speaks.V1_0_1 or not isinstance(operation, _SINCE_V1_1)


def refuse(state: State, operation: Psmo, code: int) -> Step:
    """`operation` not done, for `code`."""
    tag, kind = _NAMES[type(operation)]
    iccid = getattr(operation, "iccid", None)
    result = tlv(tag, integer(_CODE_INSIDE[tag], code)) if tag in _CODE_INSIDE else integer(tag, code)
    return Step(state, result, Act(kind, _label(iccid), code))


def perform(state: State, operation: Psmo, speaks: Speaks = Speaks.V1_2) -> Step:
    """Do `operation`. A refusal leaves the state as it was and says so in the result."""
    match operation:
        case Enable():
            step = _enable(state, operation)
        case Disable():
            step = _disable(state, operation)
        case Delete():
            step = _delete(state, operation)
        case ListProfileInfo():
            step = _list(state, operation, speaks)
        case SetFallbackAttribute():
            step = _set_fallback(state, operation)
        case UnsetFallbackAttribute():
            step = _unset_fallback(state)
        case GetRat():  # no rule: nothing is forbidden, nothing needs consent
            step = Step(state, tlv(0xA6, *state.rules), Act("getRAT", None, OK))
        case ConfigureImmediateEnable():
            wanted = operation if operation.flag else None
            configured = msgspec.structs.replace(state, immediate=wanted)
            step = _coded(configured, _Coded(0x87, "configureImmediateEnable", None), OK)
        case SetDefaultDpAddress():
            changed = msgspec.structs.replace(state, default_smdp=operation.address or None)
            step = Step(changed, tlv(0xBF65, integer(0x80, OK)), Act("setDefaultDpAddress", None, OK))
        case _:
            assert_never(operation)
    return step


def _enable(state: State, operation: Enable) -> Step:
    profile, active = state.find(operation.iccid), state.enabled
    code = _refusal_to_enable(state, operation, profile, active)
    if profile is None or code != OK:
        return _coded(state, _Coded(0x83, "enable", operation.iccid), code)
    switched = msgspec.structs.replace(switch(state, profile.iccid), away_from=None)
    if operation.rollback:
        switched = msgspec.structs.replace(switched, undo=state)
    events = ((Event.DISABLE, active),) if active else ()
    return _coded(switched, _Coded(0x83, "enable", operation.iccid), OK, *events, (Event.ENABLE, profile))


def _refusal_to_enable(state: State, operation: Enable, profile: Profile | None, active: Profile | None) -> int:
    if profile is None:
        return NOT_FOUND
    if profile.enabled:
        return WRONG_STATE
    if active is not None and PPR_NO_DISABLE in active.ppr:
        return DISALLOWED_BY_POLICY
    if state.condition is Condition.CAT_BUSY:
        return CAT_BUSY
    if operation.rollback and active is None:
        return ROLLBACK_NOT_AVAILABLE
    return OK


def _disable(state: State, operation: Disable) -> Step:
    profile = state.find(operation.iccid)
    code = OK
    if profile is None:
        code = NOT_FOUND
    elif not profile.enabled:
        code = WRONG_STATE
    elif PPR_NO_DISABLE in profile.ppr:
        code = DISALLOWED_BY_POLICY
    elif state.condition is Condition.CAT_BUSY:
        code = CAT_BUSY
    if profile is None or code != OK:
        return _coded(state, _Coded(0x84, "disable", operation.iccid), code)
    return _coded(switch(state, None), _Coded(0x84, "disable", operation.iccid), OK, (Event.DISABLE, profile))


def _delete(state: State, operation: Delete) -> Step:
    profile = state.find(operation.iccid)
    code = OK
    if profile is None:
        code = NOT_FOUND
    elif profile.enabled:
        code = WRONG_STATE
    elif PPR_NO_DELETE in profile.ppr:
        code = DISALLOWED_BY_POLICY
    elif state.undo is not None and state.undo.enabled_label == profile.label:
        code = ROLLBACK_NOT_AVAILABLE  # the same package granted a rollback to it
    elif state.away_from == profile.iccid:
        code = RETURN_FALLBACK_PROFILE
    if profile is None or code != OK:
        return _coded(state, _Coded(0x85, "delete", operation.iccid), code)
    rest = tuple(kept for kept in state.profiles if kept.iccid != profile.iccid)
    deleted = msgspec.structs.replace(state, profiles=rest)
    return _coded(deleted, _Coded(0x85, "delete", operation.iccid), OK, (Event.DELETE, profile))


def _list(state: State, operation: ListProfileInfo, speaks: Speaks) -> Step:
    try:
        tags = tags_in(DEFAULT_TAGS if operation.tags is None else operation.tags)
    except ValueError:
        return refuse(state, operation, INCORRECT_INPUT)
    if state.condition is Condition.CHANGE_ONGOING:
        return refuse(state, operation, CHANGE_ONGOING)
    if speaks is Speaks.V1_0_1:
        tags -= V1_1_TAGS
    found = (profile_info(profile, tags) for profile in state.profiles if _asked_for(profile, operation))
    return Step(state, tlv(0xBF2D, tlv(0xA0, *found)), Act("listProfileInfo", _label(operation.iccid), OK))


def _asked_for(profile: Profile, operation: ListProfileInfo) -> bool:
    if operation.iccid is not None:
        return profile.iccid == operation.iccid
    if operation.aid is not None:
        return profile.aid == operation.aid
    return operation.profile_class is None or profile.profile_class == operation.profile_class


def _set_fallback(state: State, operation: SetFallbackAttribute) -> Step:
    profile, told = state.find(operation.iccid), _Coded(0x8D, "setFallbackAttribute", operation.iccid)
    if profile is None:
        return _coded(state, told, NOT_FOUND)
    if not profile.fallback_allowed or profile.profile_class != OPERATIONAL:
        return _coded(state, told, _FALLBACK_NOT_ALLOWED)
    if profile.enabled or any(holder.fallback and holder.enabled for holder in state.profiles):
        return _coded(state, told, _FALLBACK_PROFILE_ENABLED)
    return _coded(_mark(state, profile.iccid), told, OK)


def _unset_fallback(state: State) -> Step:
    told = _Coded(0x8E, "unsetFallbackAttribute", None)
    holder = next((profile for profile in state.profiles if profile.fallback), None)
    if holder is None:
        return _coded(state, told, _NO_FALLBACK_ATTRIBUTE)
    if holder.enabled:
        return _coded(state, told, _FALLBACK_PROFILE_ENABLED)
    return _coded(_mark(state, None), told, OK)


def switch(state: State, to: Iccid | None) -> State:
    """The state with exactly the profile `to` enabled; none when `to` is None."""
    profiles = tuple(msgspec.structs.replace(profile, enabled=profile.iccid == to) for profile in state.profiles)
    return msgspec.structs.replace(state, profiles=profiles)


def _mark(state: State, holder: Iccid | None) -> State:
    profiles = tuple(msgspec.structs.replace(profile, fallback=profile.iccid == holder) for profile in state.profiles)
    return msgspec.structs.replace(state, profiles=profiles)


def _coded(state: State, of: _Coded, code: int, *events: tuple[Event, Profile]) -> Step:
    return Step(state, integer(of.tag, code), Act(of.kind, _label(of.iccid), code), events)


def _label(iccid: bytes | None) -> str | None:
    return None if iccid is None else format_iccid(Iccid(iccid))


def tags_in(tag_list: bytes) -> frozenset[int]:
    """The tags a tag list names, one or two octets each. Raises ValueError for a cut one."""
    tags = []
    octets = iter(tag_list)
    for first in octets:
        tag = first
        if first & _TWO_OCTET_TAG == _TWO_OCTET_TAG:
            second = next(octets, None)
            if second is None:
                raise ValueError("the tag list ends inside a tag")
            tag = first << 8 | second
        tags.append(tag)
    return frozenset(tags)


def rule(pprs: tuple[int, ...], operator: bytes, *, consent: bool) -> bytes:
    """A rule of the Rules Authorisation Table: profiles of `operator` (MCC and MNC, 3 octets) may have these PPRs."""
    flags = bits(0x82, 0) if consent else tlv(0x82, b"\x00")
    return tlv(0x30, bits(0x80, *pprs), tlv(0xA1, tlv(0x30, tlv(0x80, operator))), flags)


def positions(content: bytes) -> frozenset[int]:
    """The bits set in the content of a BIT STRING, numbered from the first."""
    octets = content[1:]
    return frozenset(at for at in range(8 * len(octets)) if octets[at // 8] & 0x80 >> at % 8)
