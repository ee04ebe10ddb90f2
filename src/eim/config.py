"""The configuration as types. `config_loading` reads it, `config_reference` prints what stands here as documentation.

The setting `name` of a section is `name` under `[section]` in the TOML file and `EIM_SECTION_NAME` in the environment.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec import Meta

from eim.domain.identity import EimIdType
from eim.domain.suspicion import QUARANTINED, Why
from eim.protocol.published_keys import Mode


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class TlsVersion(StrEnum):
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class TlsSuites(StrEnum):
    MODERN = "modern"
    CONFORMANCE = "conformance"


class UnknownEid(StrEnum):
    NO_PACKAGE = "noEimPackage"
    NOT_FOUND = "eidNotFound"


class Dsn:
    """A PostgreSQL URL. Its password never shows in `str` or `repr`; `text` is the whole."""

    def __init__(self, text: str) -> None:
        parts = urlsplit(text)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("no PostgreSQL URL")
        _ = parts.port  # raises ValueError for a port that is no number
        self.text = text

    def __str__(self) -> str:
        parts = urlsplit(self.text)
        user, colon, _ = parts.netloc.rpartition("@")[0].partition(":")
        host = parts.netloc.rpartition("@")[2]
        masked = f"{user}{':***' if colon else ''}@{host}" if user or colon else host
        secret = ("password", "sslpassword", "passfile")
        query = [(name, "***" if name in secret else value) for name, value in parse_qsl(parts.query, True)]
        return f"{parts.scheme}://{masked}{parts.path}" + (f"?{urlencode(query, safe='*/')}" if query else "")

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dsn) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Connections = Annotated[int, Meta(ge=1, le=500)]
# A device process holds three for good (two to look, one to hand out) and takes in results on two; the rest is alone.
DeviceConnections = Annotated[int, Meta(ge=6, le=500)]


class Server(msgspec.Struct, frozen=True):
    """What all roles share."""

    data_dir: Annotated[
        Path,
        Meta(
            description="Where keys, certificates, the identity and the embedded database are kept. Default: "
            "`/var/lib/eim/default` for root, otherwise `eim` under `$XDG_DATA_HOME` or `~/.local/share`."
        ),
    ]
    test_mode: Annotated[
        bool, Meta(description="Allow published test keys and test roots (GSMA SGP.26). Never with real cards.")
    ] = False
    log_level: Annotated[LogLevel, Meta(description="The least severe event that is logged.")] = LogLevel.INFO
    log_format: Annotated[LogFormat, Meta(description="One JSON object a line, or text for people.")] = LogFormat.TEXT

    @property
    def mode(self) -> Mode:
        return Mode.TEST if self.test_mode else Mode.PRODUCTION


class Database(msgspec.Struct, frozen=True):
    """The PostgreSQL database. Without any DSN, `eim serve` runs an embedded one under `server.data_dir`."""

    dsn: Annotated[
        Dsn | None,
        Meta(
            description="URL of the database as the owner of the tables: migrates, and serves each role without a DSN."
        ),
    ] = None
    device_dsn: Annotated[Dsn | None, Meta(description="URL for the device role (member of `eim_device`).")] = None
    operator_dsn: Annotated[Dsn | None, Meta(description="URL for the operator role (member of `eim_operator`).")] = (
        None
    )
    worker_dsn: Annotated[Dsn | None, Meta(description="URL for the worker role (member of `eim_worker`).")] = None
    schema: Annotated[
        str, Meta(pattern="^[a-z_][a-z0-9_]{0,62}$", description="The schema of all tables; made when it is missing.")
    ] = "eim"
    device_pool: Annotated[DeviceConnections, Meta(description="Connections that one device process holds.")] = 8
    operator_pool: Annotated[Connections, Meta(description="Connections that one operator process holds.")] = 4
    worker_pool: Annotated[Connections, Meta(description="Connections that one worker process holds.")] = 6
    require_synchronous_standby: Annotated[
        bool,
        Meta(
            description="Refuse to start on a database whose commits wait for no standby. Set it where there is one: "
            "a failover to an asynchronous standby loses what was acknowledged, and uses counters twice."
        ),
    ] = False


class DoorKind(StrEnum):
    OWN = "own"
    HYPERCORN = "hypercorn"


class Device(msgspec.Struct, frozen=True):
    """ESipa: the port that devices reach."""

    host: Annotated[str, Meta(min_length=1, description="The address to listen on.")] = "0.0.0.0"  # noqa: S104 - devices must reach it
    port: Annotated[Port, Meta(description="The TCP port; 0 takes any free one.")] = 8443
    tls_certificate: Annotated[
        Path | None,
        Meta(
            description="PEM file: the server's certificate, then its issuers up to but without the root. "
            "Without it, a CA and a certificate are made and kept under `server.data_dir`."
        ),
    ] = None
    tls_key: Annotated[Path | None, Meta(description="PEM file: the private key of `tls_certificate`.")] = None
    tls_names: Annotated[
        tuple[str, ...],
        Meta(
            description="DNS names and IP addresses for the certificate that is made. "
            "Default: the host of `identity.fqdn`, this machine's name, `localhost`, `127.0.0.1`, `::1`."
        ),
    ] = ()
    tls_minimum: Annotated[
        TlsVersion, Meta(description="The oldest TLS version that is spoken. SGP.32 devices need not know 1.3.")
    ] = TlsVersion.TLS_1_2
    tls_suites: Annotated[
        TlsSuites,
        Meta(
            description="The TLS 1.2 suites: `modern` is ECDHE-ECDSA with AES-128-GCM and AES-256-GCM; `conformance` "
            "adds ECDHE-ECDSA-AES128-SHA256 (CBC), which test tools fall back to."
        ),
    ] = TlsSuites.MODERN
    body_limit: Annotated[
        int,
        Meta(ge=1024, le=16 * 1024 * 1024, description="The largest request body, in octets; more is answered 413."),
    ] = 64 * 1024
    request_deadline: Annotated[
        Seconds, Meta(description="Seconds within which a request must have come in and been answered.")
    ] = 30.0
    handshake_deadline: Annotated[Seconds, Meta(description="Seconds that a TLS handshake may take.")] = 10.0
    keep_alive: Annotated[Seconds, Meta(description="Seconds that an idle connection is kept.")] = 60.0
    door: Annotated[
        DoorKind,
        Meta(
            description="Who speaks HTTP with devices: `own`, our listener made for polls, or `hypercorn`, the general "
            "server, many times slower. Their answers are the same."
        ),
    ] = DoorKind.OWN
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Connections that one process keeps; one more is closed. An idle one "
            "takes about 40 KiB. Of the door `own` only.",
        ),
    ] = 50_000
    processes: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Processes that share the port: one for each core that devices may fill. Each has connections "
            "of its own (`device.connections`, `database.device_pool`).",
        ),
    ] = 1
    tls_ticket_secret: Annotated[
        Path | None,
        Meta(
            description="A file of 32 random octets or more, the same on all machines behind one address: a device "
            "resumes its TLS session on any of them. Without it a secret is drawn at the start and never written "
            "down; the processes of one `eim serve` share it."
        ),
    ] = None
    under_way: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Messages that one process works on at once; one more is answered 503 with a Retry-After of 20 "
            "to 80 seconds. About as many as it answers in a second. Of the door `own` only.",
        ),
    ] = 2_000
    last_seen_every: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds for which the time an eUICC was last seen is not written again, so it may be behind "
            "by twice as much at most. A device that polls more often than this costs far less.",
        ),
    ] = 300
    remember_nothing: Annotated[
        int,
        Meta(
            ge=0,
            le=300,
            description="Seconds for which a process remembers that nothing waited for an eUICC, and answers its polls "
            "without the database while it surely hears of work that comes (docs/architecture.md); 0: never. It takes "
            "one connection more than `database.device_pool`. Of the door `own` only.",
        ),
    ] = 60
    remember_above: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Polls a second of one process from which on `remember_nothing` is used: where fewer come, "
            "each is asked for, and finds what was ordered before it came; 0: always.",
        ),
    ] = 250
    wait_for_seal: Annotated[
        float,
        Meta(ge=0, le=10, description="Seconds that a poll waits for work which is ordered but not signed yet."),
    ] = 1.5
    unknown_eid: Annotated[
        UnknownEid,
        Meta(description="What an EID nobody onboarded hears. `eidNotFound` tells strangers which EIDs are known."),
    ] = UnknownEid.NO_PACKAGE
    guesses_a_second: Annotated[
        float,
        Meta(
            ge=0,
            le=100_000,
            description="Polls for unknown EIDs that one network (/24, of IPv6 /48) may make in the long run. One that "
            "makes more hears 429 for 30 seconds, whatever it asks; 0: no limit. Counted by each process. Write 0 "
            "where a proxy or a carrier's NAT makes all devices look like one network.",
        ),
    ] = 20.0
    guess_burst: Annotated[
        int, Meta(ge=1, le=10_000_000, description="How many polls for unknown EIDs one network may make at once.")
    ] = 5_000
    strays_limit: Annotated[
        int, Meta(ge=0, le=10_000_000, description="How many messages that name nobody are kept as evidence.")
    ] = 10_000


class Operator(msgspec.Struct, frozen=True):
    """REST and the status page: the port that people and their systems reach."""

    host: Annotated[
        str, Meta(min_length=1, description="The address to listen on. Anything but loopback needs a certificate.")
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The TCP port; 0 takes any free one.")] = 8080
    tls_certificate: Annotated[
        Path | None, Meta(description="PEM file: the server's certificate, then its issuers. Without it: plain HTTP.")
    ] = None
    tls_key: Annotated[Path | None, Meta(description="PEM file: the private key of `tls_certificate`.")] = None
    public_url: Annotated[
        Annotated[str, Meta(pattern="^https?://[^/?#]+/?$")] | None,
        Meta(description="The address that callers use, when a proxy stands in front."),
    ] = None
    confirm_above: Annotated[
        int, Meta(ge=0, le=100_000, description="An order for more operations than this has to repeat how many.")
    ] = 100
    requests_a_second: Annotated[
        float,
        Meta(ge=0, le=100_000, description="How often one token may ask in the long run; 0: as often as it likes."),
    ] = 100.0
    request_burst: Annotated[
        int, Meta(ge=1, le=1_000_000, description="How many requests one token may make at once.")
    ] = 1000
    event_streams: Annotated[
        int, Meta(ge=0, le=10_000, description="How many may follow events at once over one operator process.")
    ] = 100


class Worker(msgspec.Struct, frozen=True):
    """Assembling and signing packages ahead of the devices' calls."""

    batch: Annotated[int, Meta(ge=1, le=10_000, description="How many eUICCs one round serves at most.")] = 1000
    seal_ahead: Annotated[
        int, Meta(ge=1, le=16, description="How many packages are sealed ahead for one eUICC at most.")
    ] = 3
    poll_interval: Annotated[
        Seconds, Meta(description="Seconds between two looks for due work when nobody hints at any.")
    ] = 1.0
    renew_associations: Annotated[
        bool,
        Meta(
            description="Give a card whose counter has passed 90 % of its ceiling the identity's newest key, and with "
            "it a new count, without being asked. Nothing happens while there is no newer key than the card's."
        ),
    ] = True
    list_tags: Annotated[
        bool,
        Meta(
            description="Name the tags wanted when profiles are listed, so that a card tells its policy rules and "
            "nicknames too. A card that refuses that is asked in the plain form from then on (docs/steps.md)."
        ),
    ] = True
    lease: Annotated[
        float,
        Meta(
            ge=2,
            le=60,
            description="Seconds after which the work of a worker that gives no sign of life is taken over by the "
            "others, by the database's clock. It gives one four times as often.",
        ),
    ] = 10.0
    metrics_port: Annotated[
        Port | None,
        Meta(
            description="The TCP port of `GET /metrics`, for Prometheus (docs/operating.md); 0 takes any free one. "
            "Default: none. Several workers on one machine need one each."
        ),
    ] = None
    metrics_host: Annotated[
        str, Meta(min_length=1, description="The address to listen on for it. Whoever reaches it may read it.")
    ] = "127.0.0.1"


class Webhooks(msgspec.Struct, frozen=True):
    """Events to receivers that operators name (docs/events.md)."""

    allow_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks that receivers may lie in although they are not public, as `10.1.0.0/16`. Whoever "
            "may make webhooks can make this eIM call anything there."
        ),
    ] = ()
    allow_http: Annotated[bool, Meta(description="Take `http://` addresses too: events travel in the clear.")] = False
    trust: Annotated[
        tuple[Path, ...],
        Meta(description="PEM files with root certificates of receivers, beside those this machine trusts."),
    ] = ()
    timeout: Annotated[Seconds, Meta(description="Seconds within which a receiver must have answered.")] = 15.0
    parallel: Annotated[
        int, Meta(ge=1, le=128, description="How many devices' events are sent at once to one receiver.")
    ] = 16
    patience: Annotated[
        int,
        Meta(ge=1, le=8760, description="Hours of failure without any success, after which a webhook is switched off."),
    ] = 72


class Forward(StrEnum):
    ALL = "all"
    VERIFIED = "verified"


class OrderOf(StrEnum):
    PROFILE = "profile"
    PROFILE_AND_ADDRESS = "profile-and-address"


class Notifications(msgspec.Struct, frozen=True):
    """What cards sign for an SM-DP+, and its way there (docs/notifications.md)."""

    smdps: Annotated[
        tuple[str, ...],
        Meta(
            description="SM-DP+ that notifications of every tenant may go to, as `host` or `host:port`, over JSON and "
            "under the CI roots of `trust.roots`. Others, and other terms, are `eim smdps`."
        ),
    ] = ()
    forward: Annotated[
        Forward,
        Meta(description="Whether only what is proven to be the card's goes, or all that isn't proven false."),
    ] = Forward.ALL
    order: Annotated[
        OrderOf,
        Meta(
            description="What keeps its order: all notifications about a profile of a card, or those for each address "
            "apart, so that one server's silence never delays another's."
        ),
    ] = OrderOf.PROFILE
    trust: Annotated[
        tuple[Path, ...],
        Meta(description="PEM files with root certificates of SM-DP+ under `web`, beside those this machine trusts."),
    ] = ()
    timeout: Annotated[Seconds, Meta(description="Seconds within which an SM-DP+ must have answered.")] = 30.0
    parallel: Annotated[int, Meta(ge=1, le=128, description="How many calls to one SM-DP+ are made at once.")] = 8
    longest_pause: Annotated[
        Seconds, Meta(description="Seconds that the wait between two tries of a notification grows to at most.")
    ] = 3600.0
    alarm_after: Annotated[
        int, Meta(ge=1, le=8760, description="Hours after which a notification that is still here is an alarm.")
    ] = 24


Days = Annotated[int, Meta(ge=7, le=36_500)]


class Retention(msgspec.Struct, frozen=True):
    """For how many days what is over is kept (docs/retention.md). Audit records are kept for ever."""

    results: Annotated[Days, Meta(description="What cards sent back, as it came.")] = 400
    events: Annotated[Days, Meta(description="The timeline, from which webhooks and streams are fed.")] = 400
    packages: Annotated[
        Days, Meta(description="The octets of packages whose operation has ended; counter and digest are kept.")
    ] = 90
    notifications: Annotated[Days, Meta(description="Notifications that were delivered or given up.")] = 400
    strays: Annotated[Days, Meta(description="Messages that name nobody.")] = 30
    operations: Annotated[
        Days, Meta(description="Operations that ended, and their orders; not before results and packages of theirs.")
    ] = 1200
    keys: Annotated[Days, Meta(description="Idempotency keys with their answers.")] = 90
    imports: Annotated[Days, Meta(description="Reports of files that were uploaded.")] = 400


class Trust(msgspec.Struct, frozen=True):
    """Which eUICCs are believed."""

    roots: Annotated[
        tuple[Path, ...],
        Meta(description="Files with CI root certificates: DER, or PEM with any number of them."),
    ] = ()


class Suspicion(msgspec.Struct, frozen=True):
    """Signs that two cards share one EID (docs/suspicion.md)."""

    quarantine: Annotated[
        tuple[Why, ...],
        Meta(description="The signs after which nothing goes out to a card until an operator releases it."),
    ] = QUARANTINED
    alternations: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="How often the polls of one EID may alternate between two networks or two addresses within "
            "`window`; 0: nobody looks.",
        ),
    ] = 6
    window: Annotated[Seconds, Meta(description="Seconds.")] = 600.0


class Identity(msgspec.Struct, frozen=True):
    """Who the eIM is to its eUICCs, when `eim keys init` has not said so: read at the first start only."""

    key_name: Annotated[
        str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$", description="The name of the signing key under `keys/`.")
    ] = "default"
    eim_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="The eimId. Default: the host of `fqdn`; without one, `eim-` and the key's fingerprint."),
    ] = None
    eim_id_type: Annotated[
        EimIdType | None,
        Meta(description="What `eim_id` is. Default: `fqdn` when it was derived from `fqdn`, otherwise `proprietary`."),
    ] = None
    fqdn: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="The host, or host:port, at which devices reach ESipa. Default: `localhost`, `device.port`."),
    ] = None


class Config(msgspec.Struct, frozen=True):
    """All of it, checked."""

    server: Server
    database: Database = Database()
    device: Device = Device()
    operator: Operator = Operator()
    worker: Worker = Worker()
    webhooks: Webhooks = Webhooks()
    notifications: Notifications = Notifications()
    retention: Retention = Retention()
    trust: Trust = Trust()
    suspicion: Suspicion = Suspicion()
    identity: Identity = Identity()
