"""The rules authorisation table that getRAT brings (SGP.22 section 2.9.2.2), from octets written by hand."""

from eim.asn1 import sgp32
from eim.asn1.results import Operator, Rule

_RULE = "3019 8002 0560 A110 3005 8003 62F210 3007 8003 EEEEEE 8100 8201 00"


def test_rules_are_read_with_their_operators_and_written_as_they_came() -> None:
    octets = bytes.fromhex("A61B" + _RULE)
    result = sgp32.decode_result(octets)
    operators = (Operator(bytes.fromhex("62F210")), Operator(bytes.fromhex("EEEEEE"), b""))
    assert result.rules == (Rule(frozenset({1, 2}), operators, frozenset()),)
    assert (result.kind, result.code, sgp32.encode(result)) == ("getRAT", None, octets)
    assert result.rules[0].said == {
        "pprs": ["ppr1", "ppr2"],
        "operators": [{"plmn": "62F210"}, {"plmn": "EEEEEE"}],
        "consentRequired": False,
    }


def test_a_table_that_cannot_be_read_is_still_an_answer() -> None:
    for octets in ("A600", "A6020500", "A6053003020101"):
        result = sgp32.decode_result(bytes.fromhex(octets))
        assert (result.kind, result.code) == ("getRAT", None)
