from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.domain import opening
from eim.domain.opening import parse, window
from eim.errors import InvalidRequest

BERLIN = ZoneInfo("Europe/Berlin")
_TIMES = st.times().map(lambda t: t.strftime("%H:%M"))
_WHEN = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("22:00-06:00", "daily 22:00-06:00 local"),
        ("Mon-Fri 08:30-17:00 UTC", "Mon,Tue,Wed,Thu,Fri 08:30-17:00 UTC"),
        ("sat,sun 00:00-00:00", "Sat,Sun 00:00-00:00 local"),
        ("Fri-Mon 22:00-04:00 local", "Mon,Fri,Sat,Sun 22:00-04:00 local"),
    ],
)
def test_a_window_is_read_as_people_write_it(said: str, written: str) -> None:
    assert str(parse(said)) == written
    assert parse(written) == parse(said)


@pytest.mark.parametrize(
    "said", ["", "night", "22-06", "25:00-06:00", "Foo 22:00-06:00", "22:00-06:00 CET", "Mon- 1:00-2:00"]
)
def test_what_is_no_window_is_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match="no window"):
        parse(said)


@pytest.mark.parametrize(
    ("said", "moment", "opens", "closes"),
    [
        # Within, before and behind a window over midnight.
        ("22:00-06:00", "2026-01-10T02:00", "2026-01-09T21:00", "2026-01-10T05:00"),
        ("22:00-06:00", "2026-01-10T05:00", "2026-01-10T21:00", "2026-01-11T05:00"),
        ("22:00-06:00 UTC", "2026-01-10T21:59", "2026-01-10T22:00", "2026-01-11T06:00"),
        # 29 March 2026: 02:00 becomes 03:00. The night is an hour shorter.
        ("22:00-06:00", "2026-03-29T00:30", "2026-03-28T21:00", "2026-03-29T04:00"),
        ("02:30-04:00", "2026-03-29T00:00", "2026-03-29T01:30", "2026-03-29T02:00"),
        ("02:10-02:50", "2026-03-29T00:00", "2026-03-29T01:10", "2026-03-29T01:50"),
        ("02:30-03:15", "2026-03-29T00:00", "2026-03-30T00:30", "2026-03-30T01:15"),  # nothing is left of it that day
        # 25 October 2026: 03:00 becomes 02:00. The night is an hour longer; 02:30 is the first one.
        ("22:00-06:00", "2026-10-25T00:30", "2026-10-24T20:00", "2026-10-25T05:00"),
        ("02:30-04:00", "2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T03:00"),
        ("00:00-02:30", "2026-10-24T23:00", "2026-10-24T22:00", "2026-10-25T00:30"),
        # Once a week, and all of a weekend.
        ("Sun 01:00-05:00", "2026-01-12T00:00", "2026-01-18T00:00", "2026-01-18T04:00"),
        ("Sat,Sun 00:00-00:00", "2026-01-10T23:30", "2026-01-10T23:00", "2026-01-11T23:00"),
    ],
)
def test_a_window_follows_the_clock_of_the_place(said: str, moment: str, opens: str, closes: str) -> None:
    found = window(parse(said), BERLIN, at(moment))
    assert (found.opens_at, found.closes_at) == (max(at(opens), at(moment)), at(closes))


@given(
    st.sampled_from(["", "Sun ", "Mon-Fri "]), _TIMES, _TIMES, st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]), _WHEN
)
def test_the_next_window_ends_in_the_future_and_none_lies_between(
    days: str, opens: str, closes: str, zone: str, moment: datetime
) -> None:
    said, where = parse(f"{days}{opens}-{closes}"), ZoneInfo(zone)
    found = window(said, where, moment)
    assert found.opens_at < found.closes_at
    assert found.closes_at > moment
    assert window(said, where, found.closes_at).opens_at >= found.closes_at - timedelta(hours=1)  # the clock put back
    if found.opens_at > moment:
        assert window(said, where, moment + (found.opens_at - moment) / 2) == found


def test_without_a_known_zone_a_window_is_of_utc() -> None:
    assert opening.zone_named("Mars/Olympus") is None
    assert window(parse("22:00-23:00"), None, at("2026-01-10T00:00")).opens_at == at("2026-01-10T22:00")
