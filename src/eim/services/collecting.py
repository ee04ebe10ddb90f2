"""Results collected: all that came while the database took in the ones before are one transaction (design 3.8).

Those that are plain are taken in together; every other one as if it had come alone. One that comes while nothing is
under way is taken at once; where many came together, the next are given a moment to do so again, for a transaction of
fifty costs hardly more than one of twenty. None is acknowledged before the commit of its transaction.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from eim.asn1.sgp32 import ResultSigned
from eim.domain.euicc import Speaks
from eim.domain.ids import Bucket, Eid
from eim.errors import Contended, EimError
from eim.protocol import ecdsa
from eim.protocol.esipa import Provided, acknowledgement
from eim.services import plain
from eim.services.plain import Decided, Said
from eim.services.results import Results, news_of_version
from eim.store import Db, dependents, settled
from eim.store.connect import Pool, acquire
from eim.store.settled import Found

_MOST: Final = 200  # results in one transaction
_MANY: Final = 8  # results in one transaction: then more come at once
_MOMENT_S: Final = 0.002  # for which they are waited for
_SECOND: Final = 100  # results that wait before another lane takes some, too
_LONG_S: Final = 0.05  # of one transaction; then another lane takes what waits, too
_FEW: Final = 2  # signatures that are verified sooner than a thread is told to

# The answer; None: this one has to be taken in by itself; or why there is none.
Respond = Callable[[bytes | EimError | None], None]

_log = structlog.get_logger()


class _Brought(msgspec.Struct, frozen=True):
    provided: Provided
    said: Said
    respond: Respond


class Collecting:
    """Guards the results that wait for a transaction of this process. Each lane makes one at a time; those behind the
    first only when it has too many, or takes too long."""

    def __init__(self, pool: Pool, results: Results, lanes: int) -> None:
        self._pool = pool
        self._results = results
        self._waiting: list[_Brought] = []
        self._calls = [asyncio.Event() for _ in range(lanes)]
        self._slow: set[int] = set()  # lanes whose transaction takes long

    def bring(self, provided: Provided, respond: Respond) -> None:
        """Have `respond` called once, from the event loop, when what `provided` brings is committed."""
        said = plain.said(provided)
        if said is None:
            respond(None)
            return
        self._waiting.append(_Brought(provided, said, respond))
        self._calls[0].set()
        if len(self._waiting) >= _SECOND or self._slow:
            self._call_all()

    async def run(self) -> None:
        """Take in and answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._calls)):
                group.create_task(self._lane(number))

    def _call_all(self) -> None:
        if self._waiting:
            for call in self._calls:
                call.set()

    def _notice_slow(self, number: int) -> None:
        self._slow.add(number)
        self._call_all()

    async def _lane(self, number: int) -> None:
        loop, before = asyncio.get_running_loop(), 0
        while True:
            await self._calls[number].wait()
            if before >= _MANY:
                await asyncio.sleep(_MOMENT_S)
            brought = self._take(number)
            stuck = loop.call_later(_LONG_S, self._notice_slow, number)
            for each, answer in zip(brought, await self._answer(brought), strict=True):
                each.respond(answer)
            stuck.cancel()
            self._slow.discard(number)
            before = len(brought)

    def _take(self, number: int) -> list[_Brought]:
        brought, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if not self._waiting:
            self._calls[number].clear()
        return brought

    async def _answer(self, brought: Sequence[_Brought]) -> Sequence[bytes | EimError | None]:
        try:
            return await self._take_in(brought) if brought else ()
        except Contended:
            return [None] * len(brought)
        except EimError as error:
            return [error] * len(brought)
        except Exception:  # noqa: BLE001 - alone, each fails or doesn't by itself
            _log.exception("results.failed")
            return [None] * len(brought)

    async def _take_in(self, brought: Sequence[_Brought]) -> list[bytes | None]:
        """The acknowledgements of those that were plain and are committed; None for the others."""
        listed, done = [each.provided.notifications for each in brought], dict[int, bytes]()
        async with acquire(self._pool) as db:
            found = await settled.find(db, [each.said.name for each in brought])
            decided = await _verified(_plain(brought, found))
            while decided:
                try:
                    done = await self._commit(db, decided, listed)
                    break
                except _NotPlainError as error:
                    decided = {place: each for place, each in decided.items() if place not in error.places}
        return [done.get(n) for n in range(len(brought))]

    async def _commit(
        self, db: Db, decided: Mapping[int, Decided], listed: Sequence[Sequence[bytes]]
    ) -> dict[int, bytes]:
        """The answers to those that are taken in when this returns; the other cards are not as they were read.

        listed  the notifications beside each result, by place
        """
        places, done = list(decided), dict[int, bytes]()
        async with db.transaction():
            locked = [places[n] for n in await settled.lock(db, [each.claim for each in decided.values()])]
            if locked:
                await _write(db, {place: decided[place] for place in locked})
            for place in locked:
                card, beside = decided[place].card, listed[place]
                more = await self._results.keep_listed(db, card, beside) if beside else ()
                done[place] = _acknowledgement(decided[place], more)
        return done


class _NotPlainError(Exception):
    """What the profiles of some cards say is not plain: nothing was written, and the others may go on without them."""

    def __init__(self, places: Collection[int]) -> None:
        super().__init__()
        self.places = places


def _plain(brought: Sequence[_Brought], found: Sequence[Found | None]) -> dict[int, Decided]:
    """By place, those that are plain if their signature holds, one a card, in the order of (bucket, EID)."""
    decided: dict[tuple[Bucket, Eid], tuple[int, Decided]] = {}
    for place, (each, read) in enumerate(zip(brought, found, strict=True)):
        if read is None or (each.said.name.bucket, read.eid) in decided or _tells_version(each.provided, read):
            continue
        decision = plain.decide(each.said, read)
        if decision is not None:
            decided[decision.card] = (place, decision)
    return dict(decided[card] for card in sorted(decided))


def _tells_version(provided: Provided, read: Found) -> bool:
    """Whether the device shows which version it speaks, so that more than the result is news."""
    return provided.speaks is Speaks.V1_0_1 or news_of_version(read.speaks, provided) is not None


async def _verified(decided: Mapping[int, Decided]) -> dict[int, Decided]:
    """Those whose signature holds. Many are verified beside the event loop."""
    asked = {place: check for place, each in decided.items() if (check := plain.check(each)) is not None}
    checks = list(asked.values())
    if len(checks) <= _FEW:
        holds = ecdsa.verify_batch(checks)
    else:
        holds = await asyncio.to_thread(ecdsa.verify_batch, checks)
    return {place: decided[place] for place, held in zip(asked, holds, strict=True) if held}


async def _write(db: Db, decided: Mapping[int, Decided]) -> None:
    needing = [each.card for each in decided.values() if each.needs_profiles]
    listing = [each.card for each in decided.values() if each.lists]
    known = await settled.profiles(db, needing) if needing else {}
    doubtful = await settled.doubtful(db, listing) if listing else ()  # a listing clears what is in doubt
    effects = {
        place: None if each.card[1] in doubtful else plain.settle(each, known.get(each.card[1], ()))
        for place, each in decided.items()
    }
    if strange := [place for place, effect in effects.items() if effect is None]:
        raise _NotPlainError(strange)
    written = await settled.write(db, [effect for effect in effects.values() if effect])
    for bucket, operation, state in written.followed:
        await dependents.follow(db, bucket, operation, state, "device")
    if written.more or written.followed:
        await settled.hint(db, [each.card for each in decided.values()])


def _acknowledgement(decided: Decided, beside: Sequence[int]) -> bytes:
    """The answer that lets the card forget its result, and these notifications."""
    result = decided.said.result
    seqs = [result.data.seq_number] if isinstance(result, ResultSigned) else []
    return acknowledgement([*seqs, *(seq for seq in beside if seq not in seqs)], decided.found.speaks)
