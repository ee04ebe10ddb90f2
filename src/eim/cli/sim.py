"""`eim sim`: the other side of the wire, for trying out any eIM."""

import asyncio
import binascii
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from eim.domain.euicc import Speaks
from eim.domain.ids import format_eid
from eim.errors import BadConfiguration
from eim.sim.behaviour import Behaviour
from eim.sim.fleet import Fleet, Make, Pace, Snapshot
from eim.sim.https import Line, Server, server_address, trusting
from eim.sim.journal import Journal, Report, check, read_journal
from eim.sim.pki import EIN, Pki
from eim.sim.pki_file import load_or_make
from eim.sim.settings import SETTINGS, Told, understand
from eim.sim.switches import Switches
from eim.sim.truth import Truth, truths

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"P-256": ec.SECP256R1, "brainpoolP256r1": ec.BrainpoolP256R1}
_TICK: Final = 0.25  # seconds between two looks at the fleet
_SHARE: Final = click.FloatRange(0, 1)
_SECONDS: Final = click.FloatRange(0)
_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class Plan(msgspec.Struct, frozen=True):
    """One run of a fleet, as the options ask for it."""

    line: Line
    pace: Pace
    seconds: float | None
    control: "Control | None"


class Control:
    """A file whose new lines are told to the fleet. Guards how far it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._read = path.stat().st_size  # what is older was for another run

    def told(self) -> list[str]:
        """The whole lines that came since the last look."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            octets = file.read()
        whole = octets[: octets.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if line.strip()]


@click.group()
def sim() -> None:
    """Simulate the other side: cards and devices."""


@sim.command()
def behaviours() -> None:
    """What a simulated device can be told: by `--tell` of `eim sim fleet`, or by `eim sim tell` while it runs.

    Say who and what: `3 refuse=enable/catBusy*2` for the third device, `* naming=unnamed` for all, an EID for one.
    """
    for name, setting in SETTINGS.items():
        click.echo(f"{name}={setting.values}" if setting.values else name)
        click.echo(click.wrap_text(setting.means, 100, "    ", "    "))


@sim.command()
@click.argument("control", type=click.Path(exists=True, dir_okay=False, writable=True, path_type=Path))
@click.argument("who")
@click.argument("what", nargs=-1, required=True)
def tell(control: Path, who: str, what: tuple[str, ...]) -> None:
    """Tell devices of a running fleet to behave: WHO is *, a number from 1 or an EID, WHAT is NAME or NAME=VALUE.

    CONTROL is the file that the fleet was started with (`--control`). `eim sim behaviours` lists what can be told.
    """
    lines = [f"{who} {each}" for each in what]
    for line in lines:
        understand(line)
    with control.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


@sim.command()
@click.argument("journal", type=_FILE)
@click.option("--eid", help="Only this card.")
def cards(journal: Path, eid: str | None) -> None:
    """What the cards themselves hold and did, by the journal of their fleet: compare it with what the eIM believes."""
    for card in truths(read_journal(journal)):
        if eid in (None, card.eid):
            _show(card)


def _show(card: Truth) -> None:
    click.echo(card.eid)
    for iccid in card.iccids:
        click.echo(f"    profile  {iccid} {'enabled' if iccid == card.enabled else 'disabled'}")
    for eim_id in card.eims:
        click.echo(f"    eIM      {eim_id}")
    counted = f"counter {card.counter}, " if card.counter is not None else ""
    click.echo(
        f"    packages {counted}executed {card.executed}, refused {card.refused}, rolled back {card.rolled_back}"
    )
    click.echo(f"    last     {card.last or '-'}")


@sim.command()
@click.option("--devices", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
@click.option("--server", required=True, help="The eIM's device address: https://host:port.")
@click.option("--eim-config", type=_FILE, required=True, help="The eIM's AddInitialEimRequest (BF57), hex or binary.")
@click.option("--ca", type=_FILE, required=True, help="The certificate (PEM) that the server's certificate leads to.")
@click.option(
    "--export",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write cards and roots for the eIM here.",
)
@click.option("--pki", type=click.Path(dir_okay=False, path_type=Path), help="Keep the card maker's keys in this file.")
@click.option(
    "--curve", type=click.Choice(list(_CURVES)), default="P-256", show_default=True, help="Of new cards' keys."
)
@click.option("--prefix", help=f"First digits of the EIDs, {EIN} and more. Default: different at each run.")
@click.option(
    "--journal", type=click.Path(dir_okay=False, path_type=Path), help="Write what the cards do here (NDJSON)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which devices misbehave, and when.")
@click.option("--cannot-attach", type=_SHARE, default=0.04, show_default=True, help="Share that no network takes on B.")
@click.option(
    "--sleepy", type=_SHARE, default=0.01, show_default=True, help="Share that goes silent after its first work."
)
@click.option("--lossy", type=_SHARE, default=0.0, help="Probability that an exchange is cut.")
@click.option("--duplicating", type=_SHARE, default=0.0, help="Probability that a result is sent twice.")
@click.option("--dies", type=_SHARE, default=0.0, help="Probability of power loss before a result is reported.")
@click.option("--slow", type=_SECONDS, default=0.0, help="Longest pause before a request, in seconds.")
@click.option(
    "--speaks", type=click.Choice([each.value for each in Speaks]), multiple=True, help="SGP.32 version; several mix."
)
@click.option(
    "--ramp", type=_SECONDS, default=10.0, show_default=True, help="Seconds over which the first calls spread."
)
@click.option(
    "--interval", type=_SECONDS, default=15.0, show_default=True, help="Seconds between two calls of a device."
)
@click.option("--tell", "told", multiple=True, help="WHO NAME=VALUE, see `eim sim behaviours`; several times.")
@click.option(
    "--control",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Do what is written to this file while the fleet runs: see `eim sim tell`.",
)
@click.option("--connections", type=click.IntRange(1), default=200, show_default=True, help="Open at a time, at most.")
@click.option("--seconds", type=_SECONDS, help="End after so long. Default: at Ctrl-C.")
def fleet(  # noqa: PLR0913 - one parameter an option
    *,
    devices: int,
    server: str,
    eim_config: Path,
    ca: Path,
    folder: Path | None,
    pki: Path | None,
    curve: str,
    prefix: str | None,
    journal: Path | None,
    seed: int,
    cannot_attach: float,
    sleepy: float,
    lossy: float,
    duplicating: float,
    dies: float,
    slow: float,
    speaks: tuple[str, ...],
    ramp: float,
    interval: float,
    told: tuple[str, ...],
    control: Path | None,
    connections: int,
    seconds: float | None,
) -> None:
    """Let a fleet of devices, profile A enabled and B disabled, call any eIM until you stop it."""
    make = Make(
        seed=seed,
        cannot_attach=cannot_attach,
        sleepers=sleepy,
        behaviour=Behaviour(lossy=lossy, duplicating=duplicating, dies=dies, delay=slow),
        switches=tuple(Switches(speaks=Speaks(each)) for each in speaks) or (Switches(),),
        prefix=prefix or f"{EIN}{_now():%y%m%d%H%M%S}",
    )
    if not make.prefix.startswith(EIN):
        raise BadConfiguration(f"the simulated card maker's EIDs start with {EIN}: let --prefix begin so")
    with Journal.to_file(_now, journal) if journal else Journal(_now) as kept:
        on = _CURVES[curve]()
        made = Fleet(load_or_make(pki, on) if pki else Pki.new(on), devices, kept, make)
        made.associate(_read_configuration(eim_config))
        for line_told in told:
            _tell(made, understand(line_told))
        if folder is not None:
            _export(made, folder)
        host, port = server_address(server)
        line = Line(Server(host, port, made.server_name or host, trusting(ca.read_text("latin-1"))), connections)
        heard = Control(control) if control is not None else None
        uvloop.run(_run(made, Plan(line, Pace(ramp, interval), seconds, heard)))
        _conclude(made.snapshot(), check(kept.entries))


async def _run(made: Fleet, plan: Plan) -> None:
    """Until the time is up, the user stops it, or only sleepers are left; draws how far the fleet is."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(made.run(plan.line, stop, plan.pace))
    if plan.seconds is not None:
        loop.call_later(plan.seconds, stop.set)
    columns = (
        TextColumn("on B"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(made.cards))
        while not running.done():
            now = made.snapshot()
            progress.update(bar, completed=now.on_b, description=_counts(now))
            for told in plan.control.told() if plan.control is not None else ():
                _hear(made, told)
            await asyncio.wait((running,), timeout=_TICK)
    await running


def _hear(made: Fleet, line: str) -> None:
    """A line that can't be done is answered, and the fleet goes on."""
    try:
        _tell(made, understand(line))
    except BadConfiguration as error:
        click.echo(f"{line}: {error}", err=True)


def _tell(made: Fleet, told: Told) -> None:
    for eid, code in made.tell(told):
        if code:
            click.echo(f"{format_eid(eid)} {told.name}: the card refuses with code {code}", err=True)


def _counts(now: Snapshot) -> str:
    parts = {
        "polls": now.polls,
        "packages": now.packages,
        "results": now.results,
        "rolled back": now.rollbacks,
        "retries": now.retries,
        "asleep": now.asleep,
        "errors": now.errors,
    }
    return "  ".join(f"{name} {count}" for name, count in parts.items() if count or name == "polls")


def _conclude(now: Snapshot, report: Report) -> None:
    """The journal's sums; exit code 1 when something happened that must not."""
    click.echo(f"cards: {now.devices}, {now.on_a} on A, {now.on_b} on B, {now.asleep} asleep")
    click.echo(f"visits: {now.visits}, polls: {now.polls}, data requests: {now.data_requests}, retries: {now.retries}")
    click.echo("packages received: " + _listed({str(verdict): count for verdict, count in report.verdicts.items()}))
    for eim_id, eid, counter in report.twice:
        click.echo(f"EXECUTED TWICE: counter {counter} of {eim_id} on {eid}")
    for eim_id, eid, counter in report.conflicting:
        click.echo(f"TWO PACKAGES UNDER ONE COUNTER: {counter} of {eim_id} on {eid}")
    for eid, transaction in report.repeated:
        click.echo(f"ONE TRANSACTION UNDER TWO COUNTERS: {transaction} on {eid}")
    click.echo(
        f"journal: devices={report.cards} received={report.received} executed={report.executed} "
        f"rolled_back={report.rolled_back} twice={len(report.twice)} conflicting={len(report.conflicting)} "
        f"repeated={len(report.repeated)}"
    )
    if not report.sound:
        raise SystemExit(1)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _read_configuration(path: Path) -> bytes:
    octets = path.read_bytes()
    if octets[:2] == b"\xbf\x57":
        return octets
    try:
        return binascii.unhexlify(b"".join(octets.split()))
    except binascii.Error:
        raise BadConfiguration(f"{path} is neither binary nor hex: give what `eim keys export` wrote as BF57") from None


def _export(made: Fleet, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cards.csv").write_text(made.cards_csv())
    (folder / "switch.csv").write_text(made.switch_csv())
    (folder / "roots.pem").write_bytes(made.pki.root_pem)
    click.echo(f"{folder}: trust roots.pem, onboard cards.csv, order the switch to B by switch.csv", err=True)


def _now() -> datetime:
    return datetime.now(UTC)
