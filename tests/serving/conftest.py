"""A data folder for `eim serve` that nothing outlives."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eim.postgres import Embedded
from tests.serving.served import Serve


class Installation:
    """Guards one data folder and all that was started on it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._started: list[Serve] = []

    def serve(self, **settings: str) -> Serve:
        """Start `eim serve`; nothing is waited for."""
        started = Serve(self.data, **settings)
        self._started.append(started)
        return started

    def close(self) -> None:
        for started in self._started:
            if started.process.poll() is None:
                os.kill(started.process.pid, signal.SIGTERM)
            started.process.wait(30)
        if (self.data / "postgres").exists():
            asyncio.run(Embedded(self.data / "postgres").remove())


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "data")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One that runs all through a module: for tests that leave it running."""
    made = Installation(tmp_path_factory.mktemp("serving") / "data")
    try:
        yield made.serve().up()
    finally:
        made.close()
