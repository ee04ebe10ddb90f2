"""What a card signs against what it signed before: contradictions that no single card makes (docs/suspicion.md)."""

import hashlib
from collections.abc import Sequence
from typing import Final

from eim.asn1.sgp32 import ErrorSigned, ResultSigned, decode_package_result
from eim.domain.euicc import Profile
from eim.domain.ids import format_iccid
from eim.domain.suspicion import Why
from eim.services import barring
from eim.services.visit import Visit
from eim.store import barring as bars
from eim.store import results
from eim.store.packages import Package

_NEVER_OUT: Final = ("waiting", "dead")
_SHOWN: Final = 5  # ICCIDs in an evidence


async def look(visit: Visit, result: ResultSigned | ErrorSigned, package: Package | None) -> None:
    """A second result for one counter, and a result for a counter that never went out. The signature holds."""
    if package is None or package.state in _NEVER_OUT:
        highest = await bars.highest_handed(visit.db, visit.bucket, visit.eid)
        if result.data.counter > highest:
            about = {"counter": result.data.counter, "highest_handed": highest}
            await barring.suspect(visit, Why.COUNTER, about)
    elif package.state != "head" and isinstance(result, ResultSigned):
        await _against_others(visit, result)


async def look_at_sequence(visit: Visit, result: ResultSigned) -> None:
    """The newest result carries a sequence number that the card was past already."""
    highest, seq = visit.card.highest_seq, result.data.seq_number
    if highest is not None and seq < highest and not visit.card.unverifiable:
        await barring.suspect(visit, Why.SEQUENCE, {"counter": result.data.counter, "seq": seq, "highest_seq": highest})


async def look_at_inventory(visit: Visit, before: Sequence[Profile], now: Sequence[Profile]) -> None:
    """All profiles are others than the card listed before, and nobody said that anything changed."""
    was, new = {p.iccid for p in before}, {p.iccid for p in now}
    if was and new and not was & new:
        about = {name: [format_iccid(i) for i in sorted(some)[:_SHOWN]] for name, some in (("was", was), ("is", new))}
        await barring.suspect(visit, Why.INVENTORY, about)


async def _against_others(visit: Visit, result: ResultSigned) -> None:
    """A rollback makes a second result (SGP.32 section 3.3.2), and the same data may be signed anew; nothing else."""
    if _rolled_back(result):
        return
    digest = hashlib.sha256(result.raw).digest()
    for octets in await results.others_of(visit.db, visit.bucket, visit.eid, result.data.counter, digest):
        other = decode_package_result(octets)
        if isinstance(other, ResultSigned) and other.signed != result.signed and not _rolled_back(other):
            seqs = [other.data.seq_number, result.data.seq_number]
            await barring.suspect(visit, Why.TWO_RESULTS, {"counter": result.data.counter, "seqs": seqs})
            return


def _rolled_back(result: ResultSigned) -> bool:
    return any(element.kind == "rollback" for element in result.data.results)
