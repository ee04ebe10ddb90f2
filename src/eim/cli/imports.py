"""Files of eUICCs, CSV with a heading or one JSON object a line, read as requests."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from eim import api
from eim.errors import InvalidLines, InvalidRequest


class Numbered(msgspec.Struct, frozen=True):
    """A line of the file (counted from 1, a heading included) and what it says."""

    line: int
    new: api.NewEuicc


def read_euiccs(path: Path) -> tuple[Numbered, ...]:
    """The eUICCs in a .csv file, or in a file of JSON lines. Raises InvalidLines with every line that can't be read."""
    try:
        rows = list(_csv(path) if path.suffix.lower() == ".csv" else _json(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} can't be read as text: {error}") from None
    bad = [(line, row) for line, row in rows if isinstance(row, str)]
    if bad:
        raise InvalidLines(f"{len(bad)} of {len(rows)} lines of {path} can't be read: correct them", bad)
    return tuple(Numbered(line, row) for line, row in rows if isinstance(row, api.NewEuicc))


def read_targets(path: Path) -> tuple[tuple[str, str | None], ...]:
    """(EID, ICCID or None) of a file with one EID a line, or `eid,iccid`; a heading is passed over."""
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} can't be read as text: {error}") from None
    if rows and rows[0][0].strip().lower() == "eid":
        rows = rows[1:]
    return tuple((row[0].strip(), row[1].strip() if len(row) > 1 and row[1].strip() else None) for row in rows)


def _csv(path: Path) -> Iterator[tuple[int, api.NewEuicc | str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "eid" not in (reader.fieldnames or ()):
            raise InvalidRequest(f"{path} has no column 'eid': its first line names the columns")
        for row in reader:
            if None in row:
                yield reader.line_num, "it has more values than there are columns"
                continue
            fields: dict[str, Any] = {name: value.strip() for name, value in row.items() if value and value.strip()}
            if "tags" in fields:
                fields["tags"] = [tag.strip() for tag in fields["tags"].split(";") if tag.strip()]
            yield reader.line_num, _convert(fields)


def _json(path: Path) -> Iterator[tuple[int, api.NewEuicc | str]]:
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            yield line, msgspec.json.decode(text, type=api.NewEuicc)
        except msgspec.MsgspecError as error:
            yield line, str(error)


def _convert(fields: dict[str, Any]) -> api.NewEuicc | str:
    try:
        return msgspec.convert(fields, api.NewEuicc, strict=False)
    except msgspec.ValidationError as error:
        return str(error)
