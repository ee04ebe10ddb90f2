import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EcoList, EimConfigurationData, PsmoList
from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid
from eim.domain.operation import Kind
from eim.domain.step import (
    SINCE,
    AddEim,
    Compact,
    DataRequest,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
    check_package,
    compact,
    kind_of,
    name_of,
    read_config,
    refuse_unspoken,
)
from eim.errors import InvalidRequest, NotInVersion
from eim.protocol.steps import package_of, question, steps_in
from tests.domain.steps import CONFIG, EVERY_STEP, ICCID

OTHER = Iccid(b"\x89" * 10)


@pytest.mark.parametrize("step", EVERY_STEP, ids=name_of)
def test_every_step_passes_alone_and_comes_back_from_its_columns(step: Step) -> None:
    check_package([step])
    assert compact([step]).steps == (step,)
    assert compact([step]).kind.value == name_of(step)


def test_plain_steps_need_no_details_and_several_are_a_package() -> None:
    assert compact([Enable(ICCID, True)]) == Compact(Kind.ENABLE, ICCID, True)
    several = (Disable(ICCID), Delete(ICCID))
    assert (compact(several).kind, compact(several).iccid, compact(several).steps) == (Kind.PACKAGE, ICCID, several)


@pytest.mark.parametrize("speaks", Speaks)
@pytest.mark.parametrize("step", [s for s in EVERY_STEP if not isinstance(s, DataRequest)], ids=name_of)
def test_a_step_is_encoded_for_the_versions_that_have_it_and_read_back(step: Step, speaks: Speaks) -> None:
    if kind_of([step]) in SINCE and speaks is Speaks.V1_0_1:
        with pytest.raises(NotInVersion, match=r"this card speaks 1\.0\.1: \w+ came with 1\.1"):
            package_of([step], speaks)
        return
    package = package_of([step], speaks)
    again = sgp32.decode(type(package), sgp32.encode(package))
    assert steps_in(again) == (step,)


@pytest.mark.parametrize(
    ("step", "octets"),
    [
        (Enable(ICCID, True), "A30E5A0A980010325476981032140500"),
        (Disable(ICCID), "A40C5A0A98001032547698103214"),
        (Delete(ICCID), "A50C5A0A98001032547698103214"),
        (ListProfileInfo(), "BF2D00"),
        (ListProfileInfo(iccid=ICCID), "BF2D0EA00C5A0A98001032547698103214"),
        (ListProfileInfo(profile_class=2, tags=bytes.fromhex("5A9F70")), "BF2D0AA0039501025C035A9F70"),
        (ListProfileInfo(iot_tags=bytes.fromhex("BF64")), "BF2D045D02BF64"),
        (GetRat(), "A600"),
        (UnsetFallbackAttribute(), "A900"),
        (SetDefaultDpAddress(""), "BF65028000"),
        (ListEim(), "AB00"),
    ],
)
def test_the_octets_are_the_references(step: Step, octets: str) -> None:
    package = package_of([step], Speaks.V1_3)
    assert sgp32.encode(package.items[0]).hex().upper() == octets


def test_add_eim_is_the_worked_example_and_leaves_out_what_the_version_lacks() -> None:
    """Reference 19.5."""
    example = sgp32.encode(package_of([AddEim(sgp32.encode(CONFIG))], Speaks.V1_2).items[0])
    assert example.hex().upper().startswith("A87C801065696D322E6578616D706C652E636F6D8201028301008401FFA55BA059")
    full = EimConfigurationData(
        "eim2.example.com", indirect_download=True, proprietary=bytes.fromhex("AA0206008000")[:4]
    )
    step = UpdateEim(sgp32.encode(full))
    told = {speaks: sgp32.encode(package_of([step], speaks).items[0]) for speaks in Speaks}
    assert [(b"\x89\x00" in octets, b"\xaa\x02" in octets) for octets in told.values()] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]


def test_several_steps_are_one_list_in_their_order() -> None:
    package = package_of([Disable(ICCID), Delete(ICCID)], Speaks.V1_2)
    assert isinstance(package, PsmoList)
    assert sgp32.encode(package).hex().upper() == ("A01CA40C5A0A98001032547698103214A50C5A0A98001032547698103214")
    assert isinstance(package_of([DeleteEim("a"), ListEim()], Speaks.V1_2), EcoList)


@pytest.mark.parametrize(
    ("step", "speaks", "octets"),
    [
        (DataRequest(), Speaks.V1_2, "BF52135C0D81BF20BF228384A5A6A8A9A0A2830207 07"),
        (DataRequest(("notifications", "associationToken")), Speaks.V1_2, "BF52085C02A08483020707"),
        (DataRequest(("notifications", "euiccPackageResults")), Speaks.V1_0_1, "BF52045C02BF2B"),
        (DataRequest(("euiccPackageResults",)), Speaks.V1_0_1, "BF52085C02BF2BA1028200"),
        (DataRequest(("defaultSmdpAddress", "ipaCapabilities")), Speaks.V1_0_1, "BF52045C028088"),
        (DataRequest(("notifications",), notification_seq=5), Speaks.V1_1, "BF520C5C01A0A10380010583020707"),
        (DataRequest(("notifications",), notification_events=(1, 3)), Speaks.V1_1, "BF520D5C01A0A1048102045083020707"),
        (DataRequest(("euiccPackageResults",), result_seq=9), Speaks.V1_3, "BF520C5C01A2A20380010983020707"),
        (DataRequest(("eumCertificate",), ci_key_id=b"\x01\x02"), Speaks.V1_2, "BF520B5C01A50402010283020707"),
    ],
)
def test_a_question_has_the_words_of_the_version(step: DataRequest, speaks: Speaks, octets: str) -> None:
    transaction = None if speaks is Speaks.V1_0_1 else b"\x07\x07"
    asked = question(step, speaks, transaction, results_only=False)
    assert asked == bytes.fromhex(octets)


def test_one_result_can_be_asked_for_since_v1_1_only() -> None:
    with pytest.raises(NotInVersion):
        refuse_unspoken([DataRequest(result_seq=1)], Speaks.V1_0_1)
    refuse_unspoken([DataRequest(result_seq=1)], None)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((), "at least one step"),
        ((Enable(ICCID), ListEim()), "never about both"),
        ((Enable(ICCID), Enable(OTHER)), "once"),
        ((Disable(ICCID), Disable(OTHER)), "once"),
        ((GetRat(), GetRat()), "twice"),
        ((Delete(ICCID), Enable(ICCID)), "is deleted by this package"),
        ((Enable(ICCID), Delete(ICCID)), "enabled by this package"),
        ((DeleteEim("a"), UpdateEim(sgp32.encode(EimConfigurationData("a")))), "can't be updated"),
        ((GetRat(), DataRequest()), "by itself"),
        ((DataRequest(("everything",)),), "can't be asked"),
        ((DataRequest(notification_seq=1, notification_events=(1,)),), "not by both"),
        ((AddEim(b"\x30\x00"),), "no eIM configuration"),
        ((AddEim(sgp32.encode(EimConfigurationData("a", counter=1))),), "public key"),
        (
            (UpdateEim(sgp32.encode(msgspec.structs.replace(CONFIG, counter=None))),),
            "another key needs the counterValue",
        ),
        ((ListProfileInfo(tags=b"\x9f"),), "ends inside a tag"),
        ((ListProfileInfo(tags=b""),), "is empty"),
        ((ListProfileInfo(iccid=ICCID, profile_class=1),), "searches by one"),
    ],
)
def test_what_no_card_may_be_sent_is_refused(steps: tuple[Step, ...], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        check_package(steps)


def test_a_configuration_is_read_from_what_factories_load() -> None:
    initial = sgp32.encode(sgp32.AddInitialEimRequest((CONFIG,)))
    assert read_config(initial) == read_config(sgp32.encode(CONFIG)) == sgp32.encode(CONFIG)
    for wrong in (b"", b"\x30\x00", b"\xbf\x57\x02\xa0\x00"):
        with pytest.raises(InvalidRequest):
            read_config(wrong)
