"""Which benchmarks `./dev bench` runs, at which size, and about how long each takes on two cores."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec


class Step(msgspec.Struct, frozen=True):
    name: str  # of a file in bench/
    arguments: Sequence[str]
    seconds: float  # about; for the time left that is shown, and whether it still fits


SHORT: Final = (
    Step("tlv", (), 8),
    Step("ecdsa", (), 15),
    Step("package", (), 8),
    Step("tls_memory", ("--rounds", "1"), 15),
    Step("mixed", ("--rounds", "3", "--operations", "5", "--euiccs", "20000"), 80),
    Step("poll_door", ("--rounds", "3", "--euiccs", "200000"), 90),
    Step("result", ("--rounds", "3", "--operations", "50", "--euiccs", "200"), 50),
    Step("bulk_order", ("--rounds", "1", "--euiccs", "1000000"), 90),
    Step("tls_handshake", ("--rounds", "3"), 50),
    Step("full_cycle", ("--rounds", "2", "--euiccs", "5000"), 80),
    Step("seal", ("--rounds", "3"), 30),
)
_LARGER: Final[Mapping[str, Sequence[str]]] = {
    "bulk_order": ("--rounds", "3", "--euiccs", "1000000"),
    "full_cycle": ("--rounds", "1"),
}
LONG: Final = tuple(Step(step.name, _LARGER.get(step.name, ()), step.seconds * 4) for step in SHORT)
