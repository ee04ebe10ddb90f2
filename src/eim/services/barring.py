"""Cards to which nothing goes out: suspected of being two, denied, or orphans. In the caller's transaction.

What a barred card brings is stored and acknowledged as ever. What it polls for is answered like any poll that finds
nothing. What was out is in doubt, and what was sealed is taken back by a worker.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from eim.asn1.sgp32 import ErrorUnsigned
from eim.domain.event import Happening
from eim.domain.suspicion import MEANINGS, Why
from eim.services.visit import Visit
from eim.store import barring, packages, requests, work
from eim.store.requests import Ask

_ORPHAN_AFTER: Final = 3  # recoveries that the card could not even sign
_ORPHAN_AFTER_RESET: Final = 1  # and after a reset was reported
_UNSIGNED: Final = "unsigned"
_TOO_LARGE: Final = 15


async def suspect(visit: Visit, why: Why, evidence: Mapping[str, object]) -> None:
    """Tell that two cards may share this EID, once a day for each reason; bar it where the configuration says so."""
    if await barring.is_suspected(visit.db, visit.bucket, visit.eid, why.value):
        return
    about = {"why": why.value, "says": MEANINGS[why], "evidence": dict(evidence)}
    await visit.record(Happening.EUICC_SUSPECTED, about)
    await visit.audit("euicc.suspected", about)
    if why in visit.suspicion.quarantine and visit.card.quarantined_at is None:
        await barring.quarantine(visit.db, visit.bucket, visit.eid, why.value)
        await visit.record(Happening.EUICC_QUARANTINED, {"why": why.value, "by": "eim"})
        await visit.audit("euicc.quarantine", {"why": why.value})
        await _hold_back(visit, "quarantined")


async def perhaps_orphaned(visit: Visit, error: ErrorUnsigned) -> None:
    """A card that doesn't know us can sign nothing. One error without signature proves nothing; that what is to clear
    the doubt is answered so again and again, by who knows the transaction ids, is taken for it."""
    head = await packages.head(visit.db, visit.bucket, visit.eid)
    names_ours = head is not None and error.transaction_id is not None and head.transaction == error.transaction_id
    if error.code == _TOO_LARGE:
        return  # v1.3: it knows us, and the package is too large for it
    if visit.card.next_key is not None:
        return  # which of two keys it obeys is being found out: one of them it can't know
    if not names_ours or error.eim_id != visit.card.eim_id or visit.card.orphaned_at is not None:
        return
    tried = await work.failed_recoveries(visit.db, visit.bucket, visit.eid, _UNSIGNED)
    if tried >= (_ORPHAN_AFTER if visit.card.reset_at is None else _ORPHAN_AFTER_RESET):
        await orphan(visit, "it answers that it knows no such eIM", error.eim_id)


async def orphan(visit: Visit, why: str, eim_id: str) -> None:
    """The card obeys us no more: nothing more is made for it. What is out stays out: a card that signs it is none."""
    await barring.orphan(visit.db, visit.bucket, visit.eid)
    reset = visit.card.reset_at.isoformat() if visit.card.reset_at else None
    about = {"why": why, "eim_id": eim_id, "reset_reported_at": reset}
    await visit.record(Happening.EUICC_ORPHANED, about)
    await visit.audit("euicc.orphaned", about)
    await visit.reseal()


async def found_again(visit: Visit) -> None:
    """It signed what is out with it now, so it knows us: who made it look an orphan was somebody else."""
    await barring.signed_again(visit.db, visit.bucket, visit.eid)
    visit.card = msgspec.structs.replace(visit.card, orphaned_at=None)
    about = {"why": "it signed what was out", "by": "card", "was": "orphaned"}
    await visit.record(Happening.EUICC_RELEASED, about)
    await visit.audit("euicc.release", about)
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.RECOVER, "released")


async def deny(visit: Visit, denial: UUID, by: str) -> None:
    """The card fell under a denial."""
    await barring.deny(visit.db, visit.bucket, visit.eid, denial)
    await visit.record(Happening.EUICC_DENIED, {"denial": str(denial)})
    await visit.audit("euicc.denied", {"denial": str(denial), "found_by": by})
    await _hold_back(visit, "denied")


async def _hold_back(visit: Visit, reason: str) -> None:
    """What is out may be executed by whoever has it; what is not must not go out."""
    operation = await barring.head(visit.db, visit.bucket, visit.eid)
    if operation is not None and await work.doubt(visit.db, visit.bucket, operation, reason):
        about = {"operation": str(operation), "reason": reason}
        await visit.audit("operation.in_doubt", about)
        await visit.record(Happening.OPERATION_IN_DOUBT, about)
    await visit.reseal()
