"""Runs benchmarks one after the other and says what came out, beside the bars.

python -m bench._run                     the short set: ten minutes at most; bench/results/latest.json
python -m bench._run --long              the same at full size, however long that takes
python -m bench._run --store 2026-11-29  keeps the run under that name, too
python -m bench._run NAME... [--rounds N --operations N --euiccs N]    these only; nothing is stored
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import _records, _results
from bench._records import BARS, Found
from bench._short import LONG, SHORT, Step

ROOT: Final = Path(__file__).parents[1]
BUDGET_S: Final = 600.0
_TELL_S: Final = 15.0  # between two words of progress


class Progress:
    """Says on stderr what runs, and when it will be over. Learns from what is done how fast this machine is."""

    def __init__(self, steps: Sequence[Step], budget: float) -> None:
        self._steps = steps
        self._began = time.monotonic()
        self._until = self._began + budget
        self._done = 0  # steps
        self._expected, self._spent = 0.0, 0.0  # of the steps that are done

    def left(self) -> float:
        """Seconds until the budget is used up."""
        return self._until - time.monotonic()

    def expected(self, step: Step) -> float:
        """Seconds `step` will take, as far as can be told."""
        pace = self._spent / self._expected if self._expected else 1.0
        return step.seconds * pace

    def say(self, since: float) -> None:
        step = self._steps[self._done]
        rest = sum(self.expected(each) for each in self._steps[self._done :]) - since
        where = f"[{self._done + 1}/{len(self._steps)}] {step.name}"
        told = f"about {_duration(self.expected(step))}" if since < 1 else f"for {_duration(since)}"
        print(f"bench: {where} {told}; about {_duration(max(rest, 0))} left in all", file=sys.stderr, flush=True)

    def finish(self, spent: float) -> None:
        self._expected += self._steps[self._done].seconds
        self._spent += spent
        self._done += 1

    def skip(self) -> None:
        self._done += 1


def run(steps: Sequence[Step], budget: float) -> tuple[list[Found], list[str]]:
    """(what the benchmarks kept, what went wrong, a sentence each)."""
    found: list[Found] = []
    wrong: list[str] = []
    progress = Progress(steps, budget)
    for step in steps:
        if progress.expected(step) > progress.left():
            wrong.append(f"{step.name} was left out: too little of the time is left")
            progress.skip()
            continue
        began = time.monotonic()
        kept, code = _one(step, progress)
        progress.finish(time.monotonic() - began)
        found += kept
        if code:
            wrong.append(f"{step.name} ended with {code}")
    return found, wrong


def _one(step: Step, progress: Progress) -> tuple[list[Found], int]:
    """(what it kept, its exit status). It is stopped when the time is up."""
    with tempfile.NamedTemporaryFile(prefix="eim-records-") as kept:
        environment = os.environ | {_records.VARIABLE: kept.name}
        command = [sys.executable, "-m", f"bench.{step.name}", *step.arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        began = time.monotonic()
        try:
            code = _wait(process, progress, began)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        return _records.read(Path(kept.name).read_bytes().splitlines()), code


def _wait(process: subprocess.Popen[bytes], progress: Progress, began: float) -> int:
    while progress.left() > 0:
        progress.say(time.monotonic() - began)
        try:
            return process.wait(min(_TELL_S, max(progress.left(), 0.1)))
        except subprocess.TimeoutExpired:
            continue
    process.terminate()
    return process.wait()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="the short set, in ten minutes at most")
    parser.add_argument("--long", action="store_true", help="the same set at full size, however long it takes")
    parser.add_argument("--store", metavar="NAME", help="keep the run as bench/results/NAME.json, too")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    names = [word for word in words if (ROOT / "bench" / f"{word}.py").exists()]
    if names:
        rest = [word for word in words if word not in names]
        found, wrong = run([Step(name, rest, 60) for name in names], float("inf"))
    else:
        found, wrong = _whole(_options(words))
    records = _results.figures(found)
    if records:
        print("\n" + _results.table(records))
    for sentence in wrong:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def _whole(asked: argparse.Namespace) -> tuple[list[Found], list[str]]:
    """Run the whole set and store what it found."""
    steps, budget = (LONG, float("inf")) if asked.long else (SHORT, BUDGET_S)
    found, wrong = run([step for step in steps if (ROOT / "bench" / f"{step.name}.py").exists()], budget)
    for name in filter(None, (_results.LATEST, asked.store)):
        path = _results.store(name, found)
        print(f"bench: {path.relative_to(ROOT)} is written", file=sys.stderr)
    return found, wrong + _missing(found)


def _missing(found: Sequence[Found]) -> list[str]:
    there = {record.name for record in _results.figures(found)}
    return [f"no figure of: {bar.path}" for name, bar in BARS.items() if name not in there]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
