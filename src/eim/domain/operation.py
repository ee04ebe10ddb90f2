"""An operation: what an operator asked of one eUICC, and how it may move."""

from enum import StrEnum
from typing import Final

import msgspec

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


class Who(StrEnum):
    """Who moves an operation."""

    OPERATOR = "an operator"
    WORKER = "the eIM"
    DEVICE = "the device's call"
    CARD = "the card's signed answer"
    TIME = "time"


class Move(msgspec.Struct, frozen=True):
    """One way from a state to another. `event` is the kind that tells it; None: none, the audit has it."""

    start: State | None  # None: it is ordered
    to: State
    who: Who
    why: str
    event: str | None = None


_TAKEN_BACK: Final = (
    "taken back before the card had it: something goes first, its window closed, or the token, key or version changed"
)
_IMPOSSIBLE: Final = "what it comes after did not succeed, or the card's version has no such operation"
_UNKNOWN: Final = "the card knows the counter, but the result was lost; or the result can't be verified yet"

# An end is an end only when the card can't act any more (design 3.3): the one table of what may become of an operation.
MOVES: Final = (
    Move(None, State.ACCEPTED, Who.OPERATOR, "ordered, or needed by the eIM itself", "operation.accepted"),
    Move(State.ACCEPTED, State.SEALED, Who.WORKER, "signed with a counter of its own"),
    Move(
        State.SEALED,
        State.ACCEPTED,
        Who.WORKER,
        _TAKEN_BACK,
    ),
    Move(State.SEALED, State.OUT, Who.DEVICE, "handed out"),
    Move(State.ACCEPTED, State.WITHDRAWN, Who.OPERATOR, "withdrawn before the card had it", "operation.withdrawn"),
    Move(State.SEALED, State.WITHDRAWN, Who.OPERATOR, "withdrawn before the card had it", "operation.withdrawn"),
    Move(State.ACCEPTED, State.EXPIRED, Who.TIME, "its time ran out before the card had it", "operation.expired"),
    Move(State.SEALED, State.EXPIRED, Who.TIME, "its time ran out before the card had it", "operation.expired"),
    Move(
        State.ACCEPTED,
        State.FAILED,
        Who.WORKER,
        _IMPOSSIBLE,
        "operation.failed",
    ),
    Move(State.OUT, State.DONE, Who.CARD, "executed", "operation.done"),
    Move(State.OUT, State.FAILED, Who.CARD, "refused, or rolled back", "operation.failed"),
    Move(
        State.OUT,
        State.ACCEPTED,
        Who.CARD,
        "not executed, for a reason that passes",
        "operation.postponed",
    ),
    Move(State.OUT, State.IN_DOUBT, Who.OPERATOR, "withdrawn when the card had it already", "operation.withdrawn"),
    Move(State.OUT, State.IN_DOUBT, Who.TIME, "its time ran out when the card had it already", "operation.in_doubt"),
    Move(
        State.OUT,
        State.IN_DOUBT,
        Who.CARD,
        _UNKNOWN,
        "operation.in_doubt",
    ),
    Move(State.OUT, State.IN_DOUBT, Who.DEVICE, "an error without signature, which ends nothing", "operation.in_doubt"),
    Move(
        State.IN_DOUBT,
        State.DONE,
        Who.CARD,
        "its late result, or its list, shows that it was executed",
        "operation.done",
    ),
    Move(
        State.IN_DOUBT,
        State.FAILED,
        Who.CARD,
        "its late result, or its list, shows that it was not",
        "operation.failed",
    ),
    Move(State.ACCEPTED, State.DONE, Who.CARD, "a late result of a try before", "operation.done"),
    Move(State.SEALED, State.DONE, Who.CARD, "a late result of a try before", "operation.done"),
    Move(State.SEALED, State.FAILED, Who.CARD, "a late result of a try before", "operation.failed"),
    Move(
        State.DONE,
        State.FAILED,
        Who.CARD,
        "rolled back: our acknowledgement did not reach it in time",
        "operation.failed",
    ),
)
_NEXT: Final = {state: frozenset(each.to for each in MOVES if each.start is state) for state in State}


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
