"""Packages from operations: assembled and signed, an identity's in one call. No database (design 3.1)."""

import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from eim.asn1.sgp32 import EcoList, EimConfigurationData, SpkiChoice, UpdateEim
from eim.domain.euicc import Speaks
from eim.domain.ids import Bucket, TransactionId, transaction_of
from eim.domain.inventory import naming_tags
from eim.domain.operation import SIGNED, Kind, Priority
from eim.domain.step import DataRequest, Step
from eim.errors import Conflict, EimError, KeyUnusable, Unworkable
from eim.protocol import esep, steps
from eim.protocol.esep import Unsealed
from eim.services.ports import Keys
from eim.store.associations import Allocated
from eim.store.packages import Sealed
from eim.store.work import Front, Open

BY_CONTENT: Final = (EimError, ValueError, TypeError, LookupError, ArithmeticError)  # what a bad row may cause
_RANDOM_OCTETS: Final = 14  # of an eimTransactionId; the first two of its 16 are the bucket


class Job(msgspec.Struct, frozen=True):
    """What is made for one eUICC: the operations that are sealed now, and what was allocated for them."""

    allocated: Allocated
    operations: Sequence[Open]


class _Draft(msgspec.Struct, frozen=True):
    """One package, and what names it to the card and to us."""

    allocated: Allocated
    operation: Open
    number: int
    counter: int | None
    transaction: TransactionId | None
    contents: bytes  # of a signed package; of a data request all of it


def make(jobs: Iterable[Job], keys: Keys) -> list[Sealed]:
    """The packages of all jobs, numbers and counters rising from what was allocated. Raises Unworkable, KeyUnusable."""
    drafts = [draft for job in jobs for draft in _drafts(job)]
    octets = [draft.contents for draft in drafts]
    signed: dict[tuple[str, str], list[int]] = {}
    for at, draft in enumerate(drafts):
        if draft.counter is not None:
            signed.setdefault((draft.allocated.key_name, draft.allocated.eim_id), []).append(at)
    for (key_name, eim_id), places in signed.items():
        made = keys.load(key_name).seal(eim_id, [_unsealed(drafts[at]) for at in places])
        for at, package in zip(places, made, strict=True):
            octets[at] = package
    return [_row(draft, package) for draft, package in zip(drafts, octets, strict=True)]


def unworkable(operation: Open, error: Exception) -> Unworkable:
    """`error` as the fault of this operation."""
    why = str(error) if isinstance(error, EimError) else type(error).__name__
    return Unworkable(why, (operation.bucket, operation.id))


def _drafts(job: Job) -> list[_Draft]:
    counter, drafts = job.allocated.counter, []
    for number, operation in enumerate(job.operations, job.allocated.number + 1):
        counter += operation.kind in SIGNED
        try:
            drafts.append(_draft(job.allocated, operation, number, counter))
        except KeyUnusable:
            raise  # no operation is to blame
        except BY_CONTENT as error:
            raise unworkable(operation, error) from error
    return drafts


def _draft(allocated: Allocated, operation: Open, number: int, counter: int) -> _Draft:
    if operation.kind not in SIGNED:
        named, asked = _data_request(allocated, operation)
        return _Draft(allocated, operation, number, None, named, asked)
    if operation.kind is Kind.RENEW:
        contents = esep.contents(EcoList((UpdateEim(_next_association(allocated, counter)),)))
    else:
        by_tags = None if allocated.plain_lists else allocated.speaks
        contents = _contents(operation.steps, allocated.speaks or Speaks.V1_2, by_tags)
    return _Draft(allocated, operation, number, counter, _draw(allocated.bucket), contents)


def _data_request(allocated: Allocated, operation: Open) -> tuple[TransactionId | None, bytes]:
    """v1.0.1 has no place for a transaction id; a recovery asks such a peer for its stored results in place of
    notifications, where later versions list both."""
    named = None if allocated.speaks is Speaks.V1_0_1 else _draw(allocated.bucket)
    recovers = operation.priority == Priority.RECOVERY
    (asked,) = (step for step in operation.steps if isinstance(step, DataRequest))
    return named, steps.question(asked, allocated.speaks, named, results_only=recovers)


def _draw(bucket: Bucket) -> TransactionId:
    return transaction_of(bucket, secrets.token_bytes(_RANDOM_OCTETS))


@lru_cache(maxsize=1024)  # of immutable values: most of a campaign asks the same
def _contents(asked: tuple[Step, ...], speaks: Speaks, by_tags: Speaks | None) -> bytes:
    """The steps as they travel. `by_tags`: listings name what this version can tell; None: they name nothing."""
    return esep.contents(steps.package_of(naming_tags(asked, by_tags), speaks))


def _next_association(allocated: Allocated, counter: int) -> EimConfigurationData:
    """What changes of our entry on the card: the key, and the counterValue that a new key can't be without."""
    if allocated.next_public_key is None:
        raise Conflict(f"{allocated.eim_id} has no key to move this eUICC to: order it again")
    start = counter if allocated.next_counter is None else allocated.next_counter
    return EimConfigurationData(
        eim_id=allocated.eim_id, counter=start, public_key=SpkiChoice(allocated.next_public_key)
    )


def _unsealed(draft: _Draft) -> Unsealed:
    at = draft.allocated
    return at.eid, draft.counter or 0, draft.transaction, at.association_token, draft.contents


def _row(draft: _Draft, octets: bytes) -> Sealed:
    allocated, operation = draft.allocated, draft.operation
    return Sealed(
        bucket=allocated.bucket,
        eid=allocated.eid,
        tenant=allocated.tenant,
        number=draft.number,
        operation=operation.id,
        identity=allocated.identity,
        counter=draft.counter,
        transaction=draft.transaction,
        token=allocated.association_token,
        speaks=allocated.speaks or Speaks.V1_2,
        octets=octets,
        gate=operation.gate,
        not_before=operation.not_before,
        closes_at=operation.closes_at,
        key_number=allocated.key_number,
        association=allocated.association,
        is_head=operation.front is Front.FREE and draft.number == allocated.number + 1,
    )
