"""What happens to a card without an eIM's package: state in, state and answer out (SGP.32 sections 3.4, 5.9)."""

from enum import IntEnum
from typing import Final

import msgspec

from eim.domain.ids import Iccid
from eim.sim.profiles import Profile
from eim.sim.psmo import OK, Condition, Event, State, switch

_NOT_AVAILABLE: Final = 1  # immediateEnable
_NOTHING_TO_DELETE: Final = 1
_ENABLED_ALREADY: Final = 2
_NO_SESSION: Final = 4
_BUSY: Final = 5
_FALLBACK_NOT_AVAILABLE: Final = 6
_NO_EMERGENCY_PROFILE: Final = 8
_ECALL: Final = 104
_CLASS_OF_BIT: Final = {0: 2, 1: 0, 3: 0, 4: 1}  # a reset option to the class of the profiles it deletes


class Cause(IntEnum):
    """stateChangeCause."""

    OTHER_EIM = 0
    FALLBACK = 1
    EMERGENCY_PROFILE = 2
    LOCAL = 3
    RESET = 4
    IMMEDIATE_ENABLE = 5
    DEVICE_CHANGE = 6
    UNDEFINED = 127


class Happened(msgspec.Struct, frozen=True):
    """What came of it: refused with a code, the state is as before."""

    state: State
    code: int
    events: tuple[tuple[Event, Profile], ...] = ()


def fall_back(state: State) -> Happened:
    """ES10b.ExecuteFallbackMechanism: the profile with the Fallback Attribute takes over."""
    target, left = next((profile for profile in state.profiles if profile.fallback), None), state.enabled
    if state.condition is Condition.ECALL:
        return Happened(state, _ECALL)
    if target is None or left is None:
        return Happened(state, _FALLBACK_NOT_AVAILABLE)
    if target.enabled:
        return Happened(state, _ENABLED_ALREADY)
    if state.condition is Condition.CAT_BUSY:
        return Happened(state, _BUSY)
    return _switched(msgspec.structs.replace(state, away_from=left.iccid), left, target)


def return_from_fallback(state: State) -> Happened:
    """ES10b.ReturnFromFallback: back to the profile that was left."""
    target, left = state.find(state.away_from) if state.away_from else None, state.enabled
    if target is None or left is None:
        return Happened(state, _FALLBACK_NOT_AVAILABLE)
    if state.condition is Condition.CAT_BUSY:
        return Happened(state, _BUSY)
    return _switched(msgspec.structs.replace(state, away_from=None), left, target)


def begin_emergency_call(state: State) -> Happened:
    """ES10b.EnableEmergencyProfile. Until it is disabled again the card answers ecallActive to everything."""
    target = next((profile for profile in state.profiles if profile.emergency), None)
    if target is None:
        return Happened(state, _NO_EMERGENCY_PROFILE)
    if target.enabled:
        return Happened(state, _ENABLED_ALREADY)
    if state.condition is Condition.CAT_BUSY:
        return Happened(state, _BUSY)
    left = state.enabled
    switched = switch(state, target.iccid)
    remembered = left.iccid if left else None
    return Happened(msgspec.structs.replace(switched, before_call=remembered, condition=Condition.ECALL), OK)


def end_emergency_call(state: State) -> Happened:
    """ES10b.DisableEmergencyProfile: the profile before the call is back."""
    if state.condition is not Condition.ECALL:
        return Happened(state, _ENABLED_ALREADY)
    back = switch(state, state.before_call)
    return Happened(msgspec.structs.replace(back, before_call=None, condition=Condition.READY), OK)


def install(state: State, profile: Profile) -> Happened:
    """A download went well: `profile` is there, disabled."""
    added = msgspec.structs.replace(profile, enabled=False)
    state = msgspec.structs.replace(state, profiles=(*state.profiles, added), installed=added.iccid)
    return Happened(state, OK, ((Event.INSTALL, added),))


def enable_immediately(state: State) -> Happened:
    """ES10b.ImmediateEnable: what was just installed is enabled, where that was configured for its SM-DP+."""
    target, configured = state.find(state.installed) if state.installed else None, state.immediate
    if configured is None:
        return Happened(state, _NOT_AVAILABLE)
    if target is None:
        return Happened(state, _NO_SESSION)
    if configured.smdp_address not in (None, target.notify):
        return Happened(state, _NOT_AVAILABLE)
    if state.condition is Condition.CAT_BUSY:
        return Happened(state, _BUSY)
    return _switched(msgspec.structs.replace(state, installed=None), state.enabled, target)


def delete_all(state: State, options: frozenset[int]) -> Happened:
    """What ES10b.eUICCMemoryReset does to profiles and settings by the bits of its options, the eIMs apart."""
    classes = {_CLASS_OF_BIT[bit] for bit in options if bit in _CLASS_OF_BIT}
    gone = tuple(profile for profile in state.profiles if profile.profile_class in classes)
    kept = tuple(profile for profile in state.profiles if profile not in gone)
    if state.condition is Condition.ECALL:
        return Happened(state, _ECALL)
    if state.condition is Condition.CAT_BUSY:
        return Happened(state, _BUSY)
    cleared = 2 in options and state.default_smdp is not None
    state = msgspec.structs.replace(state, profiles=kept, default_smdp=None if cleared else state.default_smdp)
    events = tuple((Event.DELETE, profile) for profile in gone)
    return Happened(state, OK if gone or cleared else _NOTHING_TO_DELETE, events)


def _switched(state: State, left: Profile | None, to: Profile) -> Happened:
    disabled = ((Event.DISABLE, left),) if left else ()
    return Happened(switch(state, Iccid(to.iccid)), OK, (*disabled, (Event.ENABLE, to)))
