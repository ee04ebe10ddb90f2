"""Which benchmarks `./dev bench` runs, at which size, and about how long each takes on two cores."""

from collections.abc import Sequence
from typing import Final

import msgspec


class Step(msgspec.Struct, frozen=True):
    name: str  # of a file in bench/
    arguments: Sequence[str]
    seconds: float  # about; for the time left that is shown, and whether it still fits


SHORT: Final = (
    Step("tlv", (), 20),
    Step("ecdsa", (), 40),
    Step("tls_memory", ("--rounds", "1"), 20),
    Step("result", ("--rounds", "3", "--euiccs", "200"), 60),
    Step("tls_handshake", ("--rounds", "3"), 60),
    Step("mixed", ("--rounds", "3", "--operations", "5", "--euiccs", "20000"), 80),
    Step("full_cycle", ("--rounds", "2", "--euiccs", "5000"), 80),
)
LONG: Final = tuple(Step(step.name, (), step.seconds * 3) for step in SHORT)
