"""What a benchmark found, in a form that others read: the table of `./dev bench`, bench/compare.py, bench/capacity.py.

A benchmark prints its lines for people and calls `record` for each figure that has a bar, `cost` for what something
costs by process. Both go, as a line of JSON each, to the file that EIM_BENCH_RECORDS names; without it, nowhere.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

VARIABLE: Final = "EIM_BENCH_RECORDS"


class Bar(msgspec.Struct, frozen=True):
    """What one path must reach. `gate` is the least that is taken, `target` what is wanted; both are ratios."""

    path: str
    unit: str  # of the figure and of its baseline
    gate: float
    target: float


BARS: Final[Mapping[str, Bar]] = {
    "poll_http": Bar("poll through the door, keep-alive HTTP, against nginx", "us CPU", 0.6, 0.8),
    "poll_tls": Bar("poll through the door, keep-alive TLS, against nginx", "us CPU", 0.5, 0.7),
    "poll_http_asked": Bar("the same with a question to the database for every poll, HTTP", "us CPU", 0.6, 0.8),
    "poll_tls_asked": Bar("the same with a question to the database for every poll, TLS", "us CPU", 0.5, 0.7),
    "poll_new": Bar("new connection, full TLS 1.3 handshake, against nginx", "us CPU", 0.6, 0.8),
    "door": Bar("door against the Hypercorn + Starlette route of the same app", "us CPU", 10, 20),
    "verify_batch": Bar("verify_batch against a C loop of ECDSA_do_verify", "us CPU", 0.88, 0.93),
    "verify_threads": Bar("verify_batch, two threads against one", "us a signature", 1.6, 1.85),
    "assemble": Bar("assemble + sign against bare sign", "us CPU", 0.75, 0.9),
    "tlv_decode": Bar("TLV decode against asn1tools", "us CPU", 20, 30),
    "tlv_encode": Bar("TLV encode against asn1tools", "us CPU", 80, 140),
    "gathered": Bar("gathered look-ups against one query a request, 64 concurrent", "us CPU", 3, 4.5),
    "result": Bar("result: verify + store + acknowledge, against verify + the bare INSERT", "us CPU", 0.5, 0.7),
    "bulk_order": Bar("bulk order of 1,000,000 operations against a bare COPY", "us CPU", 0.7, 0.9),
    "idle_connection": Bar("idle TLS connection: 30 KiB / ours", "KiB", 0.75, 1.0),
    "tail": Bar("tail of an empty poll at 50 % of saturation: p50 x 20 / p99", "ms", 1.0, 2.5),
    "full_cycle": Bar("full cycle over keep-alive TLS, cycles per CPU-second", "cycles/CPU-s", 1_600, 4_000),
}


class Record(msgspec.Struct, frozen=True, tag="record"):
    """One figure beside its bar."""

    name: str  # a key of BARS
    path: str
    figure: float
    baseline: float | None  # None: the figure stands for itself
    ratio: float  # higher is better; the figure itself when there is no baseline
    gate: float
    target: float
    unit: str
    conditions: str


class Cost(msgspec.Struct, frozen=True, tag="cost"):
    """What one of something costs, by process: what bench/capacity.py reckons with."""

    name: str
    server: float  # microseconds of CPU time of the processes of `eim serve`; of idle_connection: KiB
    postgres: float  # microseconds of CPU time of all of Postgres; of stored_*, hot_* and wal_*: KiB
    conditions: str


Found = Record | Cost


def record(name: str, figure: float, baseline: float | None, ratio: float, conditions: str) -> None:
    """Keep one figure of the table.

    name        which one: a key of BARS
    figure      ours, in the bar's unit
    baseline    theirs from the same run, None where there is none
    ratio       the median of the rounds' ratios, higher is better; the figure itself without a baseline
    conditions  as `_measuring.conditions` says them
    """
    bar = BARS[name]
    _keep(Record(name, bar.path, figure, baseline, ratio, bar.gate, bar.target, bar.unit, conditions))


def cost(name: str, server: float, postgres: float, conditions: str) -> None:
    """Keep what one `name` costs: microseconds of CPU time of our processes, and of Postgres."""
    _keep(Cost(name, server, postgres, conditions))


def read(lines: Iterable[bytes]) -> list[Found]:
    """What benchmarks kept, a line each."""
    return [msgspec.json.decode(line, type=Found) for line in lines]


def _keep(found: Found) -> None:
    path = os.environ.get(VARIABLE)
    if path:
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode(found) + b"\n")
