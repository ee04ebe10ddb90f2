"""Fixtures: a server for captures and misuse, over real HTTPS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.database import Database
from tests.esipa.captured import CI
from tests.esipa.server import Served, configure, logins, serving_device


@pytest.fixture
async def served(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """The device role alone: what is out was seeded, and nothing else is sealed."""
    roots = {"TRUST_ROOTS": str(CI)} if CI.exists() else {}
    async with serving_device(configure(tmp_path, logins(database), **roots), database.owner()) as running:
        yield running
