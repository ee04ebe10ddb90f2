from itertools import pairwise

from eim.web.admission import Admission


def after(admission: Admission) -> int:
    refusal = admission.refusal("gsma/rsp/v2.1.0")
    assert refusal is not None
    assert (refusal.status, refusal.headers["X-Admin-Protocol"]) == (503, "gsma/rsp/v2.1.0")
    return int(refusal.headers["Retry-After"])


def test_as_many_as_there_may_be_are_served_and_one_more_is_not() -> None:
    admission = Admission(3)
    for _ in range(3):
        admission.under_way += 1
        assert admission.refusal("") is None
    admission.under_way += 1
    assert admission.refusal("") is not None
    admission.under_way -= 1
    assert admission.refusal("") is None


def test_those_that_are_refused_are_told_to_come_back_spread_over_a_minute() -> None:
    admission = Admission(0)
    admission.under_way = 1
    told = [after(admission) for _ in range(610)]
    assert (min(told), max(told)) == (20, 80)
    assert {told.count(seconds) for seconds in range(20, 81)} == {10}
    assert all(abs(one - other) > 10 for one, other in pairwise(told))
