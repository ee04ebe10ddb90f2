from eim.sim.behaviour import Backoff


def test_pauses_double_up_to_the_longest_and_spread_by_half() -> None:
    backoff = Backoff(first=0.2, most=3.0)
    assert [backoff.pause(attempt, 1.0) for attempt in (1, 2, 3, 5, 6, 500)] == [0.2, 0.4, 0.8, 3.0, 3.0, 3.0]
    assert backoff.pause(6, 0.0) == 1.5
