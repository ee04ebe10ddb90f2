"""A card's profiles, and what a step that went well does to them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.domain.euicc import Profile, ProfileState, Speaks
from eim.domain.ids import Iccid
from eim.domain.step import (
    Delete,
    Disable,
    Enable,
    ListProfileInfo,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    changes_card,
    tags_in,
)

_CHANGING: Final = (Enable, Disable, Delete, SetFallbackAttribute, UnsetFallbackAttribute)


def enabled(profiles: Sequence[Profile]) -> Profile | None:
    """The profile the card uses now, as far as we know."""
    for profile in profiles:
        if profile.state is ProfileState.ENABLED:
            return profile
    return None


def changes_profiles(step: Step) -> bool:
    """Whether it does anything to them."""
    return isinstance(step, _CHANGING)


def after(profiles: Sequence[Profile], step: Step) -> tuple[Profile, ...]:
    """The profiles after `step` went well. Enabling one disables the one before (SGP.22 section 3.2.1)."""
    match step:
        case Delete():
            return tuple(p for p in profiles if p.iccid != step.iccid)
        case Disable():
            return tuple(_in_state(p, ProfileState.DISABLED) if p.iccid == step.iccid else p for p in profiles)
        case Enable():
            known = _with(profiles, step.iccid)
            on, off, iccid = ProfileState.ENABLED, ProfileState.DISABLED, step.iccid
            return tuple([_in_state(p, on if p.iccid == iccid else off) for p in known])
        case SetFallbackAttribute():
            known = _with(profiles, step.iccid)
            return tuple(msgspec.structs.replace(p, fallback=p.iccid == step.iccid) for p in known)
        case UnsetFallbackAttribute():
            return tuple(msgspec.structs.replace(p, fallback=False) for p in profiles)
        case _:
            return tuple(profiles)


def were_executed(profiles: Sequence[Profile], steps: Sequence[Step]) -> bool:
    """Whether a fresh inventory shows what these steps, all of them together, leave behind."""
    there = {p.iccid for p in profiles} | {step.iccid for step in steps if isinstance(step, Delete)}
    wanted: tuple[Profile, ...] = tuple(profiles)
    for step in steps:
        if isinstance(step, Disable) and step.iccid not in there:
            return False
        wanted = after(wanted, step)
    return {_traits(p) for p in wanted} == {_traits(p) for p in profiles}


def merge(profiles: Sequence[Profile], listed: Sequence[Profile], asked: ListProfileInfo) -> tuple[Profile, ...]:
    """The profiles after a listing of some of them, or of some of their tags.

    What was not asked for stays as it was known; who was asked for by ICCID and is not listed is gone.
    """
    tags, said = _told(asked), {p.iccid: p for p in listed}
    gone = {asked.iccid} - set(said) if asked.iccid is not None else set[Iccid]()
    kept = [_merged(p, said[p.iccid], tags) if p.iccid in said else p for p in profiles if p.iccid not in gone]
    known = {p.iccid for p in profiles}
    return (*kept, *(p for p in listed if p.iccid not in known))


def relisted(profiles: Sequence[Profile], listed: Sequence[Profile], asked: ListProfileInfo) -> tuple[Profile, ...]:
    """The profiles after a listing of all of them: those listed, with what was known where it did not ask."""
    tags, known = _told(asked), {p.iccid: p for p in profiles}
    return tuple(_merged(known[p.iccid], p, tags) if p.iccid in known else p for p in listed)


def naming_tags(steps: Sequence[Step], speaks: Speaks | None) -> tuple[Step, ...]:
    """The steps as they are sent: a listing that names no tags names all that the eIM wants to know.

    Only in a package that changes nothing on the card, because only that can be repeated where the card refuses the
    tags. While the card's version is not known the plain form stays: none can refuse it, and what it leaves out
    (policy rules) each card enforces by itself, whereas the list for v1.0.1 would leave out the fallback attribute,
    which nobody but our guard may be watching.
    """
    if speaks is None or any(map(changes_card, steps)):
        return tuple(steps)
    wanted = _WANTED_V1_0_1 if speaks is Speaks.V1_0_1 else _WANTED
    return tuple(msgspec.structs.replace(step, tags=wanted) if _names_none(step) else step for step in steps)


def _names_none(step: Step) -> bool:
    return isinstance(step, ListProfileInfo) and step.tags is None and step.iot_tags is None


# The tag of each attribute in listProfileInfo (SGP.22 section 5.7.15).
_TAGS: Final = {
    "state": 0x9F70,
    "isdp_aid": 0x4F,
    "nickname": 0x90,
    "service_provider": 0x91,
    "name": 0x92,
    "profile_class": 0x95,
    "ppr": 0x99,
    "fallback": 0x9F26,
    "fallback_allowed": 0x9F67,
}
# What a card tells when no tag is named (section 5.9.14); nickname and policy rules only when they are asked for.
DEFAULT_TAGS: Final = frozenset({0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x95, 0x9F7B, 0x9F26, 0x9F67})
_WANTED_V1_0_1: Final = bytes.fromhex("5A4F9F709091929599")  # the default tags of its time, nickname and policy rules
_WANTED: Final = _WANTED_V1_0_1 + bytes.fromhex("9F7B9F269F67")
_SILENT: Final = (None, False, ProfileState.DISABLED)  # what an attribute reads as when the card did not give it


def _told(asked: ListProfileInfo) -> frozenset[int]:
    """The tags whose absence says something, because they were asked for."""
    return DEFAULT_TAGS if asked.tags is None else frozenset(tags_in(asked.tags))


def _merged(known: Profile, said: Profile, tags: frozenset[int]) -> Profile:
    """What was asked for as it is said now, or not said; of the rest only what the card gives of its own accord."""
    now = {name: getattr(said, name) for name in _TAGS}
    values = {name: value for name, value in now.items() if _TAGS[name] in tags or value not in _SILENT}
    return msgspec.structs.replace(known, **values)


def _with(profiles: Sequence[Profile], iccid: Iccid) -> Sequence[Profile]:
    if iccid in [p.iccid for p in profiles]:
        return profiles
    return [*profiles, Profile(iccid, ProfileState.DISABLED)]


def _traits(profile: Profile) -> tuple[Iccid, ProfileState, bool]:
    return profile.iccid, profile.state, profile.fallback


def _in_state(profile: Profile, state: ProfileState) -> Profile:
    return profile if profile.state is state else msgspec.structs.replace(profile, state=state)
