"""ESipa: each message goes to the service that answers it, by its tag (SGP.32 section 6.3.2)."""

from eim.domain.ids import Eid
from eim.protocol.esipa import Download, Notified, Poll, Provided, Received, UnnamedPoll, download_refusal, poll_error
from eim.services.again import again
from eim.services.polls import Polls
from eim.services.results import Results
from eim.services.whose import Source


class Esipa:
    """The device side's one service: any binding (HTTP, CoAP) enters here."""

    def __init__(self, polls: Polls, results: Results) -> None:
        self._polls = polls
        self._results = results

    async def answer(self, received: Received, source: Source) -> bytes | None:
        """The octets that answer `received`; None: stored, and there is nothing to say (HTTP 204).

        Raises Unavailable when the database is away: nothing is answered from thin air.
        """
        return await again(lambda: self._answer(received, source))

    async def _answer(self, received: Received, source: Source) -> bytes | None:
        match received:
            case Poll():
                return await self._polls.answer(received, source.peer)
            case UnnamedPoll():
                return poll_error(received.error)
            case Provided():
                answer = await self._results.provide(received, source)
                return answer if received.wants_answer else None
            case Notified():
                await self._results.notify(received, source)
                return None
            case Download():
                return download_refusal(received)


def polled_eid(received: Received) -> Eid | None:
    """The EID to remember for this connection: that of its last poll."""
    return Eid(received.eid) if isinstance(received, Poll) else None
