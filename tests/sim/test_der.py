import pytest

from eim.errors import Malformed
from eim.sim.der import bits, integer, read, tlv, whole


@pytest.mark.parametrize(
    ("size", "head"), [(0, "0400"), (127, "047F"), (128, "048180"), (255, "0481FF"), (256, "04820100")]
)
def test_a_length_takes_as_few_octets_as_it_can(size: int, head: str) -> None:
    octets = tlv(0x04, bytes(size))
    assert octets[: len(head) // 2] == bytes.fromhex(head)
    assert whole(octets, 0x04).value == bytes(size)


@pytest.mark.parametrize(
    ("number", "octets"),
    [(0, "840100"), (1, "840101"), (127, "84017F"), (128, "84020080"), (-1, "8401FF"), (-129, "8402FF7F")],
)
def test_integers_are_two_s_complement_and_shortest(number: int, octets: str) -> None:
    assert integer(0x84, number) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("positions", "octets"), [((0,), "81020780"), ((1,), "81020640"), ((0, 1, 2), "810205E0"), ((8,), "8103070080")]
)
def test_named_bits_lose_their_trailing_zeros(positions: tuple[int, ...], octets: str) -> None:
    assert bits(0x81, *positions) == bytes.fromhex(octets)


@pytest.mark.parametrize("octets", ["BF", "BF51", "3005", "3080", "30850000000001", "8103070D"])
def test_octets_that_end_too_early_are_malformed(octets: str) -> None:
    with pytest.raises(Malformed):
        list(read(bytes.fromhex(octets)))


def test_one_data_object_is_not_two() -> None:
    with pytest.raises(Malformed, match="one data object 30"):
        whole(bytes.fromhex("30003000"), 0x30)
