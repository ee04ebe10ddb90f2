"""What the cards really did, written by the cards alone: the witness against which a server's account is held.

Every package that reached a card is noted, also the refused ones, and every execution and rollback. No server code
writes here, so `check` can tell what a server would rather not know: a package executed twice, or one counter
signed over two different packages.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from eim.errors import BadConfiguration


class Verdict(StrEnum):
    """What a card made of a package, in the order in which it looks (SGP.32 section 5.9.13)."""

    MALFORMED = "malformed"
    UNKNOWN_EIM = "unknownEim"
    BAD_SIGNATURE = "badSignature"
    INVALID_EID = "invalidEid"
    COUNTER_OUT_OF_RANGE = "counterOutOfRange"
    REPLAY = "replayError"
    SIZE_OVERFLOW = "sizeOverflow"
    ECALL_ACTIVE = "ecallActive"
    UNDEFINED = "undefinedError"
    EXECUTED = "executed"


class Act(msgspec.Struct, frozen=True):
    """One operation of a package and how it ended."""

    kind: str  # "enable", "disable", "delete", "listProfileInfo" ...
    iccid: str | None
    code: int  # as in EuiccResultData; 0 is success
    eim_id: str | None = None  # the eIM that was added, updated or deleted


class Personalised(msgspec.Struct, frozen=True, tag="personalised", tag_field="entry"):
    """A card as it left the factory."""

    eid: str
    iccids: tuple[str, ...]
    enabled: str | None
    at: datetime


class Received(msgspec.Struct, frozen=True, tag="received", tag_field="entry"):
    """A package that reached a card, executed or not."""

    eid: str  # of the card that received it, whatever the package says
    eim_id: str | None
    counter: int | None
    transaction: str | None  # hexadecimal
    sha256: str  # over the whole BF51 as received
    verdict: Verdict
    at: datetime
    association: str = ""  # which token and key it was held against: a renewed one counts anew


class Executed(msgspec.Struct, frozen=True, tag="executed", tag_field="entry"):
    """A package whose operations a card performed."""

    eid: str
    eim_id: str
    counter: int
    transaction: str | None
    sha256: str
    acts: tuple[Act, ...]
    seq: int  # the seqNumber of its result
    enabled: str | None  # the profile that is active afterwards
    at: datetime
    association: str = ""


class Changed(msgspec.Struct, frozen=True, tag="changed", tag_field="entry"):
    """What happened to a card without a package: fallback, a reset, an installation .. (SGP.32 section 3.4)."""

    eid: str
    what: str
    code: int  # as the card answered its IPA; 0 is success
    iccids: tuple[str, ...]  # on the card afterwards
    eims: tuple[str, ...]
    enabled: str | None
    at: datetime


class RolledBack(msgspec.Struct, frozen=True, tag="rolledBack", tag_field="entry"):
    """A package that a card took back because its result could not be delivered (SGP.32 section 5.9.16)."""

    eid: str
    eim_id: str
    counter: int
    transaction: str | None
    seq: int  # the seqNumber of the result that says so
    enabled: str | None
    at: datetime


Entry = Personalised | Received | Executed | RolledBack | Changed


class Journal:
    """Entries in memory and, with a file, one JSON line each, flushed before the card goes on."""

    def __init__(self, clock: Callable[[], datetime], file: BinaryIO | None = None) -> None:
        self._clock = clock
        self._file = file
        self._encode = msgspec.json.Encoder().encode
        self.entries: list[Entry] = []

    @classmethod
    def to_file(cls, clock: Callable[[], datetime], path: Path) -> Self:
        """A journal that begins a new file at `path`; close it, or use it in a `with`. Raises BadConfiguration."""
        try:
            return cls(clock, path.open("wb", buffering=0))
        except OSError as error:
            raise BadConfiguration(
                f"no journal can be written to {path}: {error.strerror}; name another file"
            ) from None

    def now(self) -> datetime:
        return self._clock()

    def append(self, entry: Entry) -> None:
        """Note `entry`; one write, so a killed process leaves whole lines."""
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(self._encode(entry) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Report(msgspec.Struct, frozen=True):
    """The journal's sums. All three of `twice`, `conflicting` and `repeated` are empty when the server did its work."""

    cards: int
    received: int
    verdicts: dict[Verdict, int]
    executed: int
    rolled_back: int
    twice: tuple[tuple[str, str, int], ...]  # (eIM, EID, counter) executed more than once
    conflicting: tuple[tuple[str, str, int], ...]  # (eIM, EID, counter) seen with two different octet strings
    repeated: tuple[tuple[str, str], ...]  # (EID, transaction) executed under more than one counter
    enabled: dict[str, str | None]  # EID to the ICCID active at the end
    taken_back: frozenset[str]  # EIDs that rolled back at least once

    @property
    def sound(self) -> bool:
        """Whether nothing happened that must never happen."""
        return not (self.twice or self.conflicting or self.repeated)


def read_journal(path: Path) -> list[Entry]:
    """The entries of a journal file. A last line cut by a kill is left out, any other raises msgspec.DecodeError."""
    lines = path.read_bytes().split(b"\n")
    decode = msgspec.json.Decoder(Entry).decode
    return [decode(line) for line in lines[:-1]]


def check(entries: Iterable[Entry]) -> Report:
    """Judge a journal, one pass."""
    kept = list(entries)
    received = [entry for entry in kept if isinstance(entry, Received)]
    executed = [entry for entry in kept if isinstance(entry, Executed)]
    enabled = {entry.eid: entry.enabled for entry in kept if not isinstance(entry, Received)}
    back = [entry for entry in kept if isinstance(entry, RolledBack)]
    return Report(
        cards=len(enabled),
        received=len(received),
        verdicts=dict(Counter(entry.verdict for entry in received)),
        executed=len(executed),
        rolled_back=len(back),
        twice=_more_than_once(executed),
        conflicting=_conflicting(received),
        repeated=_repeated(executed),
        enabled=enabled,
        taken_back=frozenset(entry.eid for entry in back),
    )


def _more_than_once(executed: Iterable[Executed]) -> tuple[tuple[str, str, int], ...]:
    times = Counter((entry.eim_id, entry.eid, entry.counter, entry.association) for entry in executed)
    return tuple(sorted({key[:3] for key, count in times.items() if count > 1}))


def _conflicting(received: Iterable[Received]) -> tuple[tuple[str, str, int], ...]:
    octets: dict[tuple[str, str, int, str], set[str]] = {}
    for entry in received:
        if entry.eim_id is not None and entry.counter is not None:
            key = (entry.eim_id, entry.eid, entry.counter, entry.association)
            octets.setdefault(key, set()).add(entry.sha256)
    return tuple(sorted({key[:3] for key, digests in octets.items() if len(digests) > 1}))


def _repeated(executed: Iterable[Executed]) -> tuple[tuple[str, str], ...]:
    counters: dict[tuple[str, str], set[int]] = {}
    for entry in executed:
        if entry.transaction is not None:
            counters.setdefault((entry.eid, entry.transaction), set()).add(entry.counter)
    return tuple(sorted(key for key, used in counters.items() if len(used) > 1))
