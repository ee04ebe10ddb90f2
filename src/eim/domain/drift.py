"""Drift: where what we believed of a card is not what the card says."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from eim.domain.euicc import Eim, Profile
from eim.domain.ids import format_iccid

_NO: Final = "-"


class Difference(msgspec.Struct, frozen=True):
    """One thing. `believed` and `said` are words for people; "-": there is no such thing."""

    what: str  # profile, profile.state, profile.fallback, eim, defaultSmdpAddress
    believed: str
    said: str
    which: str | None = None  # the ICCID or the eimId


def of_profiles(believed: Sequence[Profile], said: Sequence[Profile]) -> tuple[Difference, ...]:
    """Where two inventories of a card differ: what is there, its state, and which one is the fallback."""
    before, now = {p.iccid: p for p in believed}, {p.iccid: p for p in said}
    found: list[Difference] = []
    for iccid in sorted(before.keys() | now.keys()):
        named, was, stands = format_iccid(iccid), before.get(iccid), now.get(iccid)
        if was is None or stands is None:
            words = (was.state.value if was else _NO, stands.state.value if stands else _NO)
            found.append(Difference("profile", *words, named))
            continue
        if was.state is not stands.state:
            found.append(Difference("profile.state", was.state.value, stands.state.value, named))
        if was.fallback != stands.fallback:
            found.append(Difference("profile.fallback", _marked(was), _marked(stands), named))
    return tuple(found)


def of_eims(believed: Iterable[Eim], said: Iterable[Eim]) -> tuple[Difference, ...]:
    """Where two lists of a card's eIMs differ."""
    before, now = {e.eim_id for e in believed}, {e.eim_id for e in said}
    gone = [Difference("eim", "there", _NO, eim_id) for eim_id in sorted(before - now)]
    return (*gone, *(Difference("eim", _NO, "there", eim_id) for eim_id in sorted(now - before)))


def of_address(what: str, believed: str | None, said: str | None) -> tuple[Difference, ...]:
    """Whether an address is another one; None: not known, or not said, which is no difference."""
    if believed is None or said is None or believed == said:
        return ()
    return (Difference(what, believed or _NO, said or _NO),)


def _marked(profile: Profile) -> str:
    return "fallback" if profile.fallback else _NO
