"""What all benchmarks share in measuring: CPU time of processes, rounds in turn, one line at the end.

The machine is shared and its clock speed wanders, so a figure alone says little. Each contender runs in short rounds,
all in turn, and its CPU time an operation (client left out, Postgres counted) is set against the baseline's. The
median of the rounds' ratios is the result; seconds are shown for orientation only.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

_CUTIME: Final = 13  # its place behind the process's name in /proc/PID/stat; cstime follows
_NS: Final = 1e-9
_MICRO: Final = 1e6

Work = Callable[[], Awaitable["Done"]]
Prepare = Callable[[], Awaitable[None]]
Cpu = Callable[[], float]  # seconds of CPU time so far


class Size(msgspec.Struct, frozen=True):
    """How much a benchmark does. The smoke test asks for little."""

    rounds: int
    operations: int  # a round
    euiccs: int


class Done(msgspec.Struct, frozen=True):
    """What one round did."""

    operations: int
    latencies: Sequence[float] = ()  # seconds


async def _nothing() -> None:
    """What most need before a round."""


class Contender(msgspec.Struct, frozen=True):
    """Something that is measured: what it does in a round, whose CPU time counts, what must be there before."""

    name: str
    work: Work
    cpu: Cpu
    prepare: Prepare = _nothing
    parts: Mapping[str, Cpu] = {}  # the same CPU time by process, where that is shown


class Score(msgspec.Struct, frozen=True):
    """One contender over all rounds."""

    cpu: Sequence[float]  # seconds an operation, one a round
    wall: Sequence[float]
    latencies: Sequence[float]
    parts: Mapping[str, Sequence[float]] = {}  # of `cpu`, by process

    @property
    def micros(self) -> float:
        """Microseconds of CPU time an operation, the median."""
        return statistics.median(self.cpu) * _MICRO

    @property
    def rate(self) -> float:
        """Operations a second as seen, the median."""
        return 1 / statistics.median(self.wall)

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3

    def over(self, baseline: "Score") -> float:
        """CPU time in baselines, the median of the rounds."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.cpu, baseline.cpu, strict=True))

    def beside(self, baseline: "Score") -> float:
        """The baseline's CPU time in ours, the median of the rounds: higher is better."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.cpu, baseline.cpu, strict=True))

    def micros_of(self, part: str) -> float:
        """Microseconds of CPU time an operation of one of the processes, the median."""
        return statistics.median(self.parts[part]) * _MICRO


def size(standard: Size) -> Size:
    """The size asked for on the command line."""
    parser = argparse.ArgumentParser()
    for name in ("rounds", "operations", "euiccs"):
        parser.add_argument(f"--{name}", type=int, default=getattr(standard, name))
    return Size(**vars(parser.parse_args()))


async def compete(contenders: Sequence[Contender], rounds: int) -> dict[str, Score]:
    """Run all in turn, `rounds` times after one round that does not count."""
    seen: dict[str, list[_Round]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds + 1):
        for contender in contenders:
            seen[contender.name].append(await _round(contender))
    return {name: _score(some[1:]) for name, some in seen.items()}


class _Round(msgspec.Struct, frozen=True):
    """Seconds an operation."""

    cpu: float
    wall: float
    parts: Mapping[str, float]
    latencies: Sequence[float]


async def _round(contender: Contender) -> _Round:
    await contender.prepare()
    before = {name: cpu() for name, cpu in contender.parts.items()}
    cpu, clock = contender.cpu(), time.perf_counter()
    done = await contender.work()
    wall, used = time.perf_counter() - clock, contender.cpu() - cpu
    parts = {name: (cpu() - before[name]) / done.operations for name, cpu in contender.parts.items()}
    return _Round(used / done.operations, wall / done.operations, parts, done.latencies)


def _score(rounds: Sequence[_Round]) -> Score:
    return Score(
        [each.cpu for each in rounds],
        [each.wall for each in rounds],
        [latency for each in rounds for latency in each.latencies],
        {name: [each.parts[name] for each in rounds] for name in (rounds[0].parts if rounds else ())},
    )


def cpu_of(pids: Callable[[], Iterable[int]]) -> Cpu:
    """The CPU time of these processes, all their threads, and of their children that ended; not of ours, who may be
    clients. A connection that Postgres closes, or a vacuum that is over, is not lost with its process."""
    return lambda: sum(_cpu_seconds(pid) for pid in pids())


def tree(root: int) -> list[int]:
    """`root` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def name_of(pid: int) -> str:
    """What a process is called; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def conditions(*said: str) -> str:
    """The conditions of a run, in brackets."""
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    return f"({', '.join(said)}, {machine})"


def line(name: str, *said: str) -> None:
    """Print one line."""
    print("  ".join((f"{name:<18}", *said)), flush=True)


def _cpu_seconds(pid: int) -> float:
    used = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            used += int(task.read_text().split()[0])
        except OSError:
            continue  # that thread has ended
    return used * _NS + (0.0 if pid == os.getpid() else _of_ended_children(pid))


def _of_ended_children(pid: int) -> float:
    try:
        said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(said[_CUTIME]) + int(said[_CUTIME + 1])) / os.sysconf("SC_CLK_TCK")
