"""From what one of something costs to what a fleet needs. Pure arithmetic; bench/capacity.py asks and shows."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bench._records import Cost

_MICRO: Final = 1e-6
_KIB: Final = 1024
_GIB: Final = 1024**3
_DAY: Final = 86_400


class Tls(StrEnum):
    """How devices come: what their connection is when they poll. The value is the name of its cost."""

    KEPT_ALIVE = "poll_tls"
    NEW_13 = "poll_new"
    RESUMED_13 = "poll_resumed13"
    RESUMED_12 = "poll_resumed12"


MODES: Final = {
    Tls.KEPT_ALIVE: "kept alive",
    Tls.NEW_13: "new, TLS 1.3",
    Tls.RESUMED_13: "resumed, TLS 1.3",
    Tls.RESUMED_12: "resumed, TLS 1.2",
}


class Curve(StrEnum):
    P256 = "p256"
    BRAINPOOL = "brainpool"


class Fleet(msgspec.Struct, frozen=True):
    """What is to be carried."""

    devices: int
    interval: float  # seconds between two visits of a device
    share: float  # of the visits that find work: 0 to 1
    curve: Curve = Curve.P256
    peak: float = 3.0  # the busiest moment, in means
    surge: float = 0.1  # so many of the devices call within `window`, as after a power cut
    window: float = 300.0  # seconds
    stay: float = 10.0  # seconds that a new connection stays: handshake, requests and close over a slow network


class Prices(msgspec.Struct, frozen=True):
    """What one pays a month, in whatever money."""

    core: float
    gib: float  # of memory
    disk: float  # a GiB


class Machines(msgspec.Struct, frozen=True):
    """How machines are used, and what each needs before it serves anybody."""

    load: float = 0.6  # of a core at the busiest moment: above that the tail grows
    process: float = 150.0  # MiB of one device process without connections; one a core
    database: float = 1.0  # GiB of Postgres that no device causes
    keep: float = 400.0  # days that what a cycle leaves behind is kept


class Need(msgspec.Struct, frozen=True):
    """What a fleet needs in one mode, at its busiest moment."""

    visits: float  # a second, mean
    busiest: float  # a second: the peak or the surge, whichever is more
    server: float  # cores, as said by `Machines.load`
    postgres: float  # cores
    memory: float  # GiB, of device processes and Postgres
    disk: float  # GiB, with what is kept
    month: float  # money


class Costs:
    """The measured costs by name. Raises KeyError for one that was not measured."""

    def __init__(self, costs: Sequence[Cost]) -> None:
        self._by_name: Mapping[str, Cost] = {cost.name: cost for cost in costs}

    def knows(self, mode: Tls) -> bool:
        return mode.value in self._by_name

    def of(self, name: str) -> tuple[float, float]:
        """(microseconds of the server, microseconds of Postgres)."""
        cost = self._by_name[name]
        return cost.server, cost.postgres

    def or_nothing(self, name: str) -> tuple[float, float]:
        return self.of(name) if name in self._by_name else (0.0, 0.0)


def visit(costs: Costs, mode: Tls, fleet: Fleet) -> tuple[float, float]:
    """Microseconds of CPU time of the server and of Postgres that a visit costs on average.

    Every visit is a connection of its mode and a poll. One that finds work is a whole cycle more, less the poll that
    is in both: the order, the seal, the package and the result.
    """
    poll, cycle, empty = costs.of(mode.value), costs.of("cycle"), costs.of(Tls.KEPT_ALIVE.value)
    other = _other_curve(costs) if fleet.curve is Curve.BRAINPOOL else 0.0
    server = poll[0] + fleet.share * max(cycle[0] - empty[0] + other, 0.0)
    return server, poll[1] + fleet.share * max(cycle[1] - empty[1], 0.0)


def need(costs: Costs, mode: Tls, fleet: Fleet, machines: Machines, prices: Prices) -> Need:
    """What `fleet` needs when all its devices come by `mode`."""
    mean = fleet.devices / fleet.interval
    busiest = max(mean * fleet.peak, fleet.devices * fleet.surge / fleet.window)
    server, postgres = (busiest * micros * _MICRO / machines.load for micros in visit(costs, mode, fleet))
    memory = _memory(costs, mode, fleet, busiest) + server * machines.process / _KIB + machines.database
    memory += fleet.devices * costs.or_nothing("hot_euicc")[1] * _KIB / _GIB
    disk = fleet.devices * costs.or_nothing("stored_euicc")[1] * _KIB / _GIB
    disk += mean * fleet.share * _DAY * machines.keep * costs.or_nothing("stored_cycle")[1] * _KIB / _GIB
    month = (server + postgres) * prices.core + memory * prices.gib + disk * prices.disk
    return Need(mean, busiest, server, postgres, memory, disk, month)


def campaign(costs: Costs, devices: int) -> tuple[float, float]:
    """Core-seconds of server and of Postgres until an order for all devices is written and sealed."""
    order, seal = costs.or_nothing("order"), costs.or_nothing("seal")
    return devices * (order[0] + seal[0]) * _MICRO, devices * (order[1] + seal[1]) * _MICRO


def _memory(costs: Costs, mode: Tls, fleet: Fleet, busiest: float) -> float:
    """GiB of open connections."""
    open_at_once = fleet.devices if mode is Tls.KEPT_ALIVE else min(busiest * fleet.stay, fleet.devices)
    return open_at_once * costs.of("idle_connection")[0] * _KIB / _GIB


def _other_curve(costs: Costs) -> float:
    """Microseconds that a verification and a signature cost more on brainpoolP256r1 than on P-256."""
    dear, cheap = (costs.of(f"verify_{c}")[0] + costs.of(f"sign_{c}")[0] for c in (Curve.BRAINPOOL, Curve.P256))
    return dear - cheap
