"""Listings that name their tags: what the card was asked for, and whether it refuses to be asked so."""

from typing import Final

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EuiccPackageRequest
from eim.domain.outcome import Outcome
from eim.domain.step import ListProfileInfo, Step
from eim.protocol import steps
from eim.store.packages import Package

_REFUSED: Final = "incorrectInputValues"
_STOPPED: Final = ("resultSizeOverflow", "unknownOrDamagedCommand", "undefinedError")  # an interruption passes


def sent(package: Package) -> tuple[Step, ...]:
    """The steps of its operation as they travelled: listings with the tags that they named."""
    asked = package.carried.steps if package.carried is not None else ()
    if not any(isinstance(step, ListProfileInfo) for step in asked):
        return asked
    return steps.steps_in(sgp32.decode(EuiccPackageRequest, package.sealed).package.package)


def refuses_tags(package: Package, outcome: Outcome) -> bool:
    """Whether the first step not done is a listing whose tags we named and nobody ordered, refused for them."""
    asked = package.carried.steps if package.carried is not None else ()
    if not outcome.steps or outcome.done:
        return False
    for step, went, ended in zip(asked, sent(package), outcome.steps, strict=True):
        if not ended.done:
            stopped = ended.place is None and ended.reason in _STOPPED
            return went != step and (stopped or ended.reason == _REFUSED)
    return False
