"""The real device role, and on demand the worker, on a test's database: real HTTPS in this process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from eim import app, credentials, serving
from eim.config import Config
from eim.config_loading import load
from eim.protocol.trust import TrustedEuicc, check_chain
from eim.services.seeding import Seed, Seeded, Seeding
from eim.services.tokens import SETUP
from eim.store.connect import DbRole, Pool
from tests.database import Database
from tests.esipa.client import Door

EIM_ID: Final = "eIM"
_WORKER_READY_S: Final = 10.0


class Served:
    """A running server and the way to look behind it."""

    def __init__(self, config: Config, door: Door, owner: Pool) -> None:
        self.config = config
        self.door = door
        self.owner = owner

    async def seed(self, seed: Seed) -> Seeded:
        roots = credentials.roots(self.config)

        def check(euicc: bytes, eum: bytes) -> TrustedEuicc:
            return check_chain(euicc, eum, roots, datetime.now(UTC))

        return await Seeding(self.owner, check).seed(SETUP, seed)

    async def row(self, query: str, *arguments: object) -> dict[str, object]:
        found = await self.owner.fetchrow(query, *arguments)
        assert found is not None
        return dict(found)

    async def rows(self, query: str, *arguments: object) -> list[dict[str, object]]:
        return [dict(row) for row in await self.owner.fetch(query, *arguments)]


def configure(folder: Path, logins: Mapping[DbRole, str], **settings: str) -> Config:
    """The configuration of a server in `folder`; `settings` as environment names without EIM_."""
    environment = {
        "SERVER_DATA_DIR": str(folder),
        "SERVER_TEST_MODE": "true",
        "SERVER_LOG_LEVEL": "error",
        "IDENTITY_EIM_ID": EIM_ID,
        "IDENTITY_EIM_ID_TYPE": "proprietary",
        "IDENTITY_FQDN": "localhost",
        "DEVICE_HOST": "127.0.0.1",
        "DEVICE_PORT": "0",
        "DEVICE_WAIT_FOR_SEAL": "0",
        "DATABASE_DSN": logins[DbRole.OWNER],
        "DATABASE_DEVICE_DSN": logins[DbRole.DEVICE],
        "DATABASE_WORKER_DSN": logins[DbRole.WORKER],
        "WORKER_POLL_INTERVAL": "0.05",
    }
    return load(None, {f"EIM_{name}": value for name, value in (environment | settings).items()}).config


@asynccontextmanager
async def serving_device(config: Config, owner: Pool) -> AsyncIterator[Served]:
    """The device role as `eim serve --role device` runs it."""
    assert config.database.dsn is not None
    identity = await app.set_up(config, config.database.dsn.text)
    files = credentials.device_tls(config, identity, datetime.now(UTC))
    assert files.ca is not None
    listener = serving.listen(config.device.host, config.device.port, "device")
    host, port = listener.getsockname()
    stop = asyncio.Event()
    role = asyncio.create_task(app.run_device(config, listener, stop))
    try:
        yield Served(config, Door(host, port, files.ca.read_text()), owner)
    finally:
        stop.set()
        await role


@asynccontextmanager
async def working(config: Config) -> AsyncIterator[None]:
    """The worker role as `eim serve --role worker` runs it."""
    stop = asyncio.Event()
    role = asyncio.create_task(app.run_worker(config, stop, alone=True))
    try:
        yield
    finally:
        stop.set()
        await role


def logins(database: Database) -> Mapping[DbRole, str]:
    return {role: database.dsn(role) for role in DbRole}
