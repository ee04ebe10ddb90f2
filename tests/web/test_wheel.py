import math

from eim.web.wheel import Wheel


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.slot = 0
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1


def wheel() -> tuple[Wheel, Clock]:
    clock = Clock()
    return Wheel(clock), clock


def advance(turning: Wheel, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / 0.5)):
        clock.now += 0.5
        turning.turn()


def test_who_is_due_expires_once_and_not_before() -> None:
    turning, clock = wheel()
    watched = Watched(clock.now + 7)
    turning.add(watched)
    advance(turning, clock, 6.5)
    assert watched.expired == 0
    advance(turning, clock, 60)
    assert watched.expired == 1


def test_a_deadline_that_moves_away_is_followed() -> None:
    turning, clock = wheel()
    watched = Watched(clock.now + 1)
    turning.add(watched)
    for _ in range(10):
        watched.deadline = clock.now + 1.4
        advance(turning, clock, 1)
    assert watched.expired == 0
    advance(turning, clock, 4)
    assert watched.expired == 1


def test_a_deadline_that_comes_nearer_is_noticed_within_two_seconds() -> None:
    turning, clock = wheel()
    watched = Watched(clock.now + 3600)
    turning.add(watched)
    advance(turning, clock, 10)
    watched.deadline = clock.now
    advance(turning, clock, 2.5)
    assert watched.expired == 1


def test_who_has_no_deadline_or_was_removed_never_expires() -> None:
    turning, clock = wheel()
    endless, removed = Watched(math.inf), Watched(clock.now + 1)
    turning.add(endless)
    turning.add(removed)
    turning.remove(removed)
    turning.remove(removed)
    advance(turning, clock, 100)
    assert (endless.expired, removed.expired) == (0, 0)


def test_a_clock_that_leaps_expires_everybody_who_is_due() -> None:
    turning, clock = wheel()
    watched = [Watched(clock.now + seconds) for seconds in range(1, 100)]
    for each in watched:
        turning.add(each)
    clock.now += 50
    turning.turn()
    advance(turning, clock, 2)
    assert [each.expired for each in watched[:49]] == [1] * 49
    assert watched[-1].expired == 0
