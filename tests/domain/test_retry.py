import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.domain import retry
from eim.domain.explanations import REASONS
from eim.domain.retry import RULES


def test_every_reason_in_the_table_is_explained() -> None:
    assert RULES.keys() <= REASONS.keys()


@given(st.sampled_from(sorted(RULES)), st.floats(-1, 1))
def test_pauses_grow_up_to_the_longest_and_then_it_is_final(reason: str, spread: float) -> None:
    rule = RULES[reason]
    pauses = [retry.pause(reason, n, None, spread) for n in range(rule.most + 2)]
    tried = [p for p in pauses if p is not None]
    assert pauses[rule.most :] == [None, None]
    assert len(tried) == rule.most
    assert tried == sorted(tried)
    assert all(0.8 * rule.first <= pause <= 1.2 * rule.longest for pause in tried)


@pytest.mark.parametrize(
    "reason", ["disallowedByPolicy", "iccidOrAidNotFound", "insufficientMemory", "rolledBack", "ok"]
)
def test_what_the_card_would_say_again_is_final(reason: str) -> None:
    assert retry.pause(reason, 0, None, 0) is None
    assert retry.pause(reason, 0, 20, 0) is None


def test_an_order_may_want_fewer_tries_or_none_or_more() -> None:
    assert retry.pause("catBusy", 0, 0, 0) is None
    assert retry.pause("catBusy", 1, 2, 0) == 120
    assert retry.pause("undefinedError", 5, 20, 0) == RULES["undefinedError"].longest
