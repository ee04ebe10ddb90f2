"""What of an order can be decided for very many cards at once, by comparing columns. Pure.

A card passes such a comparison only where `ordering.decide` would take it, with the same steps; who does not pass is
judged by `ordering.decide` alone. So the comparison may be coarse, and never generous.
"""

from enum import StrEnum
from typing import Final

import msgspec

from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid, parse_iccid
from eim.domain.step import (
    OF_PROFILES,
    AddEim,
    Compact,
    ConfigureImmediateEnable,
    DataRequest,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    Step,
    compact,
    refuse_unspoken,
)
from eim.errors import EimError
from eim.services.ordering import UNNAMED, Ordering, Template

# What no guard looks at.
_HARMLESS: Final = (
    ListProfileInfo,
    GetRat,
    ListEim,
    DataRequest,
    SetDefaultDpAddress,
    ConfigureImmediateEnable,
    AddEim,
)


class Look(StrEnum):
    """What has to be looked at before a card is asked that."""

    NOTHING = "nothing"  # the same packages for every card
    PROFILES = "profiles"  # one step about one profile: what the card holds, and that nothing is queued
    EACH = "each"  # every card is judged by itself


class Sieve(msgspec.Struct, frozen=True):
    """How the cards that need no closer look are told from the others."""

    look: Look
    speaks: tuple[str, ...] = ()  # the versions that have all the steps
    packages: tuple[
        Compact, ...
    ] = ()  # with Look.PROFILES one, without an ICCID where the provider says whose profile is meant
    guarded: bool = True
    provider: str | None = None  # whose profile is meant, where no ICCID names it


def sieve(asked: Ordering) -> Sieve:
    """What can be compared for `asked`, a checked order for an estate."""
    packages = [[template.step for template in package] for package in asked.packages]
    named = parse_iccid(asked.iccid) if asked.iccid is not None else None
    guarded = asked.force_reason is None
    steps = [step for package in packages for step in package]
    if len(steps) == 1 and isinstance(steps[0], OF_PROFILES):
        return _of_one_profile(asked.packages[0][0], named, asked.service_provider, guarded=guarded)
    if any(template.is_open or template.service_provider for package in asked.packages for template in package):
        return Sieve(Look.EACH)
    if guarded and not all(isinstance(step, _HARMLESS) for step in steps):
        return Sieve(Look.EACH)
    return Sieve(Look.NOTHING, _speaking(steps), tuple(map(compact, packages)), guarded)


def _of_one_profile(template: Template, named: Iccid | None, provider: str | None, *, guarded: bool) -> Sieve:
    step = template.step
    assert isinstance(step, OF_PROFILES)  # noqa: S101 - for mypy: the caller asked
    if template.service_provider is not None:
        iccid, provider = None, template.service_provider
    elif step.iccid == UNNAMED:
        iccid = named
    else:
        iccid, provider = step.iccid, None
    resolved = step if iccid is None else msgspec.structs.replace(step, iccid=iccid)
    made = compact([resolved])
    if made.details is not None:
        return Sieve(Look.EACH)
    look = Look.PROFILES if guarded or iccid is None else Look.NOTHING
    made = msgspec.structs.replace(made, iccid=iccid)
    return Sieve(look, _speaking([step]), (made,), guarded, provider if iccid is None else None)


def _speaking(steps: list[Step]) -> tuple[str, ...]:
    return tuple(version.value for version in Speaks if _has(steps, version))


def _has(steps: list[Step], version: Speaks) -> bool:
    try:
        refuse_unspoken(steps, version)
    except EimError:
        return False
    return True
