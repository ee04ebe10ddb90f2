"""A virtual eUICC: the ES10b functions an IPA calls, without I/O (SGP.32 sections 2.11, 3.3, 5.9)."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import AddInitialEimRequest, EcoList, EuiccPackageRequest, EuiccPackageSigned, PsmoList, decode
from eim.domain.euicc import SignatureForm, Speaks
from eim.domain.ids import Eid, Iccid, format_eid
from eim.errors import Malformed
from eim.sim.associations import (
    HIGHEST_COUNTER,
    Association,
    Associations,
    ConfigurationRefused,
    add_initial,
    execute,
)
from eim.sim.der import bits, integer, text, tlv, whole
from eim.sim.journal import Act, Executed, Journal, Personalised, Received, RolledBack, Verdict
from eim.sim.pki import Credentials
from eim.sim.profiles import Profile
from eim.sim.psmo import Condition, Event, State, fall_back, perform
from eim.sim.switches import PLACEHOLDER, STANDARD, Switches, sign, verify

_ERROR_CODE: Final = {
    Verdict.INVALID_EID: 3,
    Verdict.REPLAY: 4,
    Verdict.COUNTER_OUT_OF_RANGE: 6,
    Verdict.ECALL_ACTIVE: 104,
}
_ROLLED_BACK: Final = integer(0x8C, 0)
_ROLLBACK_NOT_ALLOWED: Final = 1


class StoredResult(msgspec.Struct, frozen=True):
    """A result the card keeps until it is acknowledged."""

    seq: int
    eim_id: str
    raw: bytes  # the whole BF51


class StoredNotification(msgspec.Struct, frozen=True):
    seq: int
    event: Event
    raw: bytes  # a PendingNotification: 30 { BF2F, 5F37, CERT.EUICC, CERT.EUM }


class _Accepted(msgspec.Struct, frozen=True):
    """A package that passed every check, and what its results are signed for."""

    package: EuiccPackageSigned
    signature: bytes
    association: Association
    sha256: str


class _Undo(msgspec.Struct, frozen=True):
    """A granted rollback: where it goes back to and what it takes back."""

    accepted: _Accepted
    state: State
    results: tuple[bytes, ...]
    seqs: tuple[int, ...]  # the result's and its notifications'
    result_seq: int


class VirtualEuicc:
    """One card. It lives in the memory of the process; what it does is told to the journal before it answers."""

    def __init__(
        self,
        credentials: Credentials,
        profiles: Sequence[Profile],
        journal: Journal,
        switches: Switches = STANDARD,
        next_seq: int = 1,
    ) -> None:
        self.eid: Eid = credentials.eid
        self.credentials = credentials
        self.switches = switches
        self.state = State(tuple(profiles))
        self.associations = Associations(ci_key_id=credentials.ci_key_id)
        self._journal = journal
        self._label = format_eid(self.eid)
        self._next_seq = next_seq
        self._results: dict[int, StoredResult] = {}
        self._notifications: dict[int, StoredNotification] = {}
        self._undo: _Undo | None = None
        labels = tuple(profile.label for profile in profiles)
        journal.append(Personalised(self._label, labels, self.state.enabled_label, journal.now()))

    def __repr__(self) -> str:
        return f"VirtualEuicc({self._label}, enabled={self.state.enabled_label})"

    @property
    def enabled(self) -> Iccid | None:
        """The active profile; a card may have none."""
        profile = self.state.enabled
        return profile.iccid if profile else None

    @property
    def may_roll_back(self) -> bool:
        """Whether an enable with the rollback flag is still unacknowledged."""
        return self._undo is not None

    @property
    def results(self) -> tuple[StoredResult, ...]:
        """What was not acknowledged yet, oldest first."""
        return tuple(self._results.values())

    @property
    def notifications(self) -> tuple[StoredNotification, ...]:
        return tuple(self._notifications.values())

    def set_condition(self, condition: Condition) -> None:
        """Occupy the card, or free it again."""
        self.state = msgspec.structs.replace(self.state, condition=condition)

    def fall_back(self) -> None:
        """ES10b.ExecuteFallbackMechanism: the profile with the Fallback Attribute takes over."""
        self.state = fall_back(self.state)

    def add_initial_eim(self, octets: bytes) -> bytes:
        """ES10b.AddInitialEim: BF57 in, BF57 out; a token or NULL for each eIM, or one error. Raises Malformed."""
        request = decode(AddInitialEimRequest, octets)
        try:
            self.associations = add_initial(self.associations, request.configs)
        except ConfigurationRefused as refusal:
            return tlv(0xBF57, integer(0x81, refusal.code))
        tokens = (entry.token for entry in self.associations.entries)
        return tlv(0xBF57, tlv(0xA0, *(tlv(0x05) if token is None else integer(0x84, token) for token in tokens)))

    def load_euicc_package(self, octets: bytes) -> bytes:
        """ES10b.LoadEuiccPackage: BF51 in, BF51 out, checked in the order of SGP.32 section 5.9.13.

        Raises Malformed for octets in which not even an eIM can be named.
        """
        digest = hashlib.sha256(octets).hexdigest()
        try:
            request = decode(EuiccPackageRequest, octets)
        except Malformed:
            self._journal.append(
                Received(self._label, None, None, None, digest, Verdict.MALFORMED, self._journal.now())
            )
            raise
        association = self.associations.find(request.package.eim_id)
        verdict = self._judge(request, association)
        self._note(request.package, digest, verdict)
        if association is None or verdict is Verdict.BAD_SIGNATURE:
            return self._unsigned(request.package)
        accepted = _Accepted(request.package, request.signature, association, digest)
        if verdict in (Verdict.EXECUTED, Verdict.ECALL_ACTIVE):
            self.associations = self.associations.put(
                msgspec.structs.replace(association, highest=request.package.counter)
            )
        if verdict is not Verdict.EXECUTED:
            return self._refused(accepted, _ERROR_CODE[verdict])
        return self._execute(accepted)

    def profile_rollback(self, octets: bytes) -> bytes:
        """ES10b.ProfileRollback: BF58 in, BF58 out with the result that replaces the undelivered one.

        The card forgets that result and its notifications. Refused with code 1 when no rollback was granted, or it
        ended by an acknowledgement or another package. Raises Malformed.
        """
        whole(octets, 0xBF58)  # refreshFlag is 80 or, from one IPA, 01: this card refreshes anyway
        undo = self._undo
        if undo is None:
            return tlv(0xBF58, integer(0x02, _ROLLBACK_NOT_ALLOWED))
        for seq in undo.seqs:
            self._results.pop(seq, None)
            self._notifications.pop(seq, None)
        self._undo = None
        self.state = msgspec.structs.replace(undo.state, condition=self.state.condition)
        stored = self._store(undo.accepted, (*undo.results, _ROLLED_BACK))
        self._note_rollback(undo.accepted.package, stored.seq)
        return tlv(0xBF58, integer(0x02, 0), stored.raw)

    def remove_notification(self, seq: int) -> int:
        """ES10b.RemoveNotificationFromList for results and notifications alike: 0 done, 1 nothing to delete."""
        if self._undo is not None and seq == self._undo.result_seq:
            self._undo = None  # the eIM has the result: the way back is closed
        result, notification = self._results.pop(seq, None), self._notifications.pop(seq, None)
        return int(result is None and notification is None)

    def _judge(self, request: EuiccPackageRequest, association: Association | None) -> Verdict:
        if association is None:
            return Verdict.UNKNOWN_EIM
        emulated = self.switches.form is SignatureForm.NONE  # such a card has no key and checks nothing
        if not emulated and not verify(association.key, request.signed + _token(association.token), request.signature):
            return Verdict.BAD_SIGNATURE
        return self._judge_genuine(request.package, association)

    def _judge_genuine(self, package: EuiccPackageSigned, association: Association) -> Verdict:
        if package.eid != self.eid:
            return Verdict.INVALID_EID
        if package.counter > HIGHEST_COUNTER:
            return Verdict.COUNTER_OUT_OF_RANGE
        if package.counter <= association.highest:
            return Verdict.REPLAY
        return Verdict.ECALL_ACTIVE if self.state.condition is Condition.ECALL else Verdict.EXECUTED

    def _execute(self, accepted: _Accepted) -> bytes:
        self._undo = None
        self.state = msgspec.structs.replace(self.state, undo=None)
        results, acts, events = self._perform(accepted.package.package)
        told = [self._notify(event, profile) for event, profile in events if profile.notify is not None]
        stored = self._store(accepted, results)
        self._note_execution(accepted, acts, stored.seq)
        if self.state.undo is not None:
            self._undo = _Undo(accepted, self.state.undo, results, (stored.seq, *told), stored.seq)
        return stored.raw

    def _perform(
        self, package: PsmoList | EcoList
    ) -> tuple[tuple[bytes, ...], tuple[Act, ...], tuple[tuple[Event, Profile], ...]]:
        """In list order, each on what the one before left; a refused one stops none behind it."""
        results, acts, events = list[bytes](), list[Act](), list[tuple[Event, Profile]]()
        match package:
            case PsmoList():
                for operation in package.items:
                    step = perform(self.state, operation)
                    self.state = step.state
                    results.append(step.result)
                    acts.append(step.act)
                    events.extend(step.events)
            case EcoList():
                for change in package.items:
                    done = execute(self.associations, change)
                    self.associations = done.associations
                    results.append(done.result)
                    acts.append(done.act)
        return tuple(results), tuple(acts), tuple(events)

    def _store(self, accepted: _Accepted, results: Sequence[bytes]) -> StoredResult:
        emulated = self.switches.form is SignatureForm.NONE
        seq = 0 if emulated else self._draw_seq()
        data = tlv(0x30, self._head(accepted.package), integer(0x83, seq), tlv(0x30, *results))
        signed = tlv(self.switches.shape.value, data, self._signature(accepted, data))
        stored = StoredResult(seq, accepted.package.eim_id, tlv(0xBF51, signed))
        if not emulated:
            self._results[seq] = stored
        return stored

    def _refused(self, accepted: _Accepted, code: int) -> bytes:
        data = tlv(0x30, self._head(accepted.package), integer(0x02, code))
        return tlv(0xBF51, tlv(0xA1, data, self._signature(accepted, data)))

    def _unsigned(self, package: EuiccPackageSigned) -> bytes:
        transaction = b"" if self.switches.speaks is Speaks.V1_0_1 else _transaction(package)
        return tlv(0xBF51, tlv(0xA2, text(0x80, package.eim_id), transaction))

    def _head(self, package: EuiccPackageSigned) -> bytes:
        return text(0x80, package.eim_id) + integer(0x81, package.counter) + _transaction(package)

    def _signature(self, accepted: _Accepted, data: bytes) -> bytes:
        form = self.switches.form
        if form is SignatureForm.NONE:
            return tlv(0x5F37, PLACEHOLDER)
        behind = _token(accepted.association.token if form is SignatureForm.TOKEN else None)
        if form is SignatureForm.EIM_SIGNATURE:
            behind = tlv(0x5F37, accepted.signature)
        return tlv(0x5F37, sign(self.credentials.key, data + behind, self.switches.coding))

    def _notify(self, event: Event, profile: Profile) -> int:
        seq = self._draw_seq()
        address = text(0x0C, profile.notify or "")
        metadata = tlv(0xBF2F, integer(0x80, seq), bits(0x81, event.value), address, tlv(0x5A, profile.iccid))
        signature = tlv(0x5F37, sign(self.credentials.key, metadata, self.switches.coding))
        certificates = self.credentials.euicc_certificate + self.credentials.eum_certificate
        self._notifications[seq] = StoredNotification(seq, event, tlv(0x30, metadata, signature, certificates))
        return seq

    def _draw_seq(self) -> int:
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def _note(self, package: EuiccPackageSigned, digest: str, verdict: Verdict) -> None:
        self._journal.append(
            Received(
                eid=self._label,
                eim_id=package.eim_id,
                counter=package.counter,
                transaction=_hexadecimal(package.transaction_id),
                sha256=digest,
                verdict=verdict,
                at=self._journal.now(),
            )
        )

    def _note_execution(self, accepted: _Accepted, acts: tuple[Act, ...], seq: int) -> None:
        package = accepted.package
        self._journal.append(
            Executed(
                eid=self._label,
                eim_id=package.eim_id,
                counter=package.counter,
                transaction=_hexadecimal(package.transaction_id),
                sha256=accepted.sha256,
                acts=acts,
                seq=seq,
                enabled=self.state.enabled_label,
                at=self._journal.now(),
            )
        )

    def _note_rollback(self, package: EuiccPackageSigned, seq: int) -> None:
        transaction = _hexadecimal(package.transaction_id)
        enabled, now = self.state.enabled_label, self._journal.now()
        self._journal.append(RolledBack(self._label, package.eim_id, package.counter, transaction, seq, enabled, now))


def _token(token: int | None) -> bytes:
    """The associationToken object behind signed data: zero when there is none, never left out."""
    return integer(0x84, token or 0)


def _transaction(package: EuiccPackageSigned) -> bytes:
    return b"" if package.transaction_id is None else tlv(0x82, package.transaction_id)


def _hexadecimal(octets: bytes | None) -> str | None:
    return None if octets is None else octets.hex().upper()
