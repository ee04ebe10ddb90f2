"""A simulated device: an IPA that works for one virtual card over real HTTPS, faults included."""

import asyncio
import random
from enum import Enum
from typing import Final

import msgspec

from eim.asn1.sgp32 import IpaEuiccDataRequest, decode
from eim.domain.euicc import Speaks
from eim.errors import Malformed
from eim.sim import messages
from eim.sim.behaviour import AfterDeath, Behaviour, Carrier, Connections, Notifications, Reporting
from eim.sim.data import data_response
from eim.sim.der import Tlv, read, whole
from eim.sim.euicc import VirtualEuicc
from eim.sim.https import Answer, Connection, Line, NoAnswer

_BUSY: Final = 429
_SERVER_FAULT: Final = 500
_NOTHING: Final = 1  # eimPackageError noEimPackageAvailable


class Ended(Enum):
    """How a visit ended."""

    NOTHING = "nothing"  # the server had no more work
    ERROR = "error"  # it answered another code, or something no device understands
    CAPPED = "capped"  # the device polled as often as it does in one visit
    NO_ANSWER = "noAnswer"
    DIED = "died"
    HUNG_UP = "hungUp"  # the device keeps a result for its next visit


class Counts:
    """What a process's devices did so far, added up."""

    def __init__(self) -> None:
        self.visits = 0
        self.polls = 0
        self.packages = 0  # signed ones given to a card
        self.data_requests = 0
        self.results = 0  # brought through
        self.rollbacks = 0
        self.retries = 0
        self.duplicates = 0
        self.deaths = 0
        self.errors = 0  # answers that no device understands, and HTTP statuses that refuse


class Eim(msgspec.Struct, frozen=True):
    """The server as all devices of a process share it."""

    eim_id: str
    line: Line
    counts: Counts


class _Died(Exception):
    """The device lost power."""


class _Rejected(NoAnswer):
    """The server refuses this message; again would not help."""


class _OffLine(NoAnswer):
    """The modem found no network; no octet left the device."""


class _Fate(Enum):
    ARRIVES = "arrives"
    NEVER_SENT = "neverSent"
    CUT_WHILE_WORKING = "cutWhileWorking"
    ANSWER_LOST = "answerLost"


_FAULTS: Final = (_Fate.NEVER_SENT, _Fate.CUT_WHILE_WORKING, _Fate.ANSWER_LOST)


class Ipa:
    """One device. `visit` may be called again and again, never twice at once."""

    def __init__(self, card: VirtualEuicc, behaviour: Behaviour, eim: Eim, chance: random.Random) -> None:
        self.card = card
        self.behaviour = behaviour
        self.packages = 0  # signed ones this device's card was given
        self._eim_id = eim.eim_id
        self._line = eim.line
        self._counts = eim.counts
        self._chance = chance
        self._connection: Connection | None = None
        self._cause: int | None = None
        self._died = False

    def notify_state_change(self, cause: int) -> None:
        """The next poll says that the card's state changed: 1 fallback, 4 reset, 5 immediate enable .."""
        self._cause = cause

    async def visit(self) -> Ended:
        """Deliver what is left from before, then work until the server has nothing."""
        self._counts.visits += 1
        try:
            await self._deliver_left_over()
            return await self._work()
        except _Died:
            self._counts.deaths += 1
            self._died = True
            return Ended.DIED
        except NoAnswer:
            return Ended.NO_ANSWER
        except Malformed:
            self._counts.errors += 1
            return Ended.ERROR
        finally:
            self._hang_up()

    async def _work(self) -> Ended:
        for _ in range(self.behaviour.polls):
            self._counts.polls += 1
            cause = self.card.cause_for(self._eim_id) if self._cause is None else self._cause
            eid = self.behaviour.polls_as or self.card.eid
            answer = await self._exchange(messages.poll(eid, self._speaks, self.behaviour.plmn, cause))
            self._cause = None
            self.card.told(self._eim_id)
            (given,) = read(whole(answer.body, 0xBF4F).value)
            if given.tag == 0x02:
                return Ended.NOTHING if given.value == bytes((_NOTHING,)) else Ended.ERROR
            await self._obey(given)
            if given.tag == 0xBF51 and self.behaviour.reporting is Reporting.NEXT_VISIT:
                return Ended.HUNG_UP
        return Ended.CAPPED

    async def _obey(self, given: Tlv) -> None:
        refused = self.card.provocations.take("ipa")
        if refused is not None:
            transaction = messages.transaction_of(given.raw)
            await self._provide(messages.response_error(refused, transaction, self._speaks))
            return
        match given.tag:
            case 0xBF51:
                await self._execute(given.raw)
            case 0xBF52:
                self._counts.data_requests += 1
                request = decode(IpaEuiccDataRequest, given.raw)
                await self._provide(data_response(self.card, request, self._eim_id))
            case 0xBF54:
                code = self.card.provocations.take("download")
                code = messages.UNDEFINED_ERROR if code is None else code
                await self._provide(messages.no_download(messages.transaction_in(given.value), self._speaks, code))
            case _:
                await self._provide(messages.response_error(messages.INVALID_PACKAGE_FORMAT, None, self._speaks))

    async def _execute(self, octets: bytes) -> None:
        before = self.card.enabled
        self._counts.packages += 1
        self.packages += 1
        try:
            result = self.card.load_euicc_package(octets)
        except Malformed:
            await self._provide(messages.response_error(messages.INVALID_PACKAGE_FORMAT, None, self._speaks))
            return
        if self._happens(self.behaviour.dies):
            raise _Died
        if self.card.enabled != before:
            self._hang_up()  # REFRESH: the modem attaches again, with another address
        kept = any(stored.raw == result for stored in self.card.results)
        if kept and self.behaviour.reporting is not Reporting.AT_ONCE:
            return
        await self._report(result)

    async def _report(self, result: bytes) -> None:
        """Bring a result through; when that fails over a profile that may be taken back, take it back and say so."""
        try:
            await self._provide(self._with_notifications(result))
        except NoAnswer:
            if not self.card.may_roll_back:
                raise
            await self._roll_back()
        if self.behaviour.notifications in (Notifications.SEPARATE, Notifications.LOST):
            await self._hand_in_notifications()

    async def _roll_back(self) -> None:
        result = messages.result_in(self.card.profile_rollback(messages.ROLLBACK_REQUEST))
        self._hang_up()
        if result is not None:
            self._counts.rollbacks += 1
            await self._provide(self._with_notifications(result))

    async def _deliver_left_over(self) -> None:
        """What an earlier visit could not: stored results, oldest first, then the notifications behind them."""
        died, self._died = self._died, False
        if died and self.card.may_roll_back and self.behaviour.after_death is AfterDeath.ROLL_BACK:
            await self._roll_back()
        if self.behaviour.reporting is Reporting.NEVER:
            return
        for stored in self.card.results:
            if stored in self.card.results:  # a rollback on the way discards one
                await self._report(stored.raw)
        if self.behaviour.notifications is not Notifications.KEPT:
            await self._hand_in_notifications()

    async def _hand_in_notifications(self) -> None:
        if self.behaviour.notifications is Notifications.LOST:
            for lost in self.card.notifications:
                self.card.remove_notification(lost.seq)
        for pending in self.card.notifications:
            await self._exchange(messages.notification(pending.raw))
            self.card.remove_notification(pending.seq)

    def _with_notifications(self, result: bytes) -> bytes:
        listed = self.behaviour.notifications is Notifications.WITH_RESULT
        notifications = [pending.raw for pending in self.card.notifications] if listed else []
        return messages.result_with(result, notifications, self._speaks)

    async def _provide(self, payload: bytes) -> None:
        """Bring `payload` through and let the card forget what the server has. Raises NoAnswer, Malformed."""
        habits = self.behaviour
        body = messages.provide(payload, self.card.eid, self._speaks, habits.naming, habits.carrier)
        stored = [kept.seq for kept in self.card.results if kept.raw in payload]
        stored += [kept.seq for kept in self.card.notifications if kept.raw in payload]
        answer = await self._exchange_twice(body) if self._happens(habits.duplicating) else await self._exchange(body)
        seqs = stored if habits.carrier is Carrier.HANDLE_NOTIFICATION else messages.acknowledged(answer.body)
        for seq in seqs:
            self.card.remove_notification(seq)
        self._counts.results += 1

    async def _exchange_twice(self, body: bytes) -> Answer:
        self._counts.duplicates += 1
        if self._happens(0.5):
            await self._exchange(body)
            return await self._exchange(body)
        first, _ = await asyncio.gather(self._exchange(body), self._send_beside(body))
        return first

    async def _send_beside(self, body: bytes) -> None:
        """The same message over a second connection; what becomes of it doesn't matter to the device."""
        try:
            self._attach()
            connection = await self._line.connect_extra()
        except NoAnswer:
            return
        try:
            await connection.post(body)
        except NoAnswer:
            self._counts.retries += 1
        finally:
            connection.close()

    async def _exchange(self, body: bytes) -> Answer:
        """Try until an answer comes that is one. Raises NoAnswer after the last try, at once when refused."""
        habits = self.behaviour
        for attempt in range(1, habits.tries + 1):
            try:
                answer = await self._try(body)
            except _OffLine:
                if attempt >= habits.attach_tries:
                    raise
                await asyncio.sleep(habits.attach_pause)
                continue
            except NoAnswer:
                answer = None
            if answer is not None and answer.status < 300:
                return answer
            if answer is not None and answer.status != _BUSY and answer.status < _SERVER_FAULT:
                self._counts.errors += 1
                raise _Rejected(f"HTTP {answer.status}")
            self._counts.retries += 1
            self._hang_up()
            await asyncio.sleep(habits.backoff.pause(attempt, self._chance.random()))
        raise NoAnswer(f"no answer in {habits.tries} tries")

    async def _try(self, body: bytes) -> Answer:
        self._attach()
        if self.behaviour.delay:
            await asyncio.sleep(self._chance.uniform(0, self.behaviour.delay))
        fate = self._chance.choice(_FAULTS) if self._happens(self.behaviour.lossy) else _Fate.ARRIVES
        if fate is _Fate.NEVER_SENT:
            raise NoAnswer("lost on the way")
        connection = await self._connected()
        if fate is _Fate.CUT_WHILE_WORKING:
            await _send_and_leave(connection, body)
        answer = await connection.post(body)
        if fate is _Fate.ANSWER_LOST:
            raise NoAnswer("lost on the way back")
        if self.behaviour.connections is Connections.PER_REQUEST:
            self._hang_up()
        return answer

    def _attach(self) -> None:
        if self.card.enabled in self.behaviour.cannot_attach:
            raise _OffLine("no network takes this profile")

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.reusable:
            self._hang_up()
        if self._connection is None:
            self._connection = await self._line.connect()
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._chance.random() < probability

    @property
    def _speaks(self) -> Speaks:
        return self.card.switches.speaks


async def _send_and_leave(connection: Connection, body: bytes) -> None:
    try:
        await connection.send(body)
    except OSError as error:
        raise NoAnswer(f"the exchange broke off: {error!r}") from error
    raise NoAnswer("cut while the server worked")
