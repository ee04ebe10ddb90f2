"""The few ratios that must never regress: CPU time of ours and of its baseline in the same run, with slack.

    python -m bench._gate     exit status 1, and a sentence, when one is below its least

No wall time and no absolute figure is held here, so that it says the same on a slow or a busy machine. What is below
its least is measured once more before it counts, and the better of the two is taken.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench import _results, _run
from bench._records import BARS, Record
from bench._short import Step


class Check(msgspec.Struct, frozen=True):
    """One benchmark at a small size, and the least ratio of its figures. The gates of BARS are for full sizes."""

    step: Step
    least: Mapping[str, float]


CHECKS: Final = (
    Check(Step("tlv", ("--rounds", "3"), 5), {"tlv_decode": 15, "tlv_encode": 40}),
    Check(Step("ecdsa", ("--rounds", "3", "--operations", "500"), 5), {"verify_batch": 0.8}),
    Check(Step("package", ("--rounds", "5", "--operations", "1000"), 5), {"assemble": 0.65}),
    Check(Step("result", ("--rounds", "2", "--operations", "20", "--euiccs", "100"), 20), {"result": 0.25}),
    Check(
        Step("poll_door", ("--rounds", "1", "--operations", "1", "--euiccs", "20000"), 30),
        {"door": 7, "gathered": 2},
    ),
)
_TRIES: Final = 2


def main(checks: Sequence[Check] = CHECKS) -> int:
    present = [check for check in checks if (_run.ROOT / "bench" / f"{check.step.name}.py").exists()]
    wrong = [sentence for check in present for sentence in hold(check)]
    for sentence in wrong:
        print(f"gate: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def hold(check: Check) -> list[str]:
    """What is wrong, a sentence a figure; measured again while anything is."""
    best: dict[str, Record] = {}
    failed = ""
    for _ in range(_TRIES):
        found, wrong = _run.run([check.step], float("inf"))
        failed = "; ".join(wrong)
        for record in _results.figures(found):
            best[record.name] = max(best.get(record.name, record), record, key=lambda each: each.ratio)
        if not failed and not below(check.least, best):
            break
    for name in check.least.keys() - best.keys():
        print(f"gate: nothing measured {BARS[name].path} here", file=sys.stderr)
    return [failed] if failed else below(check.least, best)


def below(least: Mapping[str, float], found: Mapping[str, Record]) -> list[str]:
    """A sentence for each figure that was found below its least."""
    return [
        f"{record.path}: the ratio is {record.ratio:.2f}, and must not be below {least[name]:g} "
        f"({_results.short(record.figure)} {record.unit}; baseline {_baseline(record)})"
        for name, record in found.items()
        if name in least and record.ratio < least[name]
    ]


def _baseline(record: Record) -> str:
    return "none" if record.baseline is None else f"{_results.short(record.baseline)} {record.unit}"


if __name__ == "__main__":
    sys.exit(main())
