"""A data folder for a page that is followed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from eim.postgres import Embedded


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; what root's Postgres keeps elsewhere goes with it."""
    folder = tmp_path / "data"
    yield folder
    asyncio.run(Embedded(folder / "postgres").remove())
