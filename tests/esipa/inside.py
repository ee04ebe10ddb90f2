"""The device role's app called without a network: what it answers to octets, by its ASGI interface."""

from typing import Final

import structlog
from starlette.applications import Starlette

from eim.domain.ids import Eid
from eim.protocol.esipa import NO_PACKAGE
from eim.protocol.trust import load_roots
from eim.services.esipa import Esipa
from eim.services.polls import Polls, Seen
from eim.services.results import ResultRules, Results
from eim.services.waiting import Waiters
from eim.store.connect import DbRole
from eim.web.connections import Polled
from eim.web.device import device_app
from eim.web.esipa import EsipaEndpoint
from tests.database import Database
from tests.esipa.client import MEDIA_TYPE, PATH
from tests.services.rig import now

_LIMIT: Final = 64 * 1024


class Inside:
    """One app on one database, and one device's connection to it."""

    def __init__(self, database: Database, polled: Eid | None = None) -> None:
        pool = database.pool(DbRole.DEVICE)
        polls = Polls(pool, Waiters(pool, 0.0), Seen(pool), now, NO_PACKAGE)
        esipa = Esipa(polls, Results(pool, load_roots([]), ResultRules(50, False), now))
        connections = Polled()
        self.app: Starlette = device_app(EsipaEndpoint(esipa, connections, _LIMIT, 30.0), _always)
        if polled is not None:
            connections._eids["10.0.0.1", 40_000] = polled

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and body; 599 when the app raised."""
        status, answer, given = 0, bytearray(), False
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())],
            "client": ("10.0.0.1", 40_000),
            "server": ("localhost", 443),
            "scheme": "https",
        }

        async def receive() -> dict[str, object]:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, object]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(str(message["status"]))
            else:
                part = message.get("body", b"")
                assert isinstance(part, bytes)
                answer.extend(part)

        try:
            await self.app(scope, receive, send)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - any one is a fault of ours, counted with the octets that made it
            return 599, bytes(answer)
        return status, bytes(answer)


def quiet() -> None:
    """No line for each of thousands of refusals."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


async def _always() -> None:
    return None
