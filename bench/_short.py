"""Which benchmarks `./dev bench` runs, at which size, and about how long each takes on two cores."""

from collections.abc import Sequence
from typing import Final

import msgspec


class Step(msgspec.Struct, frozen=True):
    name: str  # of a file in bench/
    arguments: Sequence[str]
    seconds: float  # about; for the time left that is shown, and whether it still fits


SHORT: Final = (
    Step("mixed", ("--rounds", "3", "--operations", "5", "--euiccs", "20000"), 100),
    Step("tlv", (), 20),
    Step("tls_handshake", ("--rounds", "3", "--operations", "300"), 60),
    Step("tls_memory", ("--rounds", "2", "--operations", "1000"), 30),
    Step("ecdsa", (), 40),
    Step("full_cycle", ("--rounds", "3", "--euiccs", "5000"), 120),
)
LONG: Final = tuple(Step(step.name, (), step.seconds * 3) for step in SHORT)
