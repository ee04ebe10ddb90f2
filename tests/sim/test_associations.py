import msgspec
import pytest

from eim.asn1.sgp32 import AddEim, AddInitialEimRequest, EimConfigurationData, ListEim, UpdateEim, decode
from eim.sim.associations import Associations, ConfigurationRefused, add, add_initial, execute
from tests.sim.hand import EIM_ID, HandEim


def configuration(eim: HandEim) -> EimConfigurationData:
    return decode(AddInitialEimRequest, eim.configuration()).configs[0]


CONFIG = configuration(HandEim.new())
KNOWN = add_initial(Associations(), (CONFIG,))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ci_key_id": bytes(20)}, 3),
        ({"association_token": 9}, 5),
        ({"counter": 8_388_608}, 6),
        ({"counter": None}, 7),
        ({"public_key": None}, 7),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_with_its_code(changes: dict[str, object], code: int) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        add(Associations(), msgspec.structs.replace(CONFIG, **changes))
    assert caught.value.code == code


def test_an_eim_deleted_and_added_again_has_another_token() -> None:
    emptied = msgspec.structs.replace(KNOWN, entries=())
    again = add(emptied, CONFIG)
    assert [entry.token for entry in (*KNOWN.entries, *again.entries)] == [1, 2]


def test_an_eim_is_added_once() -> None:
    assert execute(KNOWN, AddEim(CONFIG)).result == bytes.fromhex("A803020102")


def test_an_update_changes_what_it_names_and_keeps_the_rest() -> None:
    fresh = configuration(HandEim.new())
    renewed = execute(KNOWN, UpdateEim(EimConfigurationData(EIM_ID, counter=40, public_key=fresh.public_key)))
    assert renewed.result == bytes.fromhex("8A0100")
    entry = renewed.associations.entries[0]
    assert (entry.highest, entry.token) == (40, 1)
    assert entry.key.public_numbers() != KNOWN.entries[0].key.public_numbers()


def test_a_new_key_without_a_counter_and_an_unknown_eim_are_refused() -> None:
    without_counter = EimConfigurationData(EIM_ID, public_key=CONFIG.public_key)
    assert execute(KNOWN, UpdateEim(without_counter)).result == bytes.fromhex("8A0107")
    assert execute(KNOWN, UpdateEim(EimConfigurationData("other.example.com"))).result == bytes.fromhex("8A0101")


def test_the_list_names_each_eim_and_its_type() -> None:
    listed = execute(KNOWN, ListEim()).result
    assert listed == bytes.fromhex("AB18A0163014800F") + EIM_ID.encode() + bytes.fromhex("820102")
