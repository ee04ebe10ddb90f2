from eim.domain.ids import format_iccid
from eim.sim.profiles import make_iccid


def test_an_iccid_ends_on_its_luhn_digit() -> None:
    for number in range(200):
        digits = [int(digit) for digit in reversed(format_iccid(make_iccid("8999001", number)))]
        doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
        assert (sum(digits[::2]) + sum(doubled)) % 10 == 0
        assert len(digits) == 19
