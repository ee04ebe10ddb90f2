"""What may not be ordered without an explicit word: what would cut a card off, or what its profiles forbid.

Judged against what the card holds and what is still queued for it: an operation that waits may succeed or fail, so a
profile is spared as long as it may be the enabled one when the order arrives (SGP.32 section 3.4).
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from eim.domain import inventory
from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Iccid, format_iccid
from eim.domain.step import (
    AddEim,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
    config_of,
    eim_of,
)
from eim.errors import Guarded, NotFound

_FORCE: Final = "or force it with a reason"


class Ppr(IntEnum):
    """Profile policy rules: the bit of each in a profile's BIT STRING (SGP.22 section 2.9.2.1)."""

    UPDATE_CONTROL = 0
    NO_DISABLE = 1  # ppr1
    NO_DELETE = 2  # ppr2


class Holds(msgspec.Struct, frozen=True):
    """What is known of one card when an order for it is judged."""

    profiles: Sequence[Profile] | None  # None: not known yet
    queued: Sequence[Step] = ()  # what it is still to do, or may have done, in the order in which it comes to it
    eim_id: str = ""  # ours, as the card knows it
    eims: Sequence[str] | None = None  # the eIMs on it; None: it did not list them yet


def assuming(card: Holds, done: Sequence[Step]) -> Holds:
    """The card as it will be for an operation that comes after `done` went well, and only then."""
    profiles, eims, queued = card.profiles, card.eims, list(card.queued)
    for step in done:
        if profiles is not None:
            profiles = inventory.after(profiles, step)
        if eims is not None:
            eims = _eims_after(eims, step)
        if step in queued:
            queued.remove(step)
    return Holds(profiles, queued, card.eim_id, eims)


def _eims_after(eims: Sequence[str], step: Step) -> Sequence[str]:
    match step:
        case AddEim():
            return [*eims, eim_of(step)]
        case DeleteEim():
            return [eim_id for eim_id in eims if eim_id != step.eim_id]
        case _:
            return eims


def choose(profiles: Sequence[Profile], service_provider: str) -> Iccid:
    """The one profile of this service provider on the card. Raises NotFound when there is none, or several."""
    found = [profile.iccid for profile in profiles if profile.service_provider == service_provider]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(format_iccid(iccid) for iccid in found)
        raise NotFound(
            f"{len(found)} profiles are of service provider {service_provider!r}: name one of the ICCIDs {names}"
        )
    raise NotFound(f"no profile of service provider {service_provider!r} is known on this card: see its profiles")


def has_rule(profile: Profile, rule: Ppr) -> bool:
    """Whether the profile carries this policy rule. `ppr`: an octet of unused bits, then the bits, first bit first."""
    octets = (profile.ppr or b"")[1:]
    place, bit = divmod(rule.value, 8)
    return place < len(octets) and bool(octets[place] & 0x80 >> bit)


def refuse_harm(asked: Sequence[Step], card: Holds) -> None:
    """Let pass what leaves the card reachable and its profiles' own rules kept, as far as we know them.

    `asked` are the steps of one package. Raises Guarded. A card whose profiles are not known may be asked to enable
    and to delete (it refuses to delete what is enabled), never to disable.
    """
    for place, step in enumerate(asked):
        before = msgspec.structs.replace(card, queued=[*card.queued, *asked[:place]])
        _refuse_step(step, asked[place + 1 :], before)


def _refuse_step(step: Step, behind: Sequence[Step], card: Holds) -> None:
    match step:
        case Enable():
            _refuse_ending(_perhaps_enabled(card) - {step.iccid}, card)
        case Disable():
            if not any(isinstance(later, Enable) and later.iccid != step.iccid for later in behind):
                _refuse_silence(step.iccid, card)
            _refuse_ending({step.iccid} & _perhaps_enabled(card), card)
        case Delete():
            _refuse_loss(step.iccid, card)
        case SetFallbackAttribute():
            _refuse_fallback(step.iccid, card)
        case UnsetFallbackAttribute():
            _refuse_no_fallback(card)
        case DeleteEim():
            _refuse_leaving(step.eim_id, card)
        case UpdateEim():
            _refuse_estrangement(step, card)


def _refuse_silence(iccid: Iccid, card: Holds) -> None:
    if card.profiles is None:
        raise Guarded(f"the profiles of this card are not known yet: list them first, {_FORCE}")
    if not card.queued and _enabled(card.profiles) - {iccid}:
        return  # a card with several enabled profiles keeps one
    if iccid in _perhaps_enabled(card):
        queued = "" if iccid in _enabled(card.profiles) else " once what is queued is done"
        raise Guarded(
            f"without profile {format_iccid(iccid)} no profile of this card is enabled{queued} and it can't call "
            f"again: enable another one instead, {_FORCE}"
        )


def _refuse_loss(iccid: Iccid, card: Holds) -> None:
    named = format_iccid(iccid)
    if iccid in _perhaps_enabled(card):
        queued = "enabled" if iccid in _enabled(card.profiles or ()) else "about to be enabled"
        raise Guarded(f"profile {named} is {queued}: enable another one first, {_FORCE}")
    profile = _find(card, iccid)
    if profile is None:
        return
    others = [p for p in card.profiles or () if p.iccid != iccid and p.fallback and not _is_deleted(p.iccid, card)]
    if profile.fallback and not others:
        raise Guarded(f"profile {named} is the card's fallback: set the attribute on another one first, {_FORCE}")
    if has_rule(profile, Ppr.NO_DELETE):
        raise Guarded(f"profile {named} has the policy rule ppr2, so the card will not delete it: leave it, {_FORCE}")


def _refuse_fallback(iccid: Iccid, card: Holds) -> None:
    """What the card would answer with fallbackNotAllowed or fallbackProfileEnabled."""
    named, profile = format_iccid(iccid), _find(card, iccid)
    if iccid in _perhaps_enabled(card):
        queued = "enabled" if iccid in _enabled(card.profiles or ()) else "about to be enabled"
        raise Guarded(
            f"profile {named} is {queued}, and the card takes only a disabled one as its fallback: choose another "
            f"profile, {_FORCE}"
        )
    if profile is not None and profile.fallback_allowed is False:
        raise Guarded(f"profile {named} says that it may not be the fallback: choose another one, {_FORCE}")


def _refuse_no_fallback(card: Holds) -> None:
    if card.profiles is None or any(isinstance(step, SetFallbackAttribute) for step in card.queued):
        return
    holder = next((profile for profile in card.profiles if profile.fallback), None)
    if holder is None:
        raise Guarded(f"no profile of this card is its fallback: there is nothing to unset, {_FORCE}")
    if holder.iccid in _perhaps_enabled(card):
        raise Guarded(
            f"the card uses its fallback profile {format_iccid(holder.iccid)} now and will not unset the attribute: "
            f"enable another profile first, {_FORCE}"
        )


def _refuse_leaving(eim_id: str, card: Holds) -> None:
    if eim_id == card.eim_id:
        raise Guarded(
            f"{eim_id} is our own eIM: without it this card can't be managed from here any more. Have the new eIM "
            f"delete it, {_FORCE}"
        )
    if card.eims is not None and set(card.eims) <= {eim_id}:
        raise Guarded(f"{eim_id} is the last eIM of this card: add another one first, {_FORCE}")


def _refuse_estrangement(step: UpdateEim, card: Holds) -> None:
    """Our own key or counter, changed past us: what is signed from then on is refused."""
    config = config_of(step)
    news = (config.public_key, config.counter, config.association_token)
    if config.eim_id == card.eim_id and any(value is not None for value in news):
        raise Guarded(
            f"this changes the key, counter or token under which the card knows our own eIM {config.eim_id}: rotate "
            f"the key instead, {_FORCE}"
        )


def _refuse_ending(iccids: Iterable[Iccid], card: Holds) -> None:
    """Profiles that would be disabled by this: none of them may have ppr1."""
    for iccid in sorted(iccids):
        profile = _find(card, iccid)
        if profile is not None and has_rule(profile, Ppr.NO_DISABLE):
            raise Guarded(
                f"profile {format_iccid(iccid)} has the policy rule ppr1, so the card will not disable it: "
                f"leave it enabled, {_FORCE}"
            )


def _enabled(profiles: Sequence[Profile]) -> set[Iccid]:
    return {profile.iccid for profile in profiles if profile.state is ProfileState.ENABLED}


def _perhaps_enabled(card: Holds) -> set[Iccid]:
    """Every profile that may be the enabled one when all that is queued was tried, whichever of it fails."""
    return _enabled(card.profiles or ()) | {step.iccid for step in card.queued if isinstance(step, Enable)}


def _is_deleted(iccid: Iccid, card: Holds) -> bool:
    return Delete(iccid) in card.queued


def _find(card: Holds, iccid: Iccid) -> Profile | None:
    return next((profile for profile in card.profiles or () if profile.iccid == iccid), None)
