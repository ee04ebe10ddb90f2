"""A daily or weekly window in which an operation may go out, as `Mon-Fri 22:00-06:00 UTC` says it.

Times are wall-clock times of the eUICC's own zone, or of UTC. Where the clock is put forward, a time that does not
exist is read with the offset of before (02:30 is 03:30 then); where it is put back, the first of the two is meant.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from eim.errors import InvalidRequest

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TEXT: Final = re.compile(r"(?:(?P<days>[A-Za-z,-]+) +)?(?P<opens>\d\d:\d\d)-(?P<closes>\d\d:\d\d)(?: +(?P<zone>\w+))?")
_LOCAL: Final = "local"
_DAILY: Final = "daily"
_LOOK_BACK: Final = 2  # days: a window that opened then may be open still, in any zone
_LOOK_AHEAD: Final = 16  # days: one window a week, and that of one week lost to the clock


class Opening(msgspec.Struct, frozen=True):
    """When an operation may go out. `closes` at or before `opens` is on the next day."""

    days: tuple[int, ...]  # on which it opens: Monday is 0
    opens: time
    closes: time
    utc: bool = False  # else the eUICC's own zone

    def __str__(self) -> str:
        days = _DAILY if len(self.days) == len(_DAYS) else ",".join(_DAYS[day] for day in self.days)
        return f"{days} {self.opens:%H:%M}-{self.closes:%H:%M} {'UTC' if self.utc else _LOCAL}"


class Window(msgspec.Struct, frozen=True):
    """One opening, in UTC: from `opens_at` to `closes_at`, exclusive."""

    opens_at: datetime
    closes_at: datetime


def parse(text: str) -> Opening:
    """Read `[days] HH:MM-HH:MM [UTC|local]`; days as `Mon-Fri`, `Sat,Sun` or `daily`. Raises InvalidRequest."""
    found = _TEXT.fullmatch(text.strip())
    zone = (found["zone"] or _LOCAL).lower() if found else ""
    if found is None or zone not in (_LOCAL, "utc"):
        raise InvalidRequest(f"{text!r} is no window: write it as 'Mon-Fri 22:00-06:00', or with UTC behind it")
    try:
        opens, closes = (datetime.strptime(found[name], "%H:%M").time() for name in ("opens", "closes"))  # noqa: DTZ007 - a time of day
    except ValueError:
        raise InvalidRequest(f"{text!r} is no window: its times lie between 00:00 and 23:59") from None
    return Opening(_days(found["days"] or _DAILY, text), opens, closes, zone == "utc")


def zone_named(name: str | None) -> ZoneInfo | None:
    """The zone of that IANA name; None where there is none of it."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def window(opening: Opening, zone: ZoneInfo | None, at: datetime) -> Window:
    """What is left, from `at` on, of the window that `at` lies in; or else the next one.

    Without a zone of its own an eUICC lives by UTC.
    """
    where = UTC if opening.utc or zone is None else zone
    found = next(each for each in _windows(opening, where, at) if each.closes_at > at)
    return Window(max(found.opens_at, at), found.closes_at)


def _windows(opening: Opening, zone: tzinfo, at: datetime) -> Iterator[Window]:
    today = at.astimezone(zone).date()
    for offset in range(-_LOOK_BACK, _LOOK_AHEAD):
        day = today + timedelta(days=offset)
        if day.weekday() not in opening.days:
            continue
        last = day + timedelta(days=opening.closes <= opening.opens)
        opens_at = datetime.combine(day, opening.opens, zone).astimezone(UTC)
        closes_at = datetime.combine(last, opening.closes, zone).astimezone(UTC)
        if opens_at < closes_at:  # a short one may fall into the hour that the clock skips
            yield Window(opens_at, closes_at)


def _days(text: str, whole: str) -> tuple[int, ...]:
    if text.lower() == _DAILY:
        return tuple(range(len(_DAYS)))
    names = [day.lower() for day in _DAYS]
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in names or (last or first) not in names:
            raise InvalidRequest(f"{whole!r} is no window: its days are {', '.join(_DAYS)}, as Mon-Fri or Sat,Sun")
        start, end = names.index(first), names.index(last or first)
        found |= {day % len(_DAYS) for day in range(start, end + (len(_DAYS) if end < start else 0) + 1)}
    return tuple(sorted(found))
