"""`eim demo`: see a fleet change carrier, on this machine, in a minute."""

import sys

import click
import uvloop
from rich.console import Console

from eim import demo as show
from eim import logs
from eim.config import LogFormat, LogLevel

_SHARE = click.FloatRange(0, 1)


@click.command()
@click.option("--devices", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many.")
@click.option("--cannot-attach", type=_SHARE, default=0.04, show_default=True, help="Share that no network takes on B.")
@click.option("--sleepers", type=_SHARE, default=0.01, show_default=True, help="Share that sleeps through the switch.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which devices those are.")
@click.option("--keep", is_flag=True, help="Keep the data folder, with logs and the cards' journal.")
def demo(*, devices: int, cannot_attach: float, sleepers: float, seed: int, keep: bool) -> None:
    """Start an eIM and a simulated fleet, move it from carrier A to carrier B, and check the sums."""
    logs.configure(LogLevel.ERROR, LogFormat.TEXT, "demo")
    wish = show.Wish(devices, cannot_attach, sleepers, seed, keep)
    sys.exit(uvloop.run(show.run(wish, Console())))
