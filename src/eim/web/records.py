"""Files of eUICCs as they arrive, octets in pieces: cut into records, and each record read. Bounded in memory."""

import csv
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from eim import api
from eim.errors import InvalidRequest
from eim.services.onboarding import Candidate
from eim.services.uploads import Line

MOST: Final = 65_536  # octets of one record: two certificates are about 4,000
_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS: Final = (",", ";", "\t")
_BETWEEN_TAGS: Final = (";", "|")
COLUMNS: Final = api.NewEuicc.__struct_fields__
_TOO_LONG: Final = f"it is longer than {MOST:,} octets, or a quotation mark in it is never closed"

Read = Callable[[bytes], Candidate | str]


class Format(StrEnum):
    CSV = "text/csv"
    NDJSON = "application/x-ndjson"


class Record(msgspec.Struct, frozen=True):
    """One record, without its line end."""

    number: int  # of its first line, from 1
    octets: bytes  # of one that is too long: its beginning
    too_long: bool = False


class Splitter:
    """Guards the octets whose record has not ended yet: `MOST` of them, and what one piece brought."""

    def __init__(self, kind: Format) -> None:
        self._quotes = kind is Format.CSV
        self._rest = b""  # of a line
        self._lines: list[bytes] = []  # of a record, whose quotes are open
        self._held = 0  # octets in them
        self._marks = 0  # quotation marks in them
        self._number = 0  # lines ended so far
        self._dropping = False  # the rest of a line that was too long

    def feed(self, octets: bytes) -> Iterator[Record]:
        """The records that end in `octets`."""
        lines = (self._rest + octets).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._line(line)
        if len(self._rest) + self._held > MOST:
            yield from self._cut()

    def finish(self) -> Iterator[Record]:
        """The last record, when no line end follows it."""
        if self._rest or self._lines:
            yield from self._line(self._rest)
        if self._lines:
            yield self._record(too_long=True)

    def _line(self, line: bytes) -> Iterator[Record]:
        self._number += 1
        if self._dropping:
            self._dropping = False
            return
        self._lines.append(line.removesuffix(b"\r"))
        self._held += len(line) + 1
        self._marks += line.count(b'"')
        if self._held > MOST + 2:
            yield self._record(too_long=True)
        elif not (self._quotes and self._marks % 2):
            yield self._record(too_long=False)

    def _cut(self) -> Iterator[Record]:
        """What has no end within reach is one bad record; the next one begins with the next line."""
        if not self._dropping:
            self._lines.append(self._rest)
            self._number += 1
            yield self._record(too_long=True)
            self._number -= 1
        self._rest, self._dropping = b"", True

    def _record(self, *, too_long: bool) -> Record:
        first = self._number - len(self._lines) + 1
        octets = b"\n".join(self._lines)
        self._lines, self._held, self._marks = [], 0, 0
        return Record(first, octets[:MOST], too_long)


class Heading(msgspec.Struct, frozen=True):
    """The first line of a CSV file: what stands where."""

    columns: tuple[str, ...]
    separator: str


async def records(pieces: AsyncIterator[bytes], kind: Format) -> AsyncIterator[Record]:
    """The records of a file, empty lines left out. Raises InvalidRequest for UTF-16."""
    splitter = Splitter(kind)
    async for piece in pieces:
        for record in splitter.feed(piece):
            if record.octets.strip():
                yield _without_mark(record)
    for record in splitter.finish():
        if record.octets.strip():
            yield _without_mark(record)


def _without_mark(record: Record) -> Record:
    """The first record without its byte order mark."""
    if record.number > 1:
        return record
    if record.octets.startswith(_OTHER_BOMS):
        raise InvalidRequest("the file is UTF-16: save it as UTF-8 (in Excel: 'CSV UTF-8')")
    return msgspec.structs.replace(record, octets=record.octets.removeprefix(_BOM))


async def lines(of: AsyncIterator[Record], read: Read) -> AsyncIterator[Line]:
    """What the records say, each by itself: a bad one is a text."""
    async for record in of:
        yield Line(record.number, record.octets, _TOO_LONG if record.too_long else read(record.octets))


def heading(record: Record | None) -> Heading:
    """The names of the columns, in any order. Raises InvalidRequest, with what to change."""
    text = _text(record.octets) if record is not None else None
    if text is None:
        raise InvalidRequest("the file has no heading in UTF-8: its first line names the columns, as 'eid,label,tags'")
    separator = max(_SEPARATORS, key=text.count)
    columns = tuple(name.strip().lower() for name in next(csv.reader([text], delimiter=separator)))
    unknown = [name for name in columns if name not in COLUMNS]
    if "eid" not in columns:
        raise InvalidRequest(
            f"there is no column 'eid' in the heading {text[:200]!r}: the first line names the columns"
        )
    if unknown or len(set(columns)) < len(columns):
        wrong = f"column {unknown[0]!r} is unknown" if unknown else "a column is named twice"
        raise InvalidRequest(f"{wrong}: the heading may name {', '.join(COLUMNS)}")
    return Heading(columns, separator)


def csv_reader(of: Heading) -> Read:
    """Reads one record of a CSV file with this heading."""

    def read(octets: bytes) -> Candidate | str:
        text = _text(octets)
        if text is None:
            return "it is not UTF-8"
        try:
            values = next(csv.reader(text.splitlines(keepends=True), delimiter=of.separator, strict=True))
        except (csv.Error, StopIteration) as error:
            return f"it is no CSV: {error}"
        if len(values) > len(of.columns):
            return f"it has {len(values)} values, and there are {len(of.columns)} columns"
        return _candidate(_fields(of.columns, values))

    return read


def read_json(octets: bytes) -> Candidate | str:
    """Read one line of a file of JSON objects."""
    try:
        return _of(msgspec.json.decode(octets, type=api.NewEuicc))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _plain(error)


def _fields(columns: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {n: v.strip() for n, v in zip(columns, values, strict=False) if v.strip()}
    if "tags" in fields:
        between = max(_BETWEEN_TAGS, key=fields["tags"].count)
        fields["tags"] = [tag.strip() for tag in fields["tags"].split(between) if tag.strip()]
    if "unverifiable" in fields:
        fields["unverifiable"] = fields["unverifiable"].lower()
    return fields


def _candidate(fields: dict[str, Any]) -> Candidate | str:
    try:
        return _of(msgspec.convert(fields, api.NewEuicc, strict=False))
    except msgspec.ValidationError as error:
        return _plain(error)


def _of(new: api.NewEuicc) -> Candidate:
    return Candidate(**{name: getattr(new, name) for name in COLUMNS})


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def _plain(error: Exception) -> str:
    return str(error).replace("`", "'").replace("Object contains unknown field", "there is no field")
