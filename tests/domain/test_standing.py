from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.domain import standing
from eim.domain.event import Happening
from eim.domain.operation import ENDED, MOVES, State, move
from eim.domain.standing import STATES, Standing, explain
from eim.domain.waiting import Held
from eim.errors import Conflict

_NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_TEXTS = st.none() | st.sampled_from(["catBusy", "withdrawn", "expired", "replay", "nobody knows this"])


def test_the_table_has_every_state_and_an_end_has_no_way_out_but_a_rollback() -> None:
    assert STATES.keys() == set(State)
    assert {each.to for each in MOVES} == set(State)
    assert {(each.start, each.to) for each in MOVES if each.start in ENDED} == {(State.DONE, State.FAILED)}


def test_every_event_of_the_table_is_one_that_exists() -> None:
    assert {each.event for each in MOVES} - {None} <= {happening.text for happening in Happening}


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("to", State)
def test_what_the_table_does_not_name_is_refused(start: State, to: State) -> None:
    if any((each.start, each.to) == (start, to) for each in MOVES):
        assert move(start, to) is to
    else:
        with pytest.raises(Conflict):
            move(start, to)


def test_nothing_is_withdrawn_or_expired_once_a_card_may_have_it() -> None:
    gone = {each.start for each in MOVES if each.to in (State.WITHDRAWN, State.EXPIRED)}
    assert gone == {State.ACCEPTED, State.SEALED}


@given(
    state=st.sampled_from(State),
    held=st.none() | st.sampled_from(Held),
    attempts=st.integers(0, 9),
    texts=st.tuples(_TEXTS, _TEXTS, _TEXTS),
    later=st.integers(-9, 9),
)
def test_however_it_stands_there_is_a_sentence_and_a_step(
    state: State, held: Held | None, attempts: int, texts: tuple[str | None, ...], later: int
) -> None:
    known = Standing(
        id=UUID(int=7),
        state=state,
        not_before=_NOW + timedelta(hours=later),
        held=held,
        attempts=attempts,
        doubt=texts[0],
        parked=texts[1],
        outcome={"reason": texts[2]} if texts[2] else {},
    )
    said = explain(known, _NOW)
    assert said.means
    assert said.next_step
    assert not said.means.endswith(".")


def test_a_parked_one_says_how_it_goes_on() -> None:
    known = Standing(UUID(int=7), State.ACCEPTED, _NOW, held=Held.OPERATOR, parked="no such thing")
    assert "no such thing" in explain(known, _NOW).means
    assert f"eim operations resume {UUID(int=7)}" in explain(known, _NOW).next_step
    assert standing.STATES[State.ACCEPTED].means not in explain(known, _NOW).means
