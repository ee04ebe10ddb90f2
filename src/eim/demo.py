"""`eim demo`: an installation of its own and a fleet that changes carrier, watched from the start to the sums."""

import asyncio
import shutil
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from eim import api, credentials, installation
from eim.client import Client
from eim.config import Config
from eim.config_loading import load
from eim.demo_sums import Sums, add_up
from eim.domain.ids import format_eid
from eim.errors import EimError, Unavailable
from eim.installation import Running
from eim.keys.export import TlsTrust, export
from eim.postgres import Embedded
from eim.sim.fleet import CARRIER_B, Fleet, Make, Pace
from eim.sim.https import Line, Server, trusting
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki

_BATCH: Final = 1000
_LOOK_EVERY: Final = 0.5  # seconds
_RESTART: Final = 60.0  # seconds that a killed server may take to be back
_UNAVAILABLE: Final = 503
_GIVE_UP: Final = 180.0  # seconds without any progress
_NARROWEST: Final = 32  # columns of a table: its title stays on one line, and two stand side by side
_ALWAYS: Final = ("accepted", "sealed", "out", "done", "failed")  # states that are shown even when nothing is there
_STEPS: Final = ("onboarded", "introduced", "ended")


class Wish(msgspec.Struct, frozen=True):
    """What was asked of the demo."""

    devices: int
    cannot_attach: float
    sleepers: float
    seed: int
    keep: bool


class Patient(httpx2.AsyncBaseTransport):
    """Asks again what a server that restarts could not answer. POSTs carry a key, so what they ask is done once."""

    def __init__(self, patience: float) -> None:
        self._patience = patience  # seconds
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        until = time.monotonic() + self._patience
        while True:
            try:
                response = await self._inner.handle_async_request(request)
                await response.aread()
                if response.status_code != _UNAVAILABLE or time.monotonic() > until:
                    return response
            except httpx2.TransportError:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(_LOOK_EVERY)

    async def aclose(self) -> None:
        await self._inner.aclose()


class DemoFailed(Unavailable):
    """The demo did not come to its end; the logs are kept and named."""

    code = "demo-failed"


async def run(wish: Wish, console: Console) -> int:
    """The whole demo. 0 only when the sums and the cards' journals agree."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="eim-demo-"))
    sums: Sums | None = None
    try:
        with Journal.to_file(_now, folder / "journal.ndjson") as journal:
            with console.status(f"making {wish.devices:,} cards"):
                fleet = Fleet(Pki.new(), wish.devices, journal, Make(wish.seed, wish.cannot_attach, wish.sleepers))
                config = _configure(folder, fleet.pki)
            show = Show(fleet, console)
            await installation.run(config, show.play, folder / "eim.log")
            sums = show.sums
    finally:
        if sums is not None and sums.agree and not wish.keep:
            await _remove(folder)
        else:
            console.print(f"kept for a look: {folder} (eim.log, journal.ndjson)")
    if sums is None:
        raise DemoFailed("the demo ended before its sums: see eim.log")
    console.print()
    console.print(sums.table())
    console.print(sums.line(time.monotonic() - began), highlight=False, soft_wrap=True)
    return 0 if sums.agree else 1


class Show:
    """Guards one run of the demo: the fleet, what is drawn, and the sums at the end."""

    def __init__(self, fleet: Fleet, console: Console) -> None:
        self._fleet = fleet
        self._console = console
        self.sums: Sums | None = None

    async def play(self, running: Running) -> None:
        """Everything between "it serves" and "the sums are known"."""
        host, port = running.operator
        address, token = f"http://{host}:{port}", running.token_file.read_text().strip()
        line = _connect(self._fleet, running)
        self._tell(address, running.token_file)
        stop = asyncio.Event()
        async with Client(address, token, transport=Patient(_RESTART)) as client, asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(line, stop, _pace(len(self._fleet.cards))))
            try:
                order = await self._watch(client)
            finally:
                stop.set()
            self.sums = await _sum_up(client, order, self._fleet)

    def _tell(self, address: str, token_file: Path) -> None:
        self._console.print(f"status page  {address}/  (password: the token in {token_file})", soft_wrap=True)
        data = f"EIM_SERVER_DATA_DIR={token_file.parent}"
        self._console.print(f"by command   {data} eim devices list --server {address}", soft_wrap=True)

    async def _watch(self, client: Client) -> api.OrderAccepted:
        progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>7}/s"),
            TimeRemainingColumn(),
            console=self._console,
        )
        bars = {step: progress.add_task(step, total=len(self._fleet.cards), rate="0", start=False) for step in _STEPS}
        with Live(progress, console=self._console, refresh_per_second=4) as live:
            stage = Stage(client, self._fleet, progress, live)
            await stage.onboard(bars["onboarded"])
            await stage.introduce(bars["introduced"])
            return await stage.switch(bars["ended"])


class Stage:
    """The three acts, each drawn while it goes on."""

    def __init__(self, client: Client, fleet: Fleet, progress: Progress, live: Live) -> None:
        self._client = client
        self._fleet = fleet
        self._progress = progress
        self._live = live

    async def onboard(self, bar: TaskID) -> None:
        """By EID alone: the rest completes itself at the first contact."""
        eids = [format_eid(card.euicc.eid) for card in self._fleet.cards]
        pace = Rate(self._progress, bar)
        for start in range(0, len(eids), _BATCH):
            some = tuple(api.NewEuicc(eid) for eid in eids[start : start + _BATCH])
            await self._client.add_euiccs(api.NewEuiccs(some))
            pace.at(start + len(some))

    async def introduce(self, bar: TaskID) -> None:
        """Every card calls, gives its data and lists its profiles in one visit."""
        total, pace = len(self._fleet.cards), Rate(self._progress, bar)
        while True:
            summary = await self._client.summary()
            listed = sum(summary.carriers.values())
            pace.at(min(summary.introduced, listed))
            self._draw(_estate(summary))
            if listed >= total:
                return
            await pace.wait()

    async def switch(self, bar: TaskID) -> api.OrderAccepted:
        """One order for all: enable carrier B's profile, with the way back open."""
        choice = api.ProfileChoice(service_provider=CARRIER_B)
        many = len(self._fleet.cards)
        order = await self._client.order(api.NewOrder("enable", all=True, profile=choice, rollback=True, confirm=many))
        pace = Rate(self._progress, bar)
        while True:
            stands = await self._client.order_progress(order.order)
            ended = sum(stands.states.get(state, 0) for state in ("done", "failed"))
            pace.at(ended)
            self._draw(_states(stands), _estate(await self._client.summary()))
            if ended >= len(self._fleet.cards) - self._fleet.asleep and await self._is_quiet():
                return order
            await pace.wait()

    async def _is_quiet(self) -> bool:
        """Whether the cards that rolled back were listed again: no more than the sleepers' work is left."""
        left = (await self._client.summary()).operations
        return sum(left.get(state, 0) for state in ("accepted", "sealed", "out", "in_doubt")) <= self._fleet.asleep

    def _draw(self, *tables: Table) -> None:
        self._live.update(Group(self._progress, Columns(tables, padding=(0, 4))))


class Rate:
    """Guards one bar: where it is, how fast, and whether it still moves."""

    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress = progress
        self._bar = bar
        self._began = self._moved = time.monotonic()
        self._done = 0
        progress.start_task(bar)

    def at(self, done: int) -> None:
        if done != self._done:
            self._moved = time.monotonic()
        self._done = done
        rate = done / max(time.monotonic() - self._began, 0.001)
        self._progress.update(self._bar, completed=done, rate=f"{rate:,.0f}")

    async def wait(self) -> None:
        """Until the next look. Raises DemoFailed when nothing has moved for three minutes."""
        if time.monotonic() - self._moved > _GIVE_UP:
            raise DemoFailed(f"nothing moved for {_GIVE_UP:.0f} seconds: see eim.log")
        await asyncio.sleep(_LOOK_EVERY)


def _configure(folder: Path, pki: Pki) -> Config:
    root = folder / "root.pem"
    root.write_bytes(x509.load_der_x509_certificate(pki.root_der).public_bytes(Encoding.PEM))
    return load(
        None,
        {
            "EIM_SERVER_DATA_DIR": str(folder / "data"),
            "EIM_DEVICE_HOST": "127.0.0.1",
            "EIM_DEVICE_PORT": "0",
            "EIM_OPERATOR_PORT": "0",
            "EIM_TRUST_ROOTS": str(root),
            "EIM_WORKER_POLL_INTERVAL": "0.2",
        },
    ).config


def _connect(fleet: Fleet, running: Running) -> Line:
    """Load our identity into the cards, as their factory would, and show the devices the way."""
    config = running.config
    identity = credentials.own_identity(config)
    files = credentials.device_tls(config, identity, _now())
    exported = export(identity, credentials.key_store(config).load(identity.key_name).spki, files, TlsTrust.CA)
    fleet.associate(exported.request)
    if files.ca is None:
        raise DemoFailed("the demo's own TLS certificate has no CA")
    host, port = running.device
    return Line(Server(host, port, fleet.server_name or host, trusting(files.ca.read_text())), connections=64)


def _pace(devices: int) -> Pace:
    """About a hundred visits a second, however many devices."""
    return Pace(ramp=max(2.0, devices / 100), interval=max(3.0, devices / 100))


async def _sum_up(client: Client, order: api.OrderAccepted, fleet: Fleet) -> Sums:
    operations: list[api.OperationView] = []
    query = api.OperationQuery(limit=1000, order=order.order)
    while True:
        page = await client.operations(query)
        operations += page.items
        if page.next is None:
            break
        query = msgspec.structs.replace(query, cursor=page.next)
    believed = {e.eid: e.service_provider async for e in client.all_euiccs(api.EuiccQuery())}
    return add_up(operations, believed, check(fleet.journal.entries), fleet)


def _estate(summary: api.SummaryView) -> Table:
    table = _table("estate", "carrier", "devices")
    for carrier, devices in summary.carriers.items():
        table.add_row(carrier or "(no name)", f"{devices:,}")
    unknown = summary.euiccs - sum(summary.carriers.values())
    if unknown:
        table.add_row("not known yet", f"{unknown:,}")
    return table


def _states(stands: api.OrderView) -> Table:
    table = _table(f"order: enable {CARRIER_B}", "state", "operations")
    for state, count in stands.states.items():
        if count or state in _ALWAYS:
            table.add_row(state, f"{count:,}")
    for reason, count in stands.reasons.items():
        if reason != "ok":
            table.add_row(f"  {reason}", f"{count:,}")
    return table


def _table(title: str, what: str, amount: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, min_width=_NARROWEST)
    table.add_column(what)
    table.add_column(amount, justify="right")
    return table


async def _remove(folder: Path) -> None:
    with suppress(EimError):
        await Embedded(folder / "data" / "postgres").remove()
    await asyncio.to_thread(shutil.rmtree, folder, True)


def _now() -> datetime:
    return datetime.now(UTC)
