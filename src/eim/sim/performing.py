"""A package's operations done on a card, in list order (SGP.32 sections 2.11.1.1, 5.9.13)."""

from typing import Final

import msgspec

from eim.asn1.sgp32 import Eco, EcoList, ListProfileInfo, Psmo, PsmoList
from eim.sim import associations, psmo
from eim.sim.associations import Associations, Limits
from eim.sim.der import integer
from eim.sim.journal import Act
from eim.sim.profiles import Profile
from eim.sim.provocations import Provocations
from eim.sim.psmo import Event, State
from eim.sim.switches import ProfileTags, Switches

_RESULT_TOO_LARGE: Final = 1
_UNKNOWN_COMMAND: Final = 2


class Performed(msgspec.Struct, frozen=True):
    """What a package's operations came to, one result each as far as they were run."""

    results: tuple[bytes, ...] = ()
    acts: tuple[Act, ...] = ()
    events: tuple[tuple[Event, Profile], ...] = ()

    def then(self, result: bytes, act: Act, events: tuple[tuple[Event, Profile], ...] = ()) -> "Performed":
        return Performed((*self.results, result), (*self.acts, act), (*self.events, *events))

    def terminated(self, code: int) -> "Performed":
        """Nothing more was run, and the last result says why."""
        return self.then(integer(0x02, code), Act("processingTerminated", None, code))

    @property
    def size(self) -> int:
        """In octets."""
        return sum(map(len, self.results))


class _Card(msgspec.Struct, frozen=True):
    """The parts of a card that operations change."""

    state: State
    associations: Associations


class Performing(msgspec.Struct, frozen=True):
    """How one card does it."""

    switches: Switches
    provocations: Provocations
    limits: Limits

    def run(
        self, state: State, known: Associations, package: PsmoList | EcoList
    ) -> tuple[State, Associations, Performed]:
        """Each on what the one before left; a refused one stops none behind it, an unknown or interrupted one all."""
        card, performed = _Card(state, known), Performed()
        terminated = self.provocations.take("processingTerminated")
        for at, operation in enumerate(package.items, 1):
            if terminated is not None and at == len(package.items):
                performed = performed.terminated(terminated)
                break
            if isinstance(operation, Psmo) and not self._understands(operation):
                performed = performed.terminated(_UNKNOWN_COMMAND)
                break
            changed, following = self._step(card, operation, performed)
            if self.switches.largest_result is not None and following.size > self.switches.largest_result:
                performed = performed.terminated(_RESULT_TOO_LARGE)
                break
            card, performed = changed, following
        return card.state, card.associations, performed

    def _step(self, card: _Card, operation: Psmo | Eco, performed: Performed) -> tuple[_Card, Performed]:
        if isinstance(operation, Psmo):
            code = self.provocations.take(psmo.name_of(operation))
            step = psmo.refuse(card.state, operation, code) if code is not None else self._perform(card, operation)
            return _Card(step.state, card.associations), performed.then(step.result, step.act, step.events)
        code = self.provocations.take(associations.name_of(operation))
        known = card.associations
        done = (
            associations.execute(known, operation, self.limits)
            if code is None
            else associations.refuse(known, operation, code)
        )
        return _Card(card.state, done.associations), performed.then(done.result, done.act)

    def _understands(self, operation: Psmo) -> bool:
        taken = not _names_tags(operation) or self.switches.profile_tags is not ProfileTags.UNKNOWN
        return taken and psmo.known(operation, self.switches.speaks)

    def _perform(self, card: _Card, operation: Psmo) -> psmo.Step:
        if _names_tags(operation) and self.switches.profile_tags is ProfileTags.REFUSED:
            return psmo.refuse(card.state, operation, psmo.INCORRECT_INPUT)
        return psmo.perform(card.state, operation, self.switches.speaks)


def _names_tags(operation: Psmo) -> bool:
    return isinstance(operation, ListProfileInfo) and operation.tags is not None
