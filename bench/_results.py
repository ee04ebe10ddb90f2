"""Stored runs in bench/results: the figures of one run, and beside them what things cost by process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench._records import BARS, Cost, Found, Record

RESULTS: Final = Path(__file__).with_name("results")
LATEST: Final = "latest"
_ORDER: Final = {name: place for place, name in enumerate(BARS)}


def figures(found: Sequence[Found]) -> list[Record]:
    """One record a figure, in the order of the table: a figure that was measured twice counts as measured last."""
    last = {each.name: each for each in found if isinstance(each, Record)}
    return sorted(last.values(), key=lambda record: _ORDER[record.name])


def costs(found: Sequence[Found]) -> list[Cost]:
    """One cost a name, the last."""
    return list({each.name: each for each in found if isinstance(each, Cost)}.values())


def store(name: str, found: Sequence[Found]) -> Path:
    """Write NAME.json, a list of figures, and NAME-costs.json. What was there is replaced."""
    RESULTS.mkdir(exist_ok=True)
    write(RESULTS / f"{name}-costs.json", costs(found))
    write(RESULTS / f"{name}.json", figures(found))
    return RESULTS / f"{name}.json"


def load(path: Path) -> list[Record]:
    """The figures of a stored run."""
    return msgspec.json.decode(path.read_bytes(), type=list[Record])


def load_costs(path: Path) -> list[Cost]:
    """The costs that were stored beside the figures at `path`."""
    return msgspec.json.decode(path.with_name(f"{path.stem}-costs.json").read_bytes(), type=list[Cost])


def named(text: str) -> Path:
    """The stored run that `text` means: a file, or the name of one in bench/results."""
    path = Path(text)
    return path if path.exists() else RESULTS / f"{path.stem}.json"


def table(records: Sequence[Record]) -> str:
    """path, figure, baseline, ratio, gate, target, and which of the two was reached."""
    head = ("path", "figure", "baseline", "ratio", "gate", "target", "reached")
    return columns([head, *(_row(record) for record in records)])


def reached(record: Record) -> str:
    if record.ratio >= record.target:
        return "target"
    return "gate" if record.ratio >= record.gate else "below"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Lines up `rows`: the first and the last column to the left, numbers to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(_cells(row, widths)).rstrip() for row in rows)


def short(number: float) -> str:
    """A number with three digits that count, and no exponent."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    last = len(widths) - 1
    pairs = enumerate(zip(row, widths, strict=True))
    return [text.ljust(width) if place in {0, last} else text.rjust(width) for place, (text, width) in pairs]


def _row(record: Record) -> tuple[str, ...]:
    baseline = "-" if record.baseline is None else f"{short(record.baseline)} {record.unit}"
    numbers = map(short, (record.ratio, record.gate, record.target))
    return (record.path, f"{short(record.figure)} {record.unit}", baseline, *numbers, reached(record))


def write(path: Path, what: Sequence[Record] | Sequence[Cost]) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n")
    draft.replace(path)
