from datetime import UTC, datetime

import pytest

from eim.domain import lasting
from eim.errors import InvalidRequest


@pytest.mark.parametrize(
    ("said", "begun", "ends"),
    [
        ("18 months", "2026-11-22T10:00", "2028-05-22T10:00"),
        ("P18M", "2026-11-22T10:00", "2028-05-22T10:00"),
        ("1 month", "2026-01-31T10:00", "2026-02-28T10:00"),
        ("1 month", "2028-01-31T10:00", "2028-02-29T10:00"),
        ("1 year", "2028-02-29T10:00", "2029-02-28T10:00"),
        ("6 weeks", "2026-01-01T00:00", "2026-02-12T00:00"),
        ("P90D", "2026-01-01T00:00", "2026-04-01T00:00"),
        ("36 hours", "2026-01-01T00:00", "2026-01-02T12:00"),
    ],
)
def test_a_span_ends_by_the_calendar(said: str, begun: str, ends: str) -> None:
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (begun, ends))
    assert lasting.after(said, start) == end


@pytest.mark.parametrize("said", ["", "soon", "0 days", "-1 month", "1.5 years", "P1H", "21 years", "9999 weeks"])
def test_what_is_no_span_is_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"span|longer"):
        lasting.after(said, datetime(2026, 1, 1, tzinfo=UTC))
