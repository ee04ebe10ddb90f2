"""A card in an emergency call does nothing for us: what was to be done is tried again later and later (SGP.32 5.9.22).

It is no failure, whoever says it: the card for a package, its agent for a data request or a download.
"""

from typing import Final

from eim.domain.event import Happening
from eim.services.visit import Visit
from eim.store import changes, mailbox, work
from eim.store.work import Asked

ACTIVE: Final = 104  # in package results, data errors and download results alike
REASON: Final = "ecallActive"
_FIRST: Final = 60.0  # seconds until the next try; each time twice as long
_LONGEST: Final = 3600.0
_DOUBLINGS: Final = 6


async def postpone(visit: Visit, asked: Asked) -> None:
    """Send `asked`, which is out, again later; nothing overtakes it. The caller takes its package from the head."""
    delay = min(_FIRST * 2 ** min(visit.card.ecall_answers, _DOUBLINGS), _LONGEST)
    await note(visit)
    await mailbox.unseal_behind(visit.db, visit.bucket, visit.eid)
    await work.postpone(visit.db, visit.bucket, visit.eid, delay)
    await work.retry(visit.db, visit.bucket, asked.id, delay)
    about = {"operation": str(asked.id), "reason": REASON, "again_in_s": int(delay)}
    await visit.record(Happening.OPERATION_POSTPONED, about)


async def note(visit: Visit) -> None:
    """It is in an emergency call: said once, however often it answers so."""
    if visit.card.ecall_since is None:
        await visit.record(Happening.EUICC_ECALL_STARTED, {})
    await changes.in_ecall(visit.db, visit.bucket, visit.eid)


async def over(visit: Visit) -> None:
    """It did what it was asked: the call is over."""
    if visit.card.ecall_since is not None:
        await changes.ecall_over(visit.db, visit.bucket, visit.eid)
        await visit.record(Happening.EUICC_ECALL_ENDED, {"since": visit.card.ecall_since.isoformat()})
