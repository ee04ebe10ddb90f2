"""What a fleet needs: cores, memory, Postgres and money, from the costs that were measured where this runs.

    python -m bench.capacity                                      10,000 to 10,000,000 devices, hourly, 2 % with work
    python -m bench.capacity --devices 5000000 --interval 86400 --share 0.1 --curve brainpool --tls poll_resumed12
    python -m bench.capacity --run 2026-11-29                     from a stored run
    python -m bench.capacity --measure                            measures first; so it does when nothing is stored

The table goes to standard output, the drawing to bench/results/capacity.svg (--svg).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import _results, _run, _svg
from bench._records import Cost
from bench._short import SHORT
from bench._sizing import MODES, Costs, Curve, Fleet, Machines, Need, Prices, Tls, campaign, need

_DEVICES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_REQUIRED: Final = (Tls.KEPT_ALIVE.value, "cycle", "idle_connection")
_CURVES: Final = ("verify_p256", "sign_p256", "verify_brainpool", "sign_brainpool")


def main(words: Sequence[str]) -> int:
    asked = _asked(words)
    costs = _costs(asked)
    missing = [name for name in _required(asked) if name not in {cost.name for cost in costs}]
    if missing:
        print(f"capacity: nothing tells what these cost: {', '.join(missing)}; see --measure", file=sys.stderr)
        return 1
    fleets = [_fleet(asked, devices) for devices in asked.devices]
    machines, prices = Machines(asked.load), Prices(asked.core, asked.gib, asked.disk)
    known = Costs(costs)
    modes = [mode for mode in ([Tls(asked.tls)] if asked.tls else Tls) if known.knows(mode)]
    found = {mode: [need(known, mode, fleet, machines, prices) for fleet in fleets] for mode in modes}
    print(_said(fleets[0], machines, prices))
    print(_table(found, asked.devices))
    for devices in asked.devices:
        server, postgres = campaign(known, devices)
        if server:
            print(f"an order for {devices:,}, written and sealed: {server:,.0f} + {postgres:,.0f} core-seconds")
    asked.svg.parent.mkdir(exist_ok=True)
    asked.svg.write_text(draw(found, asked.devices, _said(fleets[0], machines, prices)))
    return 0


def draw(found: dict[Tls, list[Need]], devices: Sequence[int], note: str) -> str:
    """Cores of server and Postgres together by the number of devices, a line a mode."""
    series = {
        MODES[mode]: [(many, each.server + each.postgres) for many, each in zip(devices, needs, strict=True)]
        for mode, needs in found.items()
    }
    if len(devices) == 1:
        rows = [
            _svg.Bar(name, points[0][1], f"{points[0][1]:.2f} cores", _svg.COLOURS[place])
            for place, (name, points) in enumerate(series.items())
        ]
        return _svg.bars(f"Cores for {devices[0]:,} devices", rows, note)
    return _svg.lines("Cores at the busiest moment, server and Postgres", ("devices", "cores"), series, note)


def _table(found: dict[Tls, list[Need]], devices: Sequence[int]) -> str:
    head = ("connection", "devices", "visits/s", "busiest/s", "cores", "Postgres", "memory GiB", "disk GiB", "a month")
    rows = [
        (MODES[mode], f"{many:,}", *map(_results.short, _numbers(each)))
        for mode, needs in found.items()
        for many, each in zip(devices, needs, strict=True)
    ]
    return _results.columns([head, *rows])


def _numbers(of: Need) -> tuple[float, ...]:
    return (of.visits, of.busiest, of.server, of.postgres, of.memory, of.disk, of.month)


def _said(fleet: Fleet, machines: Machines, prices: Prices) -> str:
    return (
        f"a visit every {fleet.interval:,.0f} s, {fleet.share:.0%} find work, {fleet.curve.value}; "
        f"busiest: {fleet.peak:g} means, or {fleet.surge:.0%} of all in {fleet.window:g} s; "
        f"cores {machines.load:.0%} busy then; a month: a core {prices.core:g}, "
        f"a GiB {prices.gib:g}, of disk {prices.disk:g}"
    )


def _fleet(asked: argparse.Namespace, devices: int) -> Fleet:
    return Fleet(
        devices,
        asked.interval,
        asked.share,
        Curve(asked.curve),
        asked.peak,
        asked.surge,
        asked.window,
        asked.stay,
    )


def _required(asked: argparse.Namespace) -> tuple[str, ...]:
    return (*_REQUIRED, *(_CURVES if asked.curve == Curve.BRAINPOOL else ()))


def _costs(asked: argparse.Namespace) -> list[Cost]:
    """The stored ones, or measured now."""
    path = _results.named(asked.run)
    if asked.measure or not path.exists():
        found, wrong = _run.run(SHORT, _run.BUDGET_S)
        for sentence in wrong:
            print(f"capacity: {sentence}", file=sys.stderr)
        _results.store(_results.LATEST, found)
        return _results.costs(found)
    return _results.load_costs(path)


def _asked(words: Sequence[str]) -> argparse.Namespace:
    standard = Fleet(0, 3600.0, 0.02)
    parser = argparse.ArgumentParser(prog="./dev bench capacity", description="what a fleet needs")
    parser.add_argument("--devices", type=int, nargs="+", default=_DEVICES)
    parser.add_argument("--curve", choices=[curve.value for curve in Curve], default=Curve.P256.value)
    parser.add_argument("--tls", choices=[mode.value for mode in Tls], help="one way to connect; all when left out")
    for name, says in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=float, default=getattr(standard, name), help=says)
    parser.add_argument("--load", type=float, default=Machines().load, help="how busy a core may be at that moment")
    parser.add_argument("--core", type=float, default=20.0, help="money a month for a core")
    parser.add_argument("--gib", type=float, default=3.0, help="for a GiB of memory")
    parser.add_argument("--disk", type=float, default=0.1, help="for a GiB of disk")
    parser.add_argument("--run", default=_results.LATEST, help="whose costs: a file, or a name in bench/results")
    parser.add_argument("--measure", action="store_true", help="measure first, ten minutes at most")
    parser.add_argument("--svg", type=Path, default=_results.RESULTS / "capacity.svg")
    return parser.parse_args(words)


_NUMBERS: Final = {
    "interval": "seconds between two visits of a device",
    "share": "of the visits that find work, 0 to 1",
    "peak": "the busiest moment of a day, in means",
    "surge": "so many of all, 0 to 1, call within --window, as after a power cut",
    "window": "seconds",
    "stay": "seconds that a connection of one visit stays open",
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
