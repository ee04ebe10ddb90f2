"""Refusals that a card or its IPA gives because it was told to: every code of SGP.32 has a name here.

Most codes come about by the card's state (a policy rule, a busy card, a full one). What is told here answers for all of
them alike, also for those no state brings about, and any number can be told, for what a future card may say.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from eim.errors import BadConfiguration

_UNDEFINED: Final = {"undefinedError": 127}
_PROFILE: Final = {"iccidOrAidNotFound": 1, "disallowedByPolicy": 3, "catBusy": 5} | _UNDEFINED
_EIM: Final = {"ciPKUnknown": 3, "counterValueOutOfRange": 6, "commandError": 7} | _UNDEFINED

# By what refuses (SGP.32 sections 2.11.2.1, 2.11.2.2, 2.11.2.3, 5.9.16, 6.3.2.7): the standard's name of each code.
CODES: Final[Mapping[str, Mapping[str, int]]] = {
    "enable": _PROFILE | {"profileNotInDisabledState": 2, "rollbackNotAvailable": 20},
    "disable": _PROFILE | {"profileNotInEnabledState": 2},
    "delete": _PROFILE | {"profileNotInDisabledState": 2, "rollbackNotAvailable": 20, "returnFallbackProfile": 21},
    "listProfileInfo": {"incorrectInputValues": 1, "profileChangeOngoing": 11} | _UNDEFINED,
    "configureImmediateEnable": {"insufficientMemory": 1, "commandError": 7} | _UNDEFINED,
    "setFallbackAttribute": {"iccidOrAidNotFound": 1, "fallbackNotAllowed": 2, "fallbackProfileEnabled": 3}
    | _UNDEFINED,
    "unsetFallbackAttribute": {"noFallbackAttribute": 2, "fallbackProfileEnabled": 3, "commandError": 7} | _UNDEFINED,
    "setDefaultDpAddress": _UNDEFINED,
    "addEim": _EIM | {"insufficientMemory": 1, "associatedEimAlreadyExists": 2, "invalidAssociationToken": 5},
    "deleteEim": {"eimNotFound": 1, "commandError": 7} | _UNDEFINED,
    "updateEim": _EIM | {"eimNotFound": 1},
    "listEim": _UNDEFINED,
    "rollback": _UNDEFINED,  # rollbackResult 8C: the card could not go back
    "profileRollback": {"rollbackNotAllowed": 1, "catBusy": 5, "commandError": 7} | _UNDEFINED,  # what the IPA is told
    "processingTerminated": {"resultSizeOverflow": 1, "unknownOrDamagedCommand": 2, "interruption": 3} | _UNDEFINED,
    "package": {
        "invalidEid": 3,
        "replayError": 4,
        "counterValueOutOfRange": 6,
        "sizeOverflow": 15,
        "ecallActive": 104,
    }
    | _UNDEFINED,
    "unsigned": {"sizeOverflow": 15} | _UNDEFINED,  # euiccPackageErrorUnsigned; its code travels in v1.3 only
    "data": {"incorrectTagList": 1, "euiccCiPKIdNotFound": 5, "ecallActive": 104} | _UNDEFINED,
    "download": {"ecallActive": 104} | _UNDEFINED,  # profileDownloadTriggerResult
    "ipa": {"invalidPackageFormat": 1, "unknownPackage": 2} | _UNDEFINED,  # eimPackageResultResponseError
}


class _Refusal(msgspec.Struct, frozen=True):
    code: int
    times: int | None  # how often still; None: always


class Provocations:
    """What one card was told to refuse. Guards how often it still will."""

    def __init__(self) -> None:
        self._told: dict[str, _Refusal] = {}

    def refuse(self, what: str, code: str | int, times: int | None = None) -> None:
        """From now on answer `what` (a key of CODES) with `code`, a name or any number; `times` times, or always.

        Raises BadConfiguration for a name that the standard doesn't have there.
        """
        self._told[what] = _Refusal(code_of(what, code), times)

    def obey(self) -> None:
        """Refuse nothing any more but what the card's state demands."""
        self._told.clear()

    def take(self, what: str) -> int | None:
        """The code to answer `what` with, counted as given; None when nothing was told."""
        refusal = self._told.get(what)
        if refusal is None:
            return None
        if refusal.times is not None and refusal.times <= 1:
            del self._told[what]
        elif refusal.times is not None:
            self._told[what] = _Refusal(refusal.code, refusal.times - 1)
        return refusal.code


def code_of(what: str, code: str | int) -> int:
    """The number of the code that `what` has under this name; a number is taken as it is. Raises BadConfiguration."""
    if what not in CODES:
        raise BadConfiguration(f"nothing is called {what!r} here: take one of {', '.join(CODES)}")
    if isinstance(code, int):
        return code
    if code.isdecimal():
        return int(code)
    if code not in CODES[what]:
        raise BadConfiguration(f"{what} has no code {code!r}: take a number or one of {', '.join(CODES[what])}")
    return CODES[what][code]
