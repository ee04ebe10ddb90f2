"""The native codec against its slow twin: the product's descriptions, on sound octets and on broken ones."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast import kinds, schema, sequence
from eim.asn1 import der, sgp32
from eim.errors import Malformed
from tests.reference import der as slow_der
from tests.reference import kinds as slow_kinds
from tests.reference import slow
from tests.reference.samples import Samples

SAMPLES: Final[list[Callable[[Samples], msgspec.Struct]]] = [
    Samples.package_signed,
    Samples.package_request,
    Samples.add_initial_eim,
    Samples.configuration,
    Samples.data_request,
    Samples.result_data,
    Samples.package_result,
    Samples.metadata,
    Samples.data_response,
    Samples.poll,
    Samples.provided,
    Samples.handled,
    Samples.notification,
]


def read(codec: Any, name: str, octets: bytes) -> str:
    """What a value shows of itself; the same for both codecs when they read the same."""
    try:
        return repr(codec.decode(getattr(codec, name), octets))
    except Malformed:
        return "malformed"


def damaged(draw: Random, octets: bytes) -> bytes:
    """One octet another, some cut off, some doubled."""
    at = draw.randrange(len(octets))
    match draw.randrange(3):
        case 0:
            return octets[:at] + draw.randbytes(1) + octets[at + 1 :]
        case 1:
            return octets[:at] + octets[at + draw.randint(1, 3) :]
        case _:
            return octets[:at] + octets[at : at + draw.randint(1, 4)] + octets[at:]


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.__name__ for sample in SAMPLES])
def test_what_is_written_is_what_the_twin_writes_and_both_read_it(sample: Callable[[Samples], msgspec.Struct]) -> None:
    samples, twin = Samples(seed=11), slow.codec()
    for _ in range(150):
        octets = sgp32.encode(sample(samples))
        name = type(sample(samples)).__name__
        assert read(sgp32, name, octets) == read(twin, name, octets)
        assert _written_by(twin, name, octets) == _written_by(sgp32, name, octets)


def _written_by(codec: Any, name: str, octets: bytes) -> bytes | None:
    """Read and written anew, without the octets that a value may keep."""
    try:
        value = codec.decode(getattr(codec, name), octets)
    except Malformed:
        return None
    bare = msgspec.structs.replace(value, raw=b"") if "raw" in value.__struct_fields__ else value
    try:
        written: bytes = codec.encode(bare)
    except ValueError:  # a compact installation result is written from its octets only
        return None
    return written


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.__name__ for sample in SAMPLES])
def test_broken_octets_are_read_or_refused_as_by_the_twin(sample: Callable[[Samples], msgspec.Struct]) -> None:
    samples, twin, draw, refused = Samples(seed=12), slow.codec(), Random(13), 0
    for _ in range(250):
        value = sample(samples)
        octets = damaged(draw, sgp32.encode(value))
        found = read(sgp32, type(value).__name__, octets)
        assert found == read(twin, type(value).__name__, octets), octets.hex()
        refused += found == "malformed"
    assert refused > 0


KINDS: Final = [
    (kinds.Integer(), slow_kinds.Integer()),
    (kinds.Octets(1, 16), slow_kinds.Octets(1, 16)),
    (kinds.Text(1, 5), slow_kinds.Text(1, 5)),
    (kinds.LooseText(), slow_kinds.LooseText()),
    (kinds.Null(), slow_kinds.Null()),
    (kinds.Boolean(), slow_kinds.Boolean()),
]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=20) | st.text(max_size=8).map(str.encode))
def test_a_kind_reads_what_its_twin_reads(pair: tuple[Any, Any], content: bytes) -> None:
    native, twin = pair
    octets = der.wrap(0x80, content)
    node = der.read_one(octets)
    assert outcome(native.read, octets, node) == outcome(twin.read, octets, node)


@given(st.integers() | st.booleans())
def test_an_integer_of_any_size_is_written_as_by_the_twin(number: int) -> None:
    assert kinds.Integer().write(number) == slow_kinds.Integer().write(number)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_text_is_written_as_by_the_twin(text: str) -> None:
    assert kinds.Text().write(text) == slow_kinds.Text().write(text)


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Malformed:
        return Malformed


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0x02, 0x30, 0x5A, 0xA0, 0x5F37, 0xBF51, 0x1FFF7F, 0xBF818102]),
    st.binary(max_size=70) | st.integers(0, 70_000).map(bytes),
)
def test_a_tlv_is_written_as_by_the_twin(tag: int, content: bytes) -> None:
    assert der.wrap(tag, content) == slow_der.wrap(tag, content)


@pytest.mark.parametrize("node", [(4, -1, 0, 1), (4, 0, 2, 9), (4, 0, 9, 2), (4, 3, 2, 2), (4, 9, 9, 9)])
def test_a_node_that_does_not_lie_in_the_octets_is_refused(node: der.Node) -> None:
    for part in (kinds.Integer(), schema.Tagged(0x04, kinds.Octets()), sequence.Sequence(Pair)):
        with pytest.raises(Malformed):
            part.read(b"\x04\x00", node)


class Pair(msgspec.Struct, frozen=True):
    left: int
    right: object = None


class Elsewhere:
    """Not the class of the description, with the same attributes."""

    left = 1
    right = None


PAIR: Final = sequence.Sequence(
    Pair,
    (
        sequence.Member("right", schema.Tagged(0x81, kinds.Integer()), None),
        sequence.Member("left", schema.Tagged(0x80, kinds.Integer())),
    ),
)


def test_members_may_stand_in_another_order_than_the_attributes() -> None:
    octets = der.wrap(0x30, PAIR.write(Pair(1, 2)))
    assert octets == bytes.fromhex("3006 810102 800101")
    assert PAIR.read(octets, der.read_one(octets)) == Pair(1, 2)


def test_an_object_of_another_class_is_written_by_its_attributes() -> None:
    assert PAIR.write(Elsewhere()) == bytes.fromhex("800101")


@pytest.mark.parametrize("value", [None, 5, "text", [b"octets"]])
def test_what_is_no_value_of_a_kind_is_an_error_and_no_crash(value: Any) -> None:
    with pytest.raises(TypeError):
        kinds.Octets().write(value)
    with pytest.raises((TypeError, AttributeError)):
        schema.Sole(Pair, "left", kinds.Text()).write(value)


def test_a_message_larger_than_any_room_beforehand_is_written() -> None:
    many = schema.ListOf(schema.Tagged(0x04, kinds.Octets()))
    values = [bytes([number]) * number for number in range(256)] * 20
    assert many.write(values) == b"".join(slow_der.wrap(0x04, value) for value in values)
