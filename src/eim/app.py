"""The one place that joins layers: each role's process, built from the configuration."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

import structlog

from eim import credentials, serving
from eim.config import Config, DoorKind, Forward, OrderOf, UnknownEid
from eim.connectors.rsp import Es9Plus
from eim.connectors.transport import CallRules, Transport
from eim.connectors.webhooks import HttpSender, Outgoing
from eim.domain.identity import Identity
from eim.domain.ids import DEFAULT_TENANT
from eim.domain.smdp import Smdp, canonical
from eim.domain.suspicion import SuspicionRules
from eim.errors import BadConfiguration, Unavailable
from eim.exporters import exposed
from eim.keys.checkpoints import keeper, verifier
from eim.keys.renewal import Renewal
from eim.protocol.trust import TrustedEuicc, check_chain
from eim.services.asking import Asking
from eim.services.associating import RenewalRule
from eim.services.collecting import Collecting
from eim.services.courier import DeliveryRules, Joined
from eim.services.deliverer import Deliverer
from eim.services.denials import DenialRounds
from eim.services.esipa import Esipa
from eim.services.forwarding import Forwarder, ForwardRules
from eim.services.gathering import Gathering
from eim.services.gauging import Gauging
from eim.services.guessing import Guesses, GuessRules
from eim.services.horizon import Horizon
from eim.services.leasing import Leasing
from eim.services.linking import Linker, Pen
from eim.services.lookout import Lookout
from eim.services.polls import Polls, Seen, unknown_answer
from eim.services.results import ResultRules, Results
from eim.services.retention import Ages, Retention
from eim.services.sealing import Sealer
from eim.services.traces import Sweeper
from eim.services.waiting import Waiters
from eim.services.worker import Worker, WorkerRules
from eim.store import Db, audit, health, identities, migrate
from eim.store.connect import DbRole, Pool, acquire, open_pool, transaction
from eim.store.identities import NewIdentity
from eim.store.retention import Aging
from eim.web.connections import Polled
from eim.web.device import device_app
from eim.web.door import Door, DoorRules
from eim.web.endpoints import Limits
from eim.web.esipa import EsipaEndpoint
from eim.web.operator import Ports, operator_app, services_on
from eim.web.rates import Rate

_PATIENCE: Final = 30.0  # seconds that a role waits at its start for a database that is not there yet
_LANES: Final = 2  # connections on which a device process asks for many polls at once
_RESULT_LANES: Final = 2  # transactions in which it takes in many results at once
_TRY_AGAIN: Final = 0.5  # seconds
_DATABASE_AWAY: Final = "the database does not answer"
_DRAINING: Final = "shutting down"

_log = structlog.get_logger()


async def run_device(
    config: Config, listener: socket.socket, stop: asyncio.Event, tickets_from: bytes | None = None
) -> None:
    """Serve ESipa until `stop`. Holds the TLS key and no other; can't sign a package.

    tickets_from  what the session tickets' keys come from in the other processes of the port, too; None: there are none
    """
    identity = credentials.own_identity(config)
    files = credentials.device_tls(config, identity, now())
    context = credentials.device_context(config, files)
    tickets = credentials.device_tickets(config, context, files, tickets_from)
    renewal = Renewal("device", context, lambda: credentials.device_tls(config, identity, now()))
    _on_hangup(renewal)
    roots = credentials.roots(config)
    pool = await _pool(config, DbRole.DEVICE, config.database.device_pool, stop)
    device = config.device
    suspicion = _suspicion(config)
    guesses = Guesses(GuessRules(device.guesses_a_second, device.guess_burst))
    waiters, seen = Waiters(pool, device.wait_for_seal), Seen(pool, suspicion, guesses, device.last_seen_every)
    polls = Polls(pool, waiters, seen, now, unknown_answer(device.unknown_eid.value))
    rules = ResultRules(device.strays_limit, device.unknown_eid is UnknownEid.NOT_FOUND, suspicion)
    results = Results(pool, roots, rules, now)
    esipa = Esipa(polls, results)
    endpoint = EsipaEndpoint(esipa, Polled(), device.body_limit, device.request_deadline)
    app = device_app(endpoint, _readiness(pool, stop))
    limits = serving.Limits(device.handshake_deadline, device.request_deadline, device.keep_alive)
    try:
        others = (waiters.run, seen.run, seen.strangers.run, renewal.run, tickets.run)
        if device.door is DoorKind.HYPERCORN:
            await _beside(serving.serve_app(app, listener, context, limits, stop), *others)
            return
        gathering = Gathering(pool, polls, _LANES, device.remember_nothing)
        bounds = DoorRules(
            device.body_limit, device.request_deadline, device.keep_alive, device.connections, device.under_way
        )
        collecting = Collecting(pool, results, _RESULT_LANES)
        door = Door(esipa, gathering, collecting, app, bounds)
        served = serving.serve_door(door, listener, context, limits, stop)
        async with _looking_out(config, pool, gathering, stop) as hearing:
            await _beside(served, gathering.run, collecting.run, door.wheel.run, *hearing, *others)
    finally:
        await _close(pool)


async def run_operator(config: Config, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve REST and the status page until `stop`."""
    context = credentials.operator_context(config, now())
    renewals = [Renewal("operator", context, lambda: credentials.operator_tls(config, now()))] if context else []
    _on_hangup(*renewals)
    roots = credentials.roots(config)
    pool = await _pool(config, DbRole.OPERATOR, config.database.operator_pool, stop)

    def check(euicc: bytes, eum: bytes) -> TrustedEuicc:
        return check_chain(euicc, eum, roots, now())

    ready = _readiness(pool, stop)

    async def unready() -> tuple[str, ...]:
        why = await ready()
        return (why,) if why else ()

    operator = config.operator
    ports = Ports(
        check_certificates=check,
        unready=unready,
        cipher=credentials.data_key(config),
        now=now,
        export=lambda identity: credentials.exported(config, identity),
        confirm_above=operator.confirm_above,
        reach=credentials.webhook_reach(config),
        event_streams=operator.event_streams,
    )
    app = operator_app(services_on(pool, ports), Limits(rate=Rate(operator.requests_a_second, operator.request_burst)))
    limits = serving.Limits(handshake=10.0, request=60.0, keep_alive=60.0)
    try:
        served = serving.serve_app(app, listener, context, limits, stop)
        await _beside(served, *(renewal.run for renewal in renewals))
    finally:
        await _close(pool)


async def run_worker(config: Config, stop: asyncio.Event, *, alone: bool) -> None:
    """Seal, serve requests and end what is past its time until `stop`. Holds the signing keys; has no ingress.

    alone  no other worker can be at work on this database (it is embedded), so what one left behind is fenced at once
    """
    keys = credentials.key_store(config)
    keys.load(credentials.own_identity(config).key_name)  # a key it can't read is said now, not at the first package
    pool = await _pool(config, DbRole.WORKER, config.database.worker_pool, stop)
    rules = WorkerRules(config.worker.batch, config.worker.seal_ahead, config.worker.poll_interval)
    leasing = Leasing(pool, uuid4(), timedelta(seconds=config.worker.lease))
    renewal = RenewalRule(config.worker.renew_associations)
    sealer = Sealer(pool, keys, rules.ahead, renewal, list_tags=config.worker.list_tags)
    worker = Worker(pool, leasing, sealer, Asking(pool), rules)
    checkpoints = credentials.checkpoint_signer(config)
    pen = Pen(checkpoints, verifier(checkpoints.spki), keeper(config.server.data_dir))
    linker = Linker(pool, leasing, pen)
    outgoing = Outgoing(credentials.webhook_reach(config), credentials.webhook_context(config), config.webhooks.timeout)
    said = config.notifications
    transport = Transport(credentials.smdp_trust(config), CallRules(said.timeout, said.parallel))
    forwarder = Forwarder(pool, leasing, Es9Plus(transport), (credentials.roots(config), now), forward_rules(config))
    try:
        if alone:
            await leasing.fence_all()
        await leasing.refresh()
        await linker.check(others=leasing.alive - 1)
        exposing = exposed(config.worker.metrics_host, config.worker.metrics_port)
        async with HttpSender(outgoing) as sender, transport:
            joined = Joined(
                pool, leasing, Horizon(), sender, credentials.data_key(config), now, _delivery_rules(config)
            )
            forgetting = partial(Retention(pool, ages(config)).run, leasing)
            denying = DenialRounds(pool, leasing, now)
            sending = (Deliverer(joined).run, forwarder.run)
            others = (Sweeper(pool, leasing).run, linker.run, denying.run, *sending, forgetting)
            gauging = () if config.worker.metrics_port is None else (Gauging(pool, leasing).run,)
            with exposing:
                await _beside(stop.wait(), worker.run, *others, *gauging)
    finally:
        await _close(pool)


@asynccontextmanager
async def _looking_out(
    config: Config, pool: Pool, gathering: Gathering, stop: asyncio.Event
) -> AsyncIterator[tuple[Callable[[], Awaitable[None]], ...]]:
    """What runs beside the door to hear of work that comes, where that is wanted: on a connection of its own."""
    if not config.device.remember_nothing:
        yield ()
        return
    ears, above = await _pool(config, DbRole.DEVICE, 1, stop), config.device.remember_above
    try:
        yield (Lookout(ears, pool, gathering.known, lambda: gathering.polls, above).run,)
    finally:
        await _close(ears)


def _suspicion(config: Config) -> SuspicionRules:
    said = config.suspicion
    return SuspicionRules(said.quarantine, said.alternations, said.window)


def ages(config: Config) -> Ages:
    """How long what is over is kept. What a remembered idempotency key answers with stays as long as the key."""
    kept = config.retention
    asked = max(kept.operations, kept.keys)
    days = {kind: getattr(kept, kind.value, asked) for kind in Aging} | {Aging.OPERATIONS: asked}
    return Ages({kind: timedelta(days=many) for kind, many in days.items()})


def _delivery_rules(config: Config) -> DeliveryRules:
    patience = timedelta(hours=config.webhooks.patience)
    return DeliveryRules(config.webhooks.parallel, patience=patience, interval=config.worker.poll_interval)


def forward_rules(config: Config) -> ForwardRules:
    """Where notifications may go by the configuration alone, and how."""
    said = config.notifications
    return ForwardRules(
        allowed=tuple(Smdp(address) for text in said.smdps if (address := canonical(text)) is not None),
        verified_only=said.forward is Forward.VERIFIED,
        across_hosts=said.order is OrderOf.PROFILE,
        alarm_after=timedelta(hours=said.alarm_after),
        longest_pause=timedelta(seconds=said.longest_pause),
        interval=config.worker.poll_interval,
    )


async def set_up(config: Config, dsn: str) -> Identity:
    """Migrate the database behind `dsn` (the owner's) and register this installation's identity. Safe to repeat.

    Roots and keys are judged first: what can't be served changes no database.
    """
    credentials.roots(config)
    identity = credentials.own_identity(config)
    credentials.key_store(config).load(identity.key_name)
    applied = await migrate.migrate(dsn, config.database.schema)
    if applied:
        _log.info("database.migrated", migrations=applied)
    credentials.data_key(config).ensure()
    credentials.checkpoint_signer(config)
    await register(config, dsn, identity)
    return identity


async def register(config: Config, dsn: str, identity: Identity) -> None:
    """Make the identity known to the database behind `dsn` (the owner's). Safe to repeat. Raises BadConfiguration."""
    pool = await open_pool(dsn, DbRole.OWNER, config.database.schema, 1)
    try:
        async with acquire(pool) as db:
            await _register(db, config, identity)
    finally:
        await _close(pool)


async def add_key(config: Config, dsn: str, eim_id: str, key_name: str) -> int:
    """Let the key `key_name` follow those of the identity `eim_id`; its number. Safe to repeat. `dsn`: the owner's.

    Raises BadConfiguration where nobody knows such an identity.
    """
    signer = credentials.key_store(config).load(key_name)
    pool = await open_pool(dsn, DbRole.OWNER, config.database.schema, 1)
    try:
        async with transaction(pool) as db:
            known = await identities.find(db, DEFAULT_TENANT, eim_id)
            if known is None:
                raise BadConfiguration(f"there is no identity {eim_id}: `eim identities list` shows those there are")
            for key in await identities.keys(db, DEFAULT_TENANT, known.id):
                if key.public_key == signer.spki:
                    return key.number
            new = identities.NewKey(key_name, signer.curve.value, signer.spki)
            number = await identities.add_key(db, DEFAULT_TENANT, known.id, new)
            bucket, about = audit.bucket_of_subject(eim_id), {"key": number, "key_name": key_name}
            await audit.record(
                db, bucket, DEFAULT_TENANT, actor="setup", action="identity.key_added", subject=eim_id, data=about
            )
            return number
    finally:
        await _close(pool)


def _on_hangup(*renewals: Renewal) -> None:
    """SIGHUP: look at the certificates now."""

    def look() -> None:
        for renewal in renewals:
            renewal.ask()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look)


def now() -> datetime:
    return datetime.now(UTC)


async def _register(db: Db, config: Config, identity: Identity) -> None:
    """Make the identity's row. The same eimId with another key is refused: cards would not obey it."""
    signer = credentials.key_store(config).load(identity.key_name)
    known = await identities.find(db, DEFAULT_TENANT, identity.eim_id)
    if known is not None:
        if known.public_key != signer.spki:
            raise BadConfiguration(
                f"the database knows eimId {identity.eim_id} with another key than {identity.key_name} "
                f"in {config.server.data_dir}: restore the key that belongs to this database, or use its data folder"
                + ("" if config.database.dsn else f" (`eim remove --data-dir {config.server.data_dir}` deletes both)")
            )
        return
    new = NewIdentity(
        eim_id=identity.eim_id,
        eim_id_type=identity.eim_id_type.number,
        fqdn=identity.fqdn,
        curve=signer.curve.value,
        public_key=signer.spki,
        key_name=identity.key_name,
        initial_counter=identity.initial_counter,
    )
    await identities.insert(db, DEFAULT_TENANT, new)
    about: dict[str, object] = {"eimId": identity.eim_id}
    bucket = audit.bucket_of_subject(identity.eim_id)
    await audit.record(
        db, bucket, DEFAULT_TENANT, actor="setup", action="identity.registered", subject=identity.eim_id, data=about
    )


def _dsn(config: Config, role: DbRole) -> str:
    own = {
        DbRole.DEVICE: config.database.device_dsn,
        DbRole.OPERATOR: config.database.operator_dsn,
        DbRole.WORKER: config.database.worker_dsn,
    }.get(role)
    found = own or config.database.dsn
    if found is None:
        name = f"database.{role.value}_dsn"
        raise BadConfiguration(f"{name}: one role alone needs a database to share with the others: write its URL there")
    return found.text


async def _pool(config: Config, role: DbRole, size: int, stop: asyncio.Event) -> Pool:
    """The role's connections; a database that is still starting is waited for, but not by one that is to stop."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            pool = await open_pool(_dsn(config, role), role, config.database.schema, size)
            await _check_standby(config, pool)
            return pool
        except Unavailable as error:
            if stop.is_set() or time.monotonic() > until:
                raise
            _log.warning("database.awaited", why=error.code)
            await asyncio.sleep(_TRY_AGAIN)


async def _check_standby(config: Config, pool: Pool) -> None:
    """Raises BadConfiguration where commits must wait for a standby and don't."""
    if config.database.require_synchronous_standby:
        async with acquire(pool) as db:
            fault = health.standby_fault(await health.replication(db))
        if fault:
            await _close(pool)
            raise BadConfiguration(
                f"database.require_synchronous_standby: {fault}: set it up, or take the setting away"
            )


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def _readiness(pool: Pool, stop: asyncio.Event) -> Callable[[], Awaitable[str | None]]:
    async def ready() -> str | None:
        if stop.is_set():
            return _DRAINING
        try:
            async with asyncio.timeout(2), acquire(pool) as db:
                await identities.schema_version(db)
        except (Unavailable, TimeoutError):
            return _DATABASE_AWAY
        return None

    return ready


async def _beside(main: Awaitable[object], *others: Callable[[], Awaitable[None]]) -> None:
    """Run `others` as long as `main` runs; if one of them fails, so does the whole: the supervisor starts it anew."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_forever(other)) for other in others]
        await main
        for task in tasks:
            task.cancel()


async def _forever(other: Callable[[], Awaitable[None]]) -> None:
    await other()
