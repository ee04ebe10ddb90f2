"""Fixtures on a real Postgres: one cluster a run, one database a test."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.announced import watching
from tests.cluster import Cluster, join
from tests.database import Database, fresh
from tests.told import broken_promises


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The Postgres of this run, shared by all workers; it ends with the last of them, however they end."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    cluster, held = join(folder)
    with held:
        yield cluster


@pytest.fixture
async def database(postgres: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database of its own for this test, migrated, with nothing in it but what the migrations put there.

    Whatever the test was about: an event that came about must be what its JSON Schema says.
    """
    async with fresh(postgres) as made:
        if "EIM_TEST_ANNOUNCED" in os.environ:
            async with watching(made) as heard:
                yield made
            assert heard.missing() == []
            return
        yield made
        if request.node.get_closest_marker("made_up_events") is None:
            assert await broken_promises(made) == []
