"""Holds a run against a stored one, by ratio, so that another machine may have made it.

    python -m bench.compare 2026-11-29              bench/results/latest.json against that run
    python -m bench.compare OLD NEW --slack 0.1     two runs: files, or names in bench/results

The exit status is 1 when a ratio fell by more than the slack (a share of the old ratio), or a figure is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from bench import _results
from bench._records import BARS, Record

_SLACK: Final = 0.2  # in one run on a quiet machine ratios are good to a tenth


class Change(msgspec.Struct, frozen=True):
    """One figure in two runs; None where a run has none."""

    path: str
    old: float | None
    new: float | None

    @property
    def factor(self) -> float | None:
        """The new ratio in old ones: above 1 is better."""
        return self.new / self.old if self.new is not None and self.old else None

    def is_worse(self, slack: float) -> bool:
        """Whether it fell by more than `slack`. A figure that is gone is worse, a new one isn't."""
        return self.old is not None and (self.factor is None or self.factor < 1 - slack)


def changes(old: Sequence[Record], new: Sequence[Record]) -> list[Change]:
    """All figures of both runs, in the order of the table."""
    before, after = ({record.name: record.ratio for record in run} for run in (old, new))
    present = [name for name in BARS if name in before or name in after]
    return [Change(BARS[name].path, before.get(name), after.get(name)) for name in present]


def table(found: Sequence[Change], slack: float) -> str:
    head = ("path", "old ratio", "new ratio", "new / old", "")
    return _results.columns([head, *(_row(change, slack) for change in found)])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench compare", description="a run against a stored one, by ratio")
    parser.add_argument("old", help="a file, or a name in bench/results")
    parser.add_argument("new", nargs="?", default=_results.LATEST, help="the same; the latest run when left out")
    parser.add_argument("--slack", type=float, default=_SLACK, help=f"how far a ratio may fall; {_SLACK} is a fifth")
    asked = parser.parse_args(words)
    found = changes(*(_results.load(_results.named(text)) for text in (asked.old, asked.new)))
    print(table(found, asked.slack))
    worse = [change.path for change in found if change.is_worse(asked.slack)]
    for path in worse:
        print(f"worse by more than {asked.slack:.0%}, or missing: {path}", file=sys.stderr)
    return 1 if worse else 0


def _row(change: Change, slack: float) -> tuple[str, ...]:
    numbers = ("-" if value is None else _results.short(value) for value in (change.old, change.new, change.factor))
    return (change.path, *numbers, "worse" if change.is_worse(slack) else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
