"""Put a stored run into docs/performance.md: its tables and its charts. python docs/make_performance.py 2026-11-29"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import _results, _svg, capacity
from bench._records import Cost, Record
from bench._sizing import MODES, Costs, Fleet, Machines, Prices, Tls, campaign, need

PAGE: Final = Path(__file__).with_name("performance.md")
PICTURES: Final = Path(__file__).with_name("pictures")
_FLEETS: Final = (
    Fleet(100_000, 3600, 0.02),
    Fleet(1_000_000, 3600, 0.02),
    Fleet(10_000_000, 3600, 0.02),
    Fleet(10_000_000, 86_400, 0.1),
)
_SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_PRICES: Final = Prices(20.0, 3.0, 0.1)
_COLOUR: Final = {"target": _svg.COLOURS[2], "gate": _svg.COLOURS[0], "below": _svg.COLOURS[1]}


def blocks(run: str) -> dict[str, str]:
    """What stands between each pair of marks in the page, by name."""
    path = _results.named(run)
    records, costs = _results.load(path), _results.load_costs(path)
    return {"figures": figures(records), "costs": _costs(costs), "capacity": capacity_table(costs)}


def charts(run: str) -> dict[str, str]:
    """The pictures by file name."""
    path = _results.named(run)
    records, known = _results.load(path), Costs(_results.load_costs(path))
    modes = [mode for mode in Tls if known.knows(mode)]
    fleets = [Fleet(many, 3600, 0.02) for many in _SIZES]
    found = {mode: [need(known, mode, fleet, Machines(), _PRICES) for fleet in fleets] for mode in modes}
    note = "a visit an hour, 2 % find work; the busiest moment: 3 means, or a tenth of all within 5 minutes"
    return {"figures.svg": _reached(records), "capacity.svg": capacity.draw(found, _SIZES, note)}


def page(text: str, made: dict[str, str]) -> str:
    """`text` with each block in its place. Raises ValueError when the page has no place for one."""
    for name, block in made.items():
        pattern = re.compile(rf"(<!-- {name}: .*?-->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the page has no place for {name}")
        text = pattern.sub(lambda found, block=block: f"{found[1]}\n{block}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def figures(records: Sequence[Record]) -> str:
    """A row a figure."""
    rows = [
        f"| {record.path} | {_results.short(record.figure)} {record.unit} | {_baseline(record)} | "
        f"**{_results.short(record.ratio)}** | {record.gate:,g} | {record.target:,g} | {_results.reached(record)} |"
        for record in records
    ]
    head = [
        "| path | ours | baseline | ratio | gate | target | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows])


def _baseline(record: Record) -> str:
    return "" if record.baseline is None else f"{_results.short(record.baseline)} {record.unit}"


def _costs(costs: Sequence[Cost]) -> str:
    rows = [f"| {cost.name} | {_results.short(cost.server)} | {_results.short(cost.postgres)} |" for cost in costs]
    return "\n".join(["| one | server | Postgres |", "| --- | --- | --- |", *rows])


def capacity_table(costs: Sequence[Cost]) -> str:
    """A row for each fleet and each way to connect that was measured."""
    known = Costs(costs)
    columns: tuple[str, ...] = (
        "devices, visits, with work",
        "connection",
        "busiest/s",
        "cores",
        "Postgres cores",
        "memory GiB",
    )
    columns += ("disk GiB", "a month")
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    rows = [_row(known, mode, fleet) for fleet in _FLEETS for mode in Tls if known.knows(mode)]
    server, postgres = campaign(known, 1_000_000)
    said = f"\n\nAn order for a million, written and sealed: {server:,.0f} core-seconds of ours, "
    said += f"{postgres:,.0f} of Postgres."
    return "\n".join([*head, *rows]) + (said if server else "")


def _row(known: Costs, mode: Tls, fleet: Fleet) -> str:
    found = need(known, mode, fleet, Machines(), _PRICES)
    numbers = (found.busiest, found.server, found.postgres, found.memory, found.disk, found.month)
    often = "hourly" if fleet.interval == 3600 else "daily"
    name = f"{fleet.devices:,}, {often}, {fleet.share:.0%}"
    return f"| {name} | {MODES[mode]} | " + " | ".join(map(_results.short, numbers)) + " |"


def _reached(records: Sequence[Record]) -> str:
    """Every ratio in targets; the marks are its gate and its target."""
    rows = [
        _svg.Bar(
            record.path.partition(",")[0] if len(record.path) > 62 else record.path,
            record.ratio / record.target,
            f"{_results.short(record.ratio)}",
            _COLOUR[_results.reached(record)],
            (record.gate / record.target, 1.0),
        )
        for record in records
    ]
    return _svg.bars("Ratios against gate and target", rows, "bars in targets; marks: gate, target", 1.5)


def main(words: Sequence[str]) -> int:
    run = words[0] if words else _results.LATEST
    PAGE.write_text(page(PAGE.read_text(), blocks(run)))
    for name, drawn in charts(run).items():
        (PICTURES / name).write_text(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
