"""An operation: what an operator asked of one eUICC, and how it may move."""

from enum import StrEnum
from typing import Final

from eim.errors import Conflict


class Kind(StrEnum):
    """The one word for what was asked: the name of the single step, or PACKAGE for several (domain/step.py)."""

    ENABLE = "enable"
    DISABLE = "disable"
    DELETE = "delete"
    LIST_PROFILES = "listProfileInfo"
    GET_RAT = "getRAT"
    IMMEDIATE_ENABLE = "configureImmediateEnable"
    SET_FALLBACK = "setFallbackAttribute"
    UNSET_FALLBACK = "unsetFallbackAttribute"
    SET_DP_ADDRESS = "setDefaultDpAddress"
    ADD_EIM = "addEim"
    DELETE_EIM = "deleteEim"
    UPDATE_EIM = "updateEim"
    LIST_EIM = "listEim"
    DATA_REQUEST = "ipaEuiccDataRequest"
    RENEW = "renewAssociation"  # updateEim of ourselves: another key of ours, and perhaps a new count
    PACKAGE = "package"  # several steps, executed in their order
    CHECK = "check"  # of an order: the card is asked for all it tells; its operations are of the kinds above


# What travels in a package that we sign; the data request does not.
SIGNED: Final = frozenset(Kind) - {Kind.DATA_REQUEST, Kind.CHECK}
CHANGING: Final = frozenset({Kind.ENABLE, Kind.DISABLE, Kind.DELETE})  # the state of one profile
OF_A_PROFILE: Final = CHANGING | {Kind.SET_FALLBACK}


class State(StrEnum):
    ACCEPTED = "accepted"
    SEALED = "sealed"
    OUT = "out"
    IN_DOUBT = "in_doubt"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


ENDED: Final = frozenset({State.DONE, State.FAILED, State.WITHDRAWN, State.EXPIRED})

# An end is an end only when the card can't act any more (design 3.3). out -> accepted: the card signed that it did
# not execute the package (an emergency call was on), so a later one may carry the operation. done -> failed: the
# rollback whose first result we already had; the card took it back before our acknowledgement reached it
# (SGP.32 section 3.3.2).
_NEXT: Final = {
    State.ACCEPTED: {State.SEALED, State.WITHDRAWN, State.EXPIRED, State.FAILED},
    State.SEALED: {State.OUT, State.ACCEPTED, State.WITHDRAWN, State.EXPIRED, State.DONE, State.FAILED},
    State.OUT: {State.DONE, State.FAILED, State.IN_DOUBT, State.ACCEPTED},
    State.IN_DOUBT: {State.DONE, State.FAILED},
    State.DONE: {State.FAILED},
    State.FAILED: set[State](),
    State.WITHDRAWN: set[State](),
    State.EXPIRED: set[State](),
}


def move(now: State, to: State) -> State:
    """`to`, when an operation in state `now` may go there. Raises Conflict otherwise."""
    if to not in _NEXT[now]:
        raise Conflict(f"the operation is {now.value} and can't become {to.value}")
    return to


class Priority:
    """The smaller goes first; within one, in the order placed."""

    RECOVERY: Final = 0  # what clears a doubt overtakes everything
    ASKED_AGAIN: Final = 5  # a data request that the first inventory waits for, though it was placed later
    INTRODUCTION: Final = 10  # a card's first data request and inventory
    URGENT: Final = 50
    NORMAL: Final = 100
