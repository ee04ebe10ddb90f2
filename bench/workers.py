"""What more workers bring: 1, 2 and 4 processes seal the same orders, against one of them."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench._estate import database, postgres, settle_in, vacuum
from bench._measuring import Size, conditions, cpu_of, line, size
from eim.keys.files import KeyStore
from eim.protocol.published_keys import Mode
from eim.store.connect import DbRole
from tests.database import Database

_STANDARD: Final = Size(rounds=2, operations=20_000, euiccs=20_000)
_CREWS: Final = (1, 2, 4)
_FORGET: Final = (
    "UPDATE gates SET open = false",
    "UPDATE operations SET state = 'done' WHERE state <> 'done'",
    "UPDATE packages SET state = 'ended', queued = false WHERE state <> 'ended'",
    "UPDATE mailbox SET sealed = NULL, number = NULL, operation = NULL, counter = NULL WHERE sealed IS NOT NULL",
)
_ORDER: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)
    SELECT bucket, gen_random_uuid(), eid, tenant, identity, 1000 + $1, 'listProfileInfo', 'bench'
      FROM euiccs LIMIT $2
"""
_OPEN: Final = "UPDATE gates SET open = true"
_HINT: Final = "SELECT pg_notify('eim_work', bucket::text) FROM generate_series(0, 1023) AS bucket"
_LEFT: Final = "SELECT EXISTS (SELECT 1 FROM operations WHERE state = 'accepted')"
_WARM: Final = 5  # after the fifth part of its time a worker has loaded and cached what it will
_TRANSACTIONS: Final = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
_IDLE_S: Final = 15.0
_HOLDERS: Final = "SELECT count(DISTINCT holder) FROM leases WHERE holder IS NOT NULL"


class Run(msgspec.Struct, frozen=True):
    """One crew sealing all orders: seconds, and seconds of CPU time."""

    wall: float
    workers: float
    postgres: float
    idle_transactions: float  # a second, of all workers, with nothing to do
    idle_cpu: float  # seconds a second, of workers and Postgres
    memory: float  # MiB of the largest worker at the end
    growth: float  # of it in the last four fifths of the time


class Crew:
    """Guards `count` worker processes."""

    def __init__(self, made: Database, data: Path, count: int) -> None:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")}
        self._environment = inherited | {
            "EIM_SERVER_DATA_DIR": str(data),
            "EIM_SERVER_LOG_LEVEL": "error",
            "EIM_DATABASE_WORKER_DSN": made.dsn(DbRole.WORKER),
        }
        self._made = made
        self._count = count
        self._running: list[subprocess.Popen[bytes]] = []

    def memory(self) -> float:
        """MiB that the largest worker has resident."""
        return max(_resident(process.pid) for process in self._running)

    async def __aenter__(self) -> "Crew":
        command = [sys.executable, "-m", "eim", "serve", "--role", "worker"]
        self._running = [self._start(command) for _ in range(self._count)]
        while await self._made.owner().fetchval(_HOLDERS) != self._count:  # noqa: ASYNC110 - the database is asked
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        return self

    def cpu(self) -> float:
        """Seconds of CPU time of all of them so far."""
        return cpu_of(lambda: [process.pid for process in self._running])()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self._environment)

    async def __aexit__(self, *_: object) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            await asyncio.to_thread(process.wait, 30)


async def _run(made: Database, data: Path, count: int, orders: tuple[int, int]) -> Run:
    owner, database_cpu = made.owner(), cpu_of(postgres)
    for statement in _FORGET:
        await owner.execute(statement)
    async with Crew(made, data, count) as crew:
        workers_cpu = crew.cpu
        idle = min(orders[1] / 1000, _IDLE_S)
        before, used = await owner.fetchval(_TRANSACTIONS), workers_cpu() + database_cpu()
        await asyncio.sleep(idle)
        after, used = await owner.fetchval(_TRANSACTIONS), workers_cpu() + database_cpu() - used
        await owner.execute(_ORDER, *orders)
        await vacuum(made)
        workers, database_used, began = workers_cpu(), database_cpu(), time.perf_counter()
        await owner.execute(_OPEN)
        await owner.execute(_HINT)
        memory = [crew.memory()]
        while await owner.fetchval(_LEFT):
            await asyncio.sleep(0.05)
            memory.append(crew.memory())
        sealed = time.perf_counter() - began, workers_cpu() - workers, database_cpu() - database_used
        early = memory[len(memory) // _WARM]
        return Run(*sealed, (after - before) / idle, used / idle, memory[-1], memory[-1] - early)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


async def main(wanted: Size) -> None:
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as folder:
        data = Path(folder)
        KeyStore(data / "keys", Mode.PRODUCTION).create_identity_key("test")
        async with database() as made:
            await settle_in(made, wanted.euiccs)
            runs: dict[int, list[Run]] = {count: [] for count in _CREWS}
            for number in range(wanted.rounds):
                for count in _CREWS:
                    orders = (number * 2 * max(_CREWS) + count, wanted.operations)  # numbers that no run before had
                    runs[count].append(await _run(made, data, count, orders))
            _report(runs, wanted.operations)


def _report(runs: dict[int, list[Run]], operations: int) -> None:
    alone = min(run.wall for run in runs[_CREWS[0]])
    single = min(run.workers + run.postgres for run in runs[_CREWS[0]])
    for count, some in runs.items():
        best = min(some, key=lambda run: run.wall)
        line(
            f"workers_{count}",
            f"{(best.workers + best.postgres) / single:.2f}x CPU of one worker",
            f"{alone / best.wall:.2f}x its rate",
            f"{operations / best.wall:,.0f} packages/s",
            f"{_micros(best.workers, operations)} of workers and {_micros(best.postgres, operations)} of Postgres each",
            f"the largest has {best.memory:.0f} MiB, {best.growth:+.1f} in the last four fifths",
            f"idle: {best.idle_transactions:.1f} transactions/s and {best.idle_cpu * 1e3:.1f} ms of CPU a second",
            conditions(f"{operations} packages", "P-256", "listProfileInfo", "batches of 1000", "durable commits"),
        )


def _micros(seconds: float, operations: int) -> str:
    return f"{seconds / operations * 1e6:,.0f} us"


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
