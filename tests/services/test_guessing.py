"""Who tries EIDs: counted by network, refused for a while, and told nothing."""

import pytest

from eim.services.guessing import MOST, PAUSE, Guesses, GuessRules


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(guesses: Guesses, peer: str) -> bool:
    return guesses.refusal(peer) is not None


def test_a_network_that_asks_for_more_than_its_share_is_refused_and_others_are_not() -> None:
    clock = Clock()
    guesses = Guesses(GuessRules(a_second=10, burst=100), clock)
    for number in range(99):
        guesses.count(f"192.0.2.{number}")
    assert not refused(guesses, "192.0.2.7")
    guesses.count("192.0.2.7")
    assert refused(guesses, "192.0.2.250")
    assert not refused(guesses, "198.51.100.7")


def test_an_ipv6_network_is_one_source() -> None:
    guesses = Guesses(GuessRules(a_second=1, burst=5), Clock())
    for number in range(5):
        guesses.count(f"2001:db8:1:{number:x}::1")
    assert refused(guesses, "2001:db8:1:ffff::9")
    assert not refused(guesses, "2001:db8:2::9")


def test_it_is_answered_again_after_the_pause_and_told_how_long_that_is() -> None:
    clock = Clock()
    guesses = Guesses(GuessRules(a_second=1, burst=10), clock)
    for _ in range(10):
        guesses.count("192.0.2.7")
    clock.now += PAUSE - 5
    refusal = guesses.refusal("192.0.2.7")
    assert refusal is not None
    assert refusal.retry_after == 5
    clock.now += 5
    assert not refused(guesses, "192.0.2.7")


def test_a_million_guesses_within_a_day_get_no_further_than_the_rate() -> None:
    clock, asked = Clock(), 0
    guesses = Guesses(GuessRules(a_second=2, burst=100), clock)
    for _ in range(1_000_000):
        clock.now += 0.0864
        if not refused(guesses, "192.0.2.7"):
            guesses.count("192.0.2.7")
            asked += 1
    assert asked <= 86_400 * 2 + 100


def test_a_slow_one_is_never_refused() -> None:
    clock = Clock()
    guesses = Guesses(GuessRules(a_second=1, burst=10), clock)
    for _ in range(1000):
        clock.now += 1
        guesses.count("192.0.2.7")
        assert not refused(guesses, "192.0.2.7")


def test_what_is_remembered_is_bounded() -> None:
    guesses = Guesses(GuessRules(a_second=1, burst=1), Clock())
    for number in range(MOST + 500):
        guesses.count(f"10.{number >> 8}.{number & 255}.1")
    assert len(guesses._left) == len(guesses._refused) == MOST


@pytest.mark.parametrize("rules", [GuessRules(), GuessRules(0.0, 1)])
def test_without_a_rate_nobody_is_counted(rules: GuessRules) -> None:
    guesses = Guesses(rules)
    for _ in range(10_000):
        guesses.count("192.0.2.7")
    assert not refused(guesses, "192.0.2.7")
