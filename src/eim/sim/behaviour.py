"""How one simulated device behaves: its line, its habits, its faults. Values; chance is drawn elsewhere."""

from enum import Enum
from typing import Final

import msgspec

from eim.domain.ids import Eid, Iccid

FOR_EVER: Final = float("inf")


class Connections(Enum):
    PER_VISIT = "perVisit"  # one TLS connection for all requests of a visit
    PER_REQUEST = "perRequest"


class Naming(Enum):
    """Whether ProvideEimPackageResult names the card (tag 5A). v1.0.1 has no place for it."""

    NAMED = "named"
    UNNAMED = "unnamed"


class Carrier(Enum):
    """What carries a result."""

    PROVIDE = "provideEimPackageResult"
    HANDLE_NOTIFICATION = "handleNotification"  # BF3D { BF50 }: no acknowledgement is expected


class Notifications(Enum):
    WITH_RESULT = "withResult"
    SEPARATE = "separate"  # each by HandleNotification, behind the result
    KEPT = "kept"  # never sent unless asked for by a data request
    LOST = "lost"  # the device forgets them without telling anybody


class Reporting(Enum):
    """When a device brings what its card answered to a package."""

    AT_ONCE = "atOnce"
    NEXT_VISIT = "nextVisit"  # it hangs up after the package and reports when it calls again
    NEVER = "never"  # it loses each result; the card still has it, for a data request


class AfterDeath(Enum):
    """What a device does about the unreported package when it is back."""

    REPORT = "report"
    ROLL_BACK = "rollBack"  # when the enable granted it


class Backoff(msgspec.Struct, frozen=True):
    """Seconds between tries: `first`, doubled up to `most`, each between half and all of it."""

    first: float = 0.2
    most: float = 3.0

    def pause(self, attempt: int, chance: float) -> float:
        """The pause before try `attempt` (from 1); `chance` in 0..1 spreads the devices."""
        return min(self.most, self.first * 2.0 ** min(attempt - 1, 16)) * (0.5 + chance / 2)


class Behaviour(msgspec.Struct, frozen=True):
    """One device. Shares and probabilities are 0..1, times seconds."""

    connections: Connections = Connections.PER_VISIT
    naming: Naming = Naming.NAMED
    carrier: Carrier = Carrier.PROVIDE
    notifications: Notifications = Notifications.WITH_RESULT
    reporting: Reporting = Reporting.AT_ONCE
    polls_as: Eid | None = None  # it mistakes its card for another one, and polls under that name
    plmn: bytes | None = None  # told with each poll, 3 octets as in TS 24.008
    polls: int = 16  # in one visit at most
    tries: int = 40  # to bring one message through: nearly two minutes, more than a server needs to restart
    backoff: Backoff = Backoff()
    cannot_attach: frozenset[Iccid] = frozenset()  # over these profiles nothing gets through
    attach_tries: int = 3  # before such a device gives up, and rolls back if it may
    attach_pause: float = 0.5
    lossy: float = 0.0  # probability that an exchange is cut: before, while or after the server works
    duplicating: float = 0.0  # probability that a result is sent twice, half of the time at once
    delay: float = 0.0  # the longest pause before a request
    dies: float = 0.0  # probability of losing power between executing a package and reporting it
    after_death: AfterDeath = AfterDeath.REPORT
    reboot: float = 2.0
    sleepy: float | None = None  # seconds of silence after it was given a signed package; None: it keeps its interval
