"""Files that name eUICCs and profiles."""

import csv
from pathlib import Path

from eim.errors import InvalidRequest


def read_targets(path: Path) -> tuple[tuple[str, str | None], ...]:
    """(EID, ICCID or None) of a file with one EID a line, or `eid,iccid`; a heading is passed over."""
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} can't be read as text: {error}") from None
    if rows and rows[0][0].strip().lower() == "eid":
        rows = rows[1:]
    return tuple((row[0].strip(), row[1].strip() if len(row) > 1 and row[1].strip() else None) for row in rows)
