"""A card in an emergency call does nothing for us: all is tried again later, as domain.retry says (SGP.32 5.9.22).

It is no failure, whoever says it: the card for a package, its agent for a data request or a download.
"""

from typing import Final

from eim.domain.event import Happening
from eim.services.visit import Visit
from eim.store import changes

ACTIVE: Final = 104  # in package results, data errors and download results alike
REASON: Final = "ecallActive"


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
