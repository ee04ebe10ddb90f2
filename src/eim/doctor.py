"""What `eim doctor` looks at: every check says what it found, whether that is well, and what to do when it isn't."""

import shutil
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from eim import app, credentials
from eim.config import Config
from eim.domain.counter import ALARM, CEILING
from eim.domain.ids import DEFAULT_TENANT
from eim.errors import EimError
from eim.installation import login
from eim.keys.identity import read_identity
from eim.store import Db, health, identities, migrate
from eim.store.connect import DbRole, acquire, open_pool

_SKEW: Final = timedelta(seconds=5)
_SOON: Final = timedelta(days=30)
_LATE: Final = (timedelta(minutes=1), timedelta(minutes=10))  # work that waits: warn, fault
_DOUBT: Final = timedelta(days=1)
_ROOM: Final = (5 << 30, 1 << 30)  # octets free: warn, fault
_PRIVATE: Final = 0o077


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Check(msgspec.Struct, frozen=True):
    """One line of the examination."""

    name: str
    state: State
    found: str
    todo: str | None = None


async def examine(config: Config) -> Sequence[Check]:
    """Look at all that can be seen from here; nothing is changed, and one fault hides no other."""
    now = app.now()
    checks = [Check("configuration", State.OK, "it can be used")]
    checks += [*_folder(config), *_identity(config), *_roots(config, now), *_certificates(config, now)]
    checks += [check async for check in _database(config, now)]
    return checks


def _folder(config: Config) -> Iterator[Check]:
    data = config.server.data_dir
    if not data.exists():
        yield Check("data folder", State.WARNING, f"there is none at {data}", "start `eim serve`, or `eim keys init`")
        return
    try:
        open_ = [path for path in _private(data) if stat.S_IMODE(path.stat().st_mode) & _PRIVATE]
    except OSError as error:
        yield Check("data folder", State.FAULT, f"it can't be read: {error.strerror}", "run this as the server's user")
        return
    if open_:
        names = ", ".join(str(path) for path in open_[:5])
        yield Check("data folder", State.FAULT, f"open to other users: {names}", "chmod go-rwx what is named")
    else:
        yield Check("data folder", State.OK, f"{data} is its owner's alone")
    free = shutil.disk_usage(data).free
    state = _graded(-free, tuple(-each for each in _ROOM))
    todo = None if state is State.OK else "make room: a full disk stops the database, and every device with it"
    yield Check("disk", state, f"{free / (1 << 30):.1f} GiB free under {data}", todo)


def _private(data: Path) -> Iterator[Path]:
    """What nobody else may read: keys, tokens, and the configuration of the roles."""
    yield from (path for path in (data / "keys", data / "operator.token") if path.exists())
    for folder in ("keys", "tls", "run"):
        yield from (
            path for path in (data / folder).glob("*") if path.suffix in (".pem", ".key", ".toml") and _secret(path)
        )


def _secret(path: Path) -> bool:
    return path.name not in ("ca.pem", "server.pem")


def _identity(config: Config) -> Iterator[Check]:
    try:
        identity = read_identity(config.server.data_dir)
        if identity is None:
            yield Check("identity", State.WARNING, "there is none yet", "make one: `eim keys init`")
            return
        credentials.key_store(config).load(identity.key_name)
        yield Check("identity", State.OK, f"{identity.eim_id}, its key can sign")
    except EimError as error:
        yield Check("identity", State.FAULT, str(error), "restore the file from your backup")


def _roots(config: Config, now: datetime) -> Iterator[Check]:
    try:
        found = credentials.roots(config).certificates
    except EimError as error:
        yield Check("CI roots", State.FAULT, str(error), "correct trust.roots")
        return
    if not found:
        todo = "name them in trust.roots: no card's certificate is believed without"
        yield Check("CI roots", State.WARNING, "none are configured", todo)
    for number, root in enumerate(found, 1):
        yield _expiry(f"CI root {number}", root.not_after, now, "replace it in trust.roots")


def _certificates(config: Config, now: datetime) -> Iterator[Check]:
    tls = config.server.data_dir / "tls"
    own = config.device.tls_certificate is None
    files = [("device certificate", config.device.tls_certificate or tls / "server.pem")]
    files += [("device CA", tls / "ca.pem")] if own else []
    files += [("operator certificate", config.operator.tls_certificate)] if config.operator.tls_certificate else []
    for name, path in files:
        try:
            leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except FileNotFoundError:
            state = State.WARNING if own else State.FAULT
            yield Check(
                name, state, f"there is no {path}", "`eim serve` makes it at its start" if own else "put it there"
            )
        except (OSError, ValueError):
            yield Check(name, State.FAULT, f"{path} can't be read as PEM", "restore or renew it")
        else:
            todo = "restart, or SIGHUP: it is renewed" if own else "renew it, then send SIGHUP"
            yield _expiry(name, leaf.not_valid_after_utc, now, todo)


def _expiry(name: str, end: datetime, now: datetime, todo: str) -> Check:
    left = end - now
    if left <= timedelta(0):
        return Check(name, State.FAULT, f"expired on {end:%Y-%m-%d}", todo)
    return Check(
        name,
        State.WARNING if left < _SOON else State.OK,
        f"good until {end:%Y-%m-%d}, {left.days} days",
        todo if left < _SOON else None,
    )


async def _database(config: Config, now: datetime) -> AsyncIterator[Check]:
    reached = True
    for role in DbRole:
        try:
            async with _connected(config, role) as db:
                await health.clock(db)
            yield Check(f"database, {role.value}", State.OK, "answers")
        except EimError as error:
            reached = reached and role is not DbRole.WORKER
            yield Check(f"database, {role.value}", State.FAULT, str(error), "see docs/database.md")
    if not reached:
        return
    async with _connected(config, DbRole.WORKER) as db:
        schema = await _schema(db)
        yield schema
        if schema.state is State.FAULT:
            return  # tables may be missing
        yield await _clock(db)
        yield await _rights(db)
        yield await _standby(db, config)
        yield await _registered(db, config)
        yield await _counters(db)
        yield await _leases(db)
        yield await _work(db, now)
        yield await _doubts(db)
        yield await _notifications(db, now, config)
        yield await _strays(db, config)


@asynccontextmanager
async def _connected(config: Config, role: DbRole) -> AsyncIterator[Db]:
    """A connection as `role`. Raises BadConfiguration or DatabaseUnavailable."""
    pool = await open_pool(login(config, role), role, config.database.schema, 1)
    try:
        async with acquire(pool) as db:
            yield db
    finally:
        await pool.close()


async def _schema(db: Db) -> Check:
    ours = {migration.version: migration.checksum for migration in migrate.load()}
    theirs = await health.versions(db)
    if newer := [version for version in theirs if version not in ours]:
        found = f"version {max(newer)}, this program knows up to {max(ours)}"
        # What a newer release has added is made so that this one goes on (docs/upgrading.md).
        return Check("schema", State.WARNING, found, "an upgrade is under way? finish it: install the newer release")
    if edited := [version for version, checksum in theirs.items() if ours[version] != checksum]:
        found = f"migration {edited[0]:04} is not the one that was applied"
        return Check("schema", State.FAULT, found, "install the release that belongs to this database")
    if missing := [version for version in ours if version not in theirs]:
        found = f"version {max(theirs)}, this program needs {max(missing)}"
        return Check("schema", State.FAULT, found, "`eim migrate`, or restart `eim serve`")
    return Check("schema", State.OK, f"version {max(ours)}")


async def _clock(db: Db) -> Check:
    before = app.now()
    theirs = await health.clock(db)
    off = theirs - (before + (app.now() - before) / 2)
    found = f"{off.total_seconds():+.2f} s from the database's"
    if abs(off) > _SKEW:
        return Check("clock", State.FAULT, found, "set both machines' clocks by NTP: certificates are judged by ours")
    return Check("clock", State.OK, found)


async def _rights(db: Db) -> Check:
    wrong = await health.wrong_rights(db)
    if not wrong:
        return Check("database rights", State.OK, f"{len(health.RIGHTS)} looked at")
    said = "; ".join(f"{w.role.value} {'lacks' if w.due else 'has'} {w.right} on {w.table}" for w in wrong)
    return Check("database rights", State.FAULT, said, "undo grants that were made by hand (docs/database.md)")


async def _standby(db: Db, config: Config) -> Check:
    found = await health.replication(db)
    fault = health.standby_fault(found)
    if fault and config.database.require_synchronous_standby:
        return Check("standby", State.FAULT, fault, "set synchronous_standby_names (docs/database.md)")
    if fault:
        return Check("standby", State.OK, "none, and none is demanded (database.require_synchronous_standby)")
    return Check("standby", State.OK, f"commits wait for {found.names}")


async def _registered(db: Db, config: Config) -> Check:
    identity = read_identity(config.server.data_dir)
    if identity is None:
        return Check("registered key", State.WARNING, "there is no identity here to compare", "`eim keys init`")
    known = await identities.find(db, DEFAULT_TENANT, identity.eim_id)
    if known is None:
        return Check("registered key", State.WARNING, f"{identity.eim_id} is not registered", "restart `eim serve`")
    try:
        same = credentials.key_store(config).load(identity.key_name).spki == known.public_key
    except EimError as error:
        return Check("registered key", State.FAULT, str(error), "restore the key")
    if not same:
        todo = "restore the key that belongs to this database: no card obeys the one here"
        return Check("registered key", State.FAULT, f"{identity.eim_id} is registered with another key", todo)
    return Check("registered key", State.OK, f"{identity.eim_id} is registered with the key that is here")


async def _counters(db: Db) -> Check:
    found = await health.counters(db, ALARM)
    said = f"{found.euiccs} eUICCs, the highest is {found.highest} of {CEILING}"
    if found.high:
        todo = "make a newer key (`eim keys rotate`): these associations are renewed with it (docs/keys-and-trust.md)"
        return Check("counters", State.FAULT, f"{said}, {found.high} are above 90 %", todo)
    return Check("counters", State.OK, said)


async def _leases(db: Db) -> Check:
    found = await health.leases(db)
    said = f"{found.held} of {found.buckets} buckets are held, workers: {found.workers}"
    if not found.held:
        return Check("workers", State.FAULT, said, "no worker is alive: look at its log")
    if found.held < found.buckets:
        return Check("workers", State.WARNING, said, "wait 10 s and look again; then look at the workers' logs")
    return Check("workers", State.OK, said)


async def _work(db: Db, now: datetime) -> Check:
    oldest = await health.oldest_due(db)
    if oldest is None:
        return Check("due work", State.OK, "nothing waits")
    waits = max(now - oldest, timedelta(0))
    state = _graded(waits.total_seconds(), tuple(each.total_seconds() for each in _LATE))
    todo = None if state is State.OK else "look for worker.cannot_seal in the log, and at the workers' load"
    return Check("due work", state, f"the oldest waits for {waits.total_seconds():.0f} s", todo)


async def _doubts(db: Db) -> Check:
    found = await health.doubts(db, _DOUBT)
    if found:
        todo = "their devices don't call: `eim operations list --state in_doubt`"
        return Check("in doubt", State.WARNING, f"{found} operations for more than a day", todo)
    return Check("in doubt", State.OK, "none for more than a day")


async def _notifications(db: Db, now: datetime, config: Config) -> Check:
    found = await health.notifications(db)
    said = f"{found.waiting} wait for their SM-DP+, {found.held} are held"
    if found.held:
        return Check("notifications", State.WARNING, said, "`eim notifications list --state held` says why")
    if found.oldest and now - found.oldest > timedelta(hours=config.notifications.alarm_after):
        todo = "their SM-DP+ doesn't take them: `eim smdps list`"
        return Check("notifications", State.WARNING, f"{said}, the oldest since {found.oldest:%Y-%m-%d %H:%M}", todo)
    return Check("notifications", State.OK, said)


async def _strays(db: Db, config: Config) -> Check:
    found, limit = await health.strays(db), config.device.strays_limit
    if limit and found >= limit * 9 // 10:
        return Check("strays", State.WARNING, f"{found} of {limit}", "somebody sends what names nobody: see the log")
    return Check("strays", State.OK, f"{found} of {limit}")


def _graded(value: float, marks: Sequence[float]) -> State:
    warn, fault = marks
    return State.FAULT if value > fault else State.WARNING if value > warn else State.OK
