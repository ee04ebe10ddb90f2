"""One card's hand in the journal."""

import msgspec

from eim.asn1.sgp32 import EuiccPackageSigned
from eim.domain.ids import Eid, format_eid
from eim.sim.journal import Act, Changed, Executed, Journal, Personalised, Received, RolledBack, Verdict
from eim.sim.psmo import State


class Done(msgspec.Struct, frozen=True):
    """An execution, as its result tells it."""

    seq: int
    acts: tuple[Act, ...]
    association: str
    sha256: str


class Chronicle:
    """Writes what one card does, before the card answers."""

    def __init__(self, journal: Journal, eid: Eid) -> None:
        self._journal = journal
        self._label = format_eid(eid)

    def personalised(self, state: State) -> None:
        labels = tuple(profile.label for profile in state.profiles)
        self._journal.append(Personalised(self._label, labels, state.enabled_label, self._journal.now()))

    def malformed(self, sha256: str) -> None:
        now = self._journal.now()
        self._journal.append(Received(self._label, None, None, None, sha256, Verdict.MALFORMED, now))

    def received(self, package: EuiccPackageSigned, association: str, sha256: str, verdict: Verdict) -> None:
        self._journal.append(
            Received(
                eid=self._label,
                eim_id=package.eim_id,
                counter=package.counter,
                transaction=_transaction(package),
                sha256=sha256,
                verdict=verdict,
                at=self._journal.now(),
                association=association,
            )
        )

    def executed(self, package: EuiccPackageSigned, done: Done, enabled: str | None) -> None:
        self._journal.append(
            Executed(
                eid=self._label,
                eim_id=package.eim_id,
                counter=package.counter,
                transaction=_transaction(package),
                sha256=done.sha256,
                acts=done.acts,
                seq=done.seq,
                enabled=enabled,
                at=self._journal.now(),
                association=done.association,
            )
        )

    def rolled_back(self, package: EuiccPackageSigned, seq: int, enabled: str | None) -> None:
        now = self._journal.now()
        self._journal.append(
            RolledBack(self._label, package.eim_id, package.counter, _transaction(package), seq, enabled, now)
        )

    def changed(self, what: str, code: int, state: State, eims: tuple[str, ...]) -> None:
        """Something happened to the card, or it answered its IPA that it can't."""
        iccids = tuple(profile.label for profile in state.profiles)
        now = self._journal.now()
        self._journal.append(Changed(self._label, what, code, iccids, eims, state.enabled_label, now))


def _transaction(package: EuiccPackageSigned) -> str | None:
    return None if package.transaction_id is None else package.transaction_id.hex().upper()
