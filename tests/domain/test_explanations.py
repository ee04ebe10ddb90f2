import pytest

from eim.domain import outcome
from eim.domain.event import Happening
from eim.domain.explanations import HAPPENINGS, REASONS, Meaning, meaning_of
from eim.domain.step import Step, name_of
from tests.domain.steps import EVERY_STEP


@pytest.mark.parametrize("step", EVERY_STEP, ids=name_of)
def test_every_reason_a_card_may_give_is_explained(step: Step) -> None:
    named = {outcome.outcome_of([step], [outcome.Code(name_of(step), number)]).reason for number in range(1, 128)}
    assert {name for name in named if not name.startswith("error")} <= REASONS.keys()


def test_every_error_of_a_package_and_of_a_data_request_is_explained() -> None:
    named = {named_by(number) for number in range(1, 128) for named_by in (outcome.package_error, outcome.data_error)}
    assert {name for name in named if not name.startswith("error")} <= REASONS.keys()


def test_every_end_of_processing_is_explained() -> None:
    codes = [outcome.Code("processingTerminated", number) for number in range(1, 128)]
    named = {outcome.outcome_of([EVERY_STEP[0]], [code]).reason for code in codes}
    assert {name for name in named if not name.startswith("terminated")} <= REASONS.keys()


def test_only_what_can_happen_is_explained() -> None:
    results = {f"result.{word}" for word in ("refused", "foreign", "unsigned", "unverified", "unverifiable")}
    assert HAPPENINGS.keys() <= {happening.text for happening in Happening} | results


@pytest.mark.parametrize("meaning", [*REASONS.values(), *HAPPENINGS.values()])
def test_an_explanation_is_a_sentence_and_a_step(meaning: Meaning) -> None:
    assert meaning.means
    assert meaning.next_step
    assert not meaning.means.endswith(".")


def test_the_reason_says_more_than_what_happened() -> None:
    assert meaning_of("operation.in_doubt", {"reason": "replay"}) is REASONS["replay"]
    assert meaning_of("operation.in_doubt", {"reason": "something new"}) is HAPPENINGS["operation.in_doubt"]


def test_what_went_well_explains_itself() -> None:
    assert meaning_of("operation.done", {"reason": "ok"}) is None
    assert meaning_of("euicc.onboard", {}) is None
