"""The command line against a real server on a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypercorn.asyncio import serve
from hypercorn.config import Config

from eim.cli import main
from eim.services.tokens import SETUP, NewToken, Scope
from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import services_of


class Eim:
    """Runs `eim` with these words, against the server at `address`."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._environment = {
            "EIM_SERVER": address,
            "EIM_SERVER_DATA_DIR": str(folder),
            "COLUMNS": "240",
            "EIM_TOKEN": "",
            "XDG_CONFIG_HOME": str(folder / "config"),
            "EIM_SERVERS_FILE": "",
            "EIM_PROFILE": "",
        }

    async def __call__(self, *words: str, **more: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, list(words), env=self._environment | more)


@pytest.fixture
async def eim(database: Database, tmp_path: Path) -> AsyncIterator[Eim]:
    """Runs `eim` with these words, against a server with one identity, with a token of every scope."""
    await database.seed_identity()
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("cli", frozenset(Scope)))
    (tmp_path / "operator.token").write_text(made.secret + "\n", encoding="ascii")
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config.bind = [f"fd://{listener.detach()}"]  # closed by the server
    config.errorlog = None
    stop = asyncio.Event()

    async def stopped() -> None:
        await stop.wait()

    serving = asyncio.create_task(serve(operator_app(services), config, shutdown_trigger=stopped))  # type: ignore[arg-type] # Starlette is an ASGI application
    yield Eim(address, tmp_path)
    stop.set()
    await serving
