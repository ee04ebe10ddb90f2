"""A card's profiles, and what a successful operation does to them."""

from collections.abc import Sequence

import msgspec

from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Iccid
from eim.domain.operation import Kind


def enabled(profiles: Sequence[Profile]) -> Profile | None:
    """The profile the card uses now, as far as we know."""
    return next((p for p in profiles if p.state is ProfileState.ENABLED), None)


def after(profiles: Sequence[Profile], kind: Kind, iccid: Iccid) -> tuple[Profile, ...]:
    """The profiles after `kind` went well for `iccid`. Enabling one disables the one before (SGP.22 section 3.2.1)."""
    if kind is Kind.DELETE:
        return tuple(p for p in profiles if p.iccid != iccid)
    if kind is Kind.DISABLE:
        return tuple(_in_state(p, ProfileState.DISABLED) if p.iccid == iccid else p for p in profiles)
    known = profiles if any(p.iccid == iccid for p in profiles) else [*profiles, Profile(iccid, ProfileState.DISABLED)]
    return tuple(_in_state(p, ProfileState.ENABLED if p.iccid == iccid else ProfileState.DISABLED) for p in known)


def was_executed(profiles: Sequence[Profile], kind: Kind, iccid: Iccid) -> bool:
    """Whether a fresh inventory shows that `kind` was executed for `iccid`."""
    found = next((p for p in profiles if p.iccid == iccid), None)
    if kind is Kind.DELETE:
        return found is None
    wanted = ProfileState.ENABLED if kind is Kind.ENABLE else ProfileState.DISABLED
    return found is not None and found.state is wanted


def _in_state(profile: Profile, state: ProfileState) -> Profile:
    return profile if profile.state is state else msgspec.structs.replace(profile, state=state)
