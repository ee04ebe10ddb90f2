"""The answers to an IPA against their slow twins: TLVs put together in Python."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim._fast import answers
from tests.reference import der
from tests.reference.kinds import Integer

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TAGS = st.sampled_from([0xBF4F, 0xBF50, 0xBF39])


@given(TAGS, st.binary(max_size=700))
def test_an_envelope_holds_its_content_as_it_is(tag: int, content: bytes) -> None:
    assert answers.enveloped(tag, content) == der.wrap(tag, content)


@given(TAGS, NUMBERS)
def test_a_code_is_an_integer(tag: int, code: int) -> None:
    assert answers.coded(tag, code) == der.wrap(tag, der.wrap(0x02, Integer().write(code)))


@given(TAGS, st.lists(NUMBERS, max_size=300))
def test_an_acknowledgement_lists_its_numbers(tag: int, numbers: list[int]) -> None:
    listed = b"".join(der.wrap(0x80, Integer().write(number)) for number in numbers)
    assert answers.acknowledged(tag, numbers) == der.wrap(tag, der.wrap(0xBF53, listed))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_that_no_message_can_hold_is_an_error(number: int) -> None:
    with pytest.raises(OverflowError):
        answers.coded(0xBF4F, number)
    with pytest.raises(OverflowError):
        answers.acknowledged(0xBF50, [1, number])
