"""The captures of other implementations' traffic, and what their index says of each."""

from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "esipa-captures"


class Capture(msgspec.Struct, frozen=True):
    name: str
    type: str
    octets: bytes
    note: str


def _rows() -> list[Capture]:
    captures = []
    for line in (FOLDER / "index.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 6 and cells[1].endswith((".request", ".response")):
            octets = bytes.fromhex((FOLDER / f"{cells[1]}.hex").read_text())
            captures.append(Capture(cells[1], cells[4], octets, cells[7]))
    return captures


ALL: Final = _rows()
REQUESTS: Final = [capture for capture in ALL if capture.name.endswith(".request")]
RESPONSES: Final = [capture for capture in ALL if capture.name.endswith(".response")]


def of(number: int, direction: str) -> bytes:
    """The octets of the capture with this number: "request" or "response"."""
    (found,) = (c for c in ALL if c.name.startswith(f"{number:02}-") and c.name.endswith(direction))
    return found.octets
