from datetime import timedelta

from eim.domain.explanations import meaning_of
from eim.domain.notification import EXPLAINED, Reason, pause

HOUR = timedelta(hours=1)


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause(n, HOUR, 0).total_seconds() for n in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert pause(100, HOUR, 0) == HOUR
    assert pause(10**9, HOUR, 0) == HOUR


def test_chance_only_shortens_them_and_by_less_than_a_third() -> None:
    for attempts in (1, 5, 1000):
        assert pause(attempts, HOUR, 0) * 2 / 3 < pause(attempts, HOUR, 1) < pause(attempts, HOUR, 0.5)


def test_a_timeline_says_why_one_is_held() -> None:
    told = meaning_of("notification.held", {"reason": "unverified"})
    assert told is not None
    assert told.means == EXPLAINED[Reason.UNVERIFIED].means
    assert meaning_of("notification.held", {"reason": "something new"}) is None


def test_every_reason_says_what_it_means_whose_it_is_and_what_to_do() -> None:
    assert set(EXPLAINED) == set(Reason)
    assert all(said.means and said.owner and said.next_step for said in EXPLAINED.values())
