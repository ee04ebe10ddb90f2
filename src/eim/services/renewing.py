"""Which of two keys a card obeys: what the answers to an updateEim, and to what came after it, prove.

A signed answer proves the key of the package that it answers. While the result of an updateEim is lost, the card is
asked with one key, then with the other; nothing else goes out meanwhile.
"""

from eim.domain.operation import State
from eim.domain.outcome import Outcome
from eim.services import applying
from eim.services.visit import Visit
from eim.store import work
from eim.store.packages import Package


async def prove(visit: Visit, package: Package) -> None:
    """The card signed an answer to `package`: where an updateEim before it is in doubt, it is known now.

    The same of one that was with a card when it was taken out: it came back, and its updateEim did not.
    """
    card = visit.card
    if card.next_key is None or package.counter is None:
        return
    renewal = await work.renewal_in_doubt(visit.db, visit.bucket, visit.eid)
    came_back = renewal is None and not await work.is_renewing(visit.db, visit.bucket, visit.eid)
    if not came_back and (renewal is None or package.number <= renewal.number):
        return
    if package.key_number == card.next_key:
        outcome = Outcome(State.DONE, "ok")
    elif package.key_number == card.key_number:
        outcome = Outcome(State.FAILED, "notExecuted")
    else:
        return
    if renewal is None:
        await applying.renewed(visit, outcome)
    else:
        await applying.end(visit, renewal.asked, outcome, {"resolved_by": "key"})
