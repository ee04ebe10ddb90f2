"""A span of time as people say it: `18 months`, `2 weeks`, `P90D`. Months are those of the calendar."""

import calendar
import re
from datetime import datetime, timedelta
from typing import Final

from eim.errors import InvalidRequest

_TEXT: Final = re.compile(
    r"(?P<many>\d{1,4}) *(?P<unit>hour|day|week|month|year)s?|P(?P<iso>\d{1,4})(?P<letter>[DWMY])"
)
_LETTERS: Final = {"D": "day", "W": "week", "M": "month", "Y": "year"}
_MONTHS: Final = {"month": 1, "year": 12}
_SPANS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_MOST_MONTHS: Final = 12 * 20


def after(text: str, at: datetime) -> datetime:
    """The moment that lies `text` after `at`. The 31st, where there is none, is the month's last day.

    Raises InvalidRequest for what is no span, nothing, or more than 20 years.
    """
    found = _TEXT.fullmatch(text.strip())
    many = int(found["many"] or found["iso"]) if found else 0
    if found is None or many == 0:
        raise InvalidRequest(f"{text!r} is no span of time: write it as '18 months', '6 weeks', '36 hours' or P90D")
    unit = found["unit"] or _LETTERS[found["letter"]]
    months = many * _MONTHS.get(unit, 0)
    span = many * _SPANS.get(unit, timedelta())
    if months > _MOST_MONTHS or span > timedelta(days=366 * 20):
        raise InvalidRequest(f"{text!r} is longer than 20 years")
    return _months_after(at, months) + span


def _months_after(at: datetime, months: int) -> datetime:
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)
