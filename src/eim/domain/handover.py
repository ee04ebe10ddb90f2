"""A card changes its eIM: the stages of that, in both directions, and which comes next. Pure (SGP.32 section 3.5)."""

from enum import StrEnum
from typing import Final

import msgspec

from eim.domain.step import AddEim, DeleteEim, ListEim, ListProfileInfo, Step


class Direction(StrEnum):
    IN = "in"  # another eIM added us to the card, and we take over
    OUT = "out"  # we add another eIM, and go


class Proof(StrEnum):
    """What must be there before our own association goes."""

    LISTED = "listed"  # the card lists the new eIM
    CONFIRMED = "confirmed"  # and somebody says that the card called it


class Stage(StrEnum):
    PROVING = "proving"  # in: the card signs its profiles for us
    REMOVING = "removing"  # in: the other eIM is deleted
    ADDING = "adding"  # out: the new eIM is added
    LISTING = "listing"  # the card lists its eIMs
    WAITING = "waiting"  # out: for a confirmation
    DELETING = "deleting"  # out: our own association is deleted, with our last package
    UNDOING = "undoing"  # out, aborted: the new eIM is deleted again
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


ENDED: Final = frozenset({Stage.DONE, Stage.FAILED, Stage.UNDONE})
NOT_LISTED: Final = "eimNotListed"
STILL_LISTED: Final = "eimStillListed"


class Terms(msgspec.Struct, frozen=True):
    """What was decided for all cards of one hand-over."""

    direction: Direction
    eim_id: str  # of the other eIM
    configuration: bytes | None  # out: its EimConfigurationData (30 ..)
    proof: Proof
    delete_other: bool
    aborted: bool = False


class Stands(msgspec.Struct, frozen=True):
    """One card, when the operation of its stage has ended."""

    stage: Stage
    reason: str | None = None  # why that operation did not succeed; None: it did, or none was placed yet
    placed: bool = False  # whether its stage had an operation
    eims: frozenset[str] | None = None  # that the card lists
    confirmed: bool = False


class Move(msgspec.Struct, frozen=True):
    """The stage that comes now, with the step that it asks of the card (None: nothing is asked)."""

    stage: Stage
    step: Step | None = None
    reason: str | None = None


def first_stage(direction: Direction) -> Stage:
    return Stage.PROVING if direction is Direction.IN else Stage.ADDING


def move(terms: Terms, card: Stands, own: str) -> Move:
    """Where one card goes from here. `own`: our eimId."""
    if card.placed and card.reason is not None:
        return Move(Stage.FAILED, reason=card.reason)
    if not card.placed and card.stage is not Stage.WAITING:
        if terms.aborted:
            return Move(Stage.UNDONE)
        return Move(card.stage, _step(terms, card.stage, own))
    following = _next_in(terms, card) if terms.direction is Direction.IN else _next_out(terms, card)
    if following.stage in ENDED or following.stage is Stage.WAITING:
        return following
    return Move(following.stage, _step(terms, following.stage, own))


def _next_in(terms: Terms, card: Stands) -> Move:
    if card.stage is Stage.PROVING:
        return Move(Stage.REMOVING if terms.delete_other and not terms.aborted else Stage.DONE)
    if card.stage is Stage.REMOVING:
        return Move(Stage.LISTING)
    return Move(Stage.FAILED, reason=STILL_LISTED) if terms.eim_id in (card.eims or ()) else Move(Stage.DONE)


def _next_out(terms: Terms, card: Stands) -> Move:
    if card.stage in (Stage.UNDOING, Stage.DELETING):
        return Move(Stage.UNDONE if card.stage is Stage.UNDOING else Stage.DONE)
    if terms.aborted:
        return Move(Stage.UNDOING)
    if card.stage is Stage.ADDING:
        return Move(Stage.LISTING)
    if card.stage is Stage.LISTING:
        if terms.eim_id not in (card.eims or ()):
            return Move(Stage.FAILED, reason=NOT_LISTED)
        return Move(Stage.DELETING if terms.proof is Proof.LISTED or card.confirmed else Stage.WAITING)
    return Move(Stage.DELETING if card.confirmed else Stage.WAITING)


def _step(terms: Terms, stage: Stage, own: str) -> Step:
    match stage:
        case Stage.PROVING:
            return ListProfileInfo()
        case Stage.ADDING:
            return AddEim(terms.configuration or b"")
        case Stage.REMOVING | Stage.UNDOING:
            return DeleteEim(terms.eim_id)
        case Stage.DELETING:
            return DeleteEim(own)
        case _:
            return ListEim()
