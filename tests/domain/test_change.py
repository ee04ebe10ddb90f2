import re
from pathlib import Path

import pytest

from eim.domain import device
from eim.domain.change import CAUSES, UNDEFINED, cause_of, network_name, number_of
from eim.domain.suspicion import MEANINGS, QUARANTINED, Why

_PAGE = (Path(__file__).parents[2] / "docs" / "suspicion.md").read_text(encoding="utf-8")
_AUDITS = {"profiles": "`listProfileInfo`", "data": "`ipaEuiccDataRequest`", "eims": "`listEim`"}


def test_the_table_of_the_page_is_the_causes() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \|", _PAGE, re.MULTILINE)
    asked = {number: ", ".join(_AUDITS[audit] for audit in cause.audits) for number, cause in CAUSES.items()}
    said = [(str(number), cause.name, asked[number]) for number, cause in CAUSES.items()]
    assert rows == said


def test_the_page_says_what_each_sign_is_and_what_follows_by_default() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (\w+) \|$", _PAGE, re.MULTILINE)
    assert rows == [(why.value, MEANINGS[why], "quarantine" if why in QUARANTINED else "told") for why in Why]


def test_every_event_of_a_cause_is_on_the_page() -> None:
    told = {cause.told.type for cause in CAUSES.values() if cause.told}
    assert all(f"`{name}`" in _PAGE for name in told)


@pytest.mark.parametrize(("said", "number"), [(None, 127), (1, 1), (127, 127), (9, 9), (-1, 127), (2**40, 127)])
def test_a_cause_is_kept_as_it_was_said_or_as_undefined(said: int | None, number: int) -> None:
    assert number_of(said) == number


def test_a_cause_that_no_version_has_is_audited_like_an_undefined_one() -> None:
    assert cause_of(9).name == "cause9"
    assert cause_of(9).audits == CAUSES[UNDEFINED].audits


@pytest.mark.parametrize(("plmn", "name"), [("62F210", "262-01"), ("130014", "310-410"), ("FFFFFF", "FFFFFF")])
def test_a_network_is_named_as_people_write_it(plmn: str, name: str) -> None:
    assert network_name(bytes.fromhex(plmn)) == name


def test_another_imei_is_another_device_and_a_new_fact_is_none() -> None:
    before = {"deviceInfo": "A910800453000000820835201000000000F5", "ipaFeatures": [0, 1]}
    now = {"deviceInfo": "A910800453000000820835201000000000F6", "ipaFeatures": [0, 1], "ipaProtocols": [0]}
    assert device.difference(before, now) == {"imei": ["35201000000000F5", "35201000000000F6"]}
    assert device.difference({}, now) == {}


@pytest.mark.parametrize("info", [None, "", "zz", "A9", "A9028004", "0402FFFF"])
def test_what_is_no_device_info_names_nothing(info: str | None) -> None:
    assert device.named(info) == {}
