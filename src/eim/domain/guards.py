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
from eim.domain.operation import Kind
from eim.errors import Guarded, NotFound

_FORCE: Final = "or force it with a reason"


class Ppr(IntEnum):
    """Profile policy rules: the bit of each in a profile's BIT STRING (SGP.22 section 2.9.2.1)."""

    UPDATE_CONTROL = 0
    NO_DISABLE = 1  # ppr1
    NO_DELETE = 2  # ppr2


class Queued(msgspec.Struct, frozen=True):
    """A change that a card is still to make, or may have made."""

    kind: Kind
    iccid: Iccid


class Holds(msgspec.Struct, frozen=True):
    """What is known of one card when an order for it is judged."""

    profiles: Sequence[Profile] | None  # None: not known yet
    queued: Sequence[Queued] = ()  # in the order in which they come to the card


def assuming(card: Holds, done: Sequence[Queued]) -> Holds:
    """The card as it will be for an operation that comes after `done` went well, and only then."""
    profiles, queued = card.profiles, list(card.queued)
    for change in done:
        if profiles is not None:
            profiles = inventory.after(profiles, change.kind, change.iccid)
        if change in queued:
            queued.remove(change)
    return Holds(profiles, queued)


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


def refuse_harm(asked: Queued, card: Holds) -> None:
    """Let pass what leaves the card reachable and its profiles' own rules kept, as far as we know them.

    Raises Guarded. A card whose profiles are not known may be asked to enable and to delete (it refuses to delete
    what is enabled), never to disable.
    """
    match asked.kind:
        case Kind.ENABLE:
            _refuse_ending(_perhaps_enabled(card) - {asked.iccid}, card)
        case Kind.DISABLE:
            _refuse_silence(asked.iccid, card)
            _refuse_ending({asked.iccid} & _perhaps_enabled(card), card)
        case Kind.DELETE:
            _refuse_loss(asked.iccid, card)


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
    return _enabled(card.profiles or ()) | {q.iccid for q in card.queued if q.kind is Kind.ENABLE}


def _is_deleted(iccid: Iccid, card: Holds) -> bool:
    return any(queued == Queued(Kind.DELETE, iccid) for queued in card.queued)


def _find(card: Holds, iccid: Iccid) -> Profile | None:
    return next((profile for profile in card.profiles or () if profile.iccid == iccid), None)
