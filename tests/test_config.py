import re
import tomllib
from pathlib import Path

import pytest

from eim.config import Dsn, LogFormat, UnknownEid
from eim.config_loading import Loaded, default_data_dir, load, shown
from eim.config_reference import reference
from eim.config_settings import sections
from eim.domain.identity import EimIdType
from eim.errors import BadConfiguration

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
PASSWORD = "correct-horse"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eim.toml"


def loaded(file: Path, text: str, **variables: str) -> Loaded:
    file.write_text(text)
    return load(file, variables)


def problems(file: Path, text: str, **variables: str) -> list[str]:
    with pytest.raises(BadConfiguration) as refused:
        loaded(file, text, **variables)
    return [line.strip() for line in str(refused.value).splitlines()[1:]]


def test_nothing_configured_is_a_configuration() -> None:
    config = load(None, {}).config
    assert (config.device.port, config.operator.host, config.operator.port) == (8443, "127.0.0.1", 8080)
    assert config.database.dsn is None
    assert not config.server.test_mode


def test_the_environment_wins_over_the_file_and_sources_say_so(file: Path) -> None:
    found = loaded(file, "[device]\nport = 1\nkeep_alive = 5", EIM_DEVICE_PORT="2")
    assert (found.config.device.port, found.config.device.keep_alive) == (2, 5.0)
    assert found.sources["device.port"] == "environment EIM_DEVICE_PORT"
    assert found.sources["device.keep_alive"] == f"file {file}"
    assert found.sources["device.host"] == "default"


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text("[worker]\nbatch = 7")
    assert load(None, {"EIM_CONFIG": str(file)}).config.worker.batch == 7


def test_every_kind_of_setting_is_read_from_the_environment() -> None:
    variables = {
        "EIM_SERVER_TEST_MODE": "true",
        "EIM_SERVER_LOG_FORMAT": "json",
        "EIM_DATABASE_DSN": "postgresql://eim@db/eim",
        "EIM_DEVICE_PORT": "0",
        "EIM_DEVICE_WAIT_FOR_SEAL": "0.25",
        "EIM_DEVICE_UNKNOWN_EID": "eidNotFound",
        "EIM_DEVICE_TLS_NAMES": "eim.example.com, 192.0.2.1",
        "EIM_TRUST_ROOTS": "/a.pem,/b.der",
        "EIM_IDENTITY_EIM_ID_TYPE": "proprietary",
    }
    config = load(None, variables).config
    assert config.server.test_mode
    assert config.server.log_format is LogFormat.JSON
    assert config.database.dsn == Dsn("postgresql://eim@db/eim")
    assert (config.device.port, config.device.wait_for_seal) == (0, 0.25)
    assert config.device.unknown_eid is UnknownEid.NOT_FOUND
    assert config.device.tls_names == ("eim.example.com", "192.0.2.1")
    assert config.trust.roots == (Path("/a.pem"), Path("/b.der"))
    assert config.identity.eim_id_type is EimIdType.PROPRIETARY


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load(None, {"EIM_DEVICE_PORT": "", "EIM_NONSENSE": ""}).config.device.port == 8443


def test_paths_start_at_the_file_that_names_them(file: Path) -> None:
    config = loaded(file, '[server]\ndata_dir = "data"\n[trust]\nroots = ["ci.pem", "/etc/ci.pem"]').config
    assert config.server.data_dir == file.parent / "data"
    assert config.trust.roots == (file.parent / "ci.pem", Path("/etc/ci.pem"))


def test_all_problems_are_listed_at_once_with_setting_source_and_what_to_write(file: Path) -> None:
    text = """
        [device]
        prot = 1
        port = "8443"
        unknown_eid = "perhaps"
        tls_key = "key.pem"
        [databse]
        [operator]
        host = "0.0.0.0"
        [identity]
        eim_id = "not an oid"
        eim_id_type = "oid"
        fqdn = "http://example.com"
    """
    found = problems(file, text, EIM_WORKER_BATCH="many", EIM_DEVICE_PRT="1")
    source = f"(file {file})"
    for start, hint in (
        (f"device.prot {source}:", "did you mean port?"),
        (f"device.port {source}:", "a whole number from 0 to 65535"),
        (f"device.unknown_eid {source}:", "one of noEimPackage, eidNotFound"),
        ("device.tls_certificate (default):", "write the path"),
        (f"databse {source}:", "did you mean database?"),
        (f"operator.host {source}:", "write 127.0.0.1"),
        (f"identity.eim_id {source}:", "is no OID"),
        (f"identity.fqdn {source}:", "host:port"),
        ("worker.batch (environment EIM_WORKER_BATCH):", "a whole number from 1 to 10000"),
        ("EIM_DEVICE_PRT (environment):", "did you mean EIM_DEVICE_PORT?"),
    ):
        assert [line for line in found if line.startswith(start) and hint in line], (start, found)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("port = ", "is not TOML"),
        ("device = 1", "write [device]"),
        ("[device]\nport = 65536", "from 0 to 65535"),
        ("[device]\nport = true", "from 0 to 65535"),
        ("[device]\nrequest_deadline = 0", "above 0"),
        ("[device]\nrequest_deadline = nan", "above 0"),
        ("[device]\nbody_limit = 10", "from 1024"),
        ('[device]\ntls_names = "a.example.com"', "a list"),
        ('[device]\ntls_names = ["a b"]', "neither a DNS name nor an IP address"),
        ('[device]\nhost = "not a host"', "no address to listen on"),
        ('[device]\ntls_minimum = "1.1"', "1.2, 1.3"),
        ('[device]\ntls_certificate = "a.pem"', "without its key"),
        ('[operator]\nhost = "192.0.2.1"', "in the clear"),
        ("[operator]\nport = 8443", "the port of the devices too"),
        ('[operator]\npublic_url = "ftp://x"', "http:// or https://"),
        ('[database]\nschema = "Robert\'); DROP"', "lower-case letters"),
        ('[database]\ndsn = "mysql://x"', "postgresql://"),
        ('[database]\ndsn = "postgresql://u@h:port/d"', "postgresql://"),
        ('[identity]\nkey_name = "../../etc/passwd"', "lower-case letters"),
        ('[identity]\neim_id_type = "oid"', "needs its OID"),
        ('[identity]\neim_id_type = "fqdn"', "needs a host name"),
        ('[identity]\neim_id = "host:1"\neim_id_type = "fqdn"', "is no host name"),
        ('[identity]\nfqdn = "host:0"', "is no host"),
        ('[identity]\nfqdn = "host:65536"', "is no host"),
        (f'[identity]\neim_id = "{"x" * 129}"', "at most 128"),
    ],
)
def test_one_wrong_setting_gives_one_sentence(file: Path, text: str, hint: str) -> None:
    found = problems(file, text)
    assert len(found) == 1, found
    assert hint in found[0]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"nowhere\.toml\): can't be read: No such file"):
        load(tmp_path / "nowhere.toml", {})


def test_operators_may_come_from_elsewhere_over_tls(file: Path) -> None:
    text = '[operator]\nhost = "0.0.0.0"\ntls_certificate = "c.pem"\ntls_key = "k.pem"'
    assert loaded(file, text).config.operator.host == "0.0.0.0"


@pytest.mark.parametrize(
    "fqdn", ["eim.example.com", "eim.example.com:443", "192.0.2.1:8443", "[2001:db8::1]:8443", "::1"]
)
def test_hosts_come_in_every_usual_form(fqdn: str) -> None:
    assert load(None, {"EIM_IDENTITY_FQDN": fqdn}).config.identity.fqdn == fqdn


def test_what_kubernetes_puts_beside_a_service_is_no_setting_and_a_clash_is_explained() -> None:
    links = {
        "EIM_SERVICE_HOST": "10.0.0.1",
        "EIM_PORT": "tcp://10.0.0.1:80",
        "EIM_DEVICE_PORT_8443_TCP_ADDR": "10.0.0.1",
    }
    load(None, links)
    with pytest.raises(BadConfiguration, match="enableServiceLinks"):
        load(None, {"EIM_DEVICE_PORT": "tcp://10.0.0.1:8443"})


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://eim:{PASSWORD}@db:5432/eim",
        f"postgresql://eim@db/eim?password={PASSWORD}&sslmode=require",
        f"postgresql://:{PASSWORD}@db/eim",
        f"postgresql://eim:{PASSWORD}%40@[::1]:5432/eim",
    ],
)
def test_no_password_is_ever_shown(file: Path, dsn: str) -> None:
    found = loaded(file, f'[database]\ndsn = "{dsn}"')
    assert found.config.database.dsn is not None
    assert found.config.database.dsn.text == dsn
    for text in (repr(found), str(found.config.database.dsn), "\n".join(shown(found.config, found.sources))):
        assert PASSWORD not in text
        assert "/eim" in text or "db" in text


def test_a_password_in_an_address_that_is_wrong_is_not_shown_either(file: Path) -> None:
    for wrong in (f"mysql://eim:{PASSWORD}@db", f"postgresql://eim:{PASSWORD}@db:x/y", f"{PASSWORD}"):
        assert PASSWORD not in "\n".join(problems(file, f'[database]\ndsn = "{wrong}"'))


def test_what_is_shown_is_toml_that_gives_the_same_again(file: Path, tmp_path: Path) -> None:
    text = '[device]\nport = 1\ntls_names = ["a.example", "b.example"]\n[server]\ndata_dir = "/some where/\\"eim\\""'
    first = loaded(file, text).config
    again = loaded(tmp_path / "again.toml", "\n".join(shown(first))).config
    assert again == first
    assert tomllib.loads("\n".join(shown(first, load(file, {}).sources)))["device"]["port"] == 1


def test_data_lies_where_the_user_keeps_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "eim"
    assert default_data_dir({"XDG_DATA_HOME": "relative"}) == Path.home() / ".local" / "share" / "eim"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir({"XDG_DATA_HOME": str(tmp_path)}) == Path("/var/lib/eim/default")


def test_the_documentation_is_what_the_types_say() -> None:
    assert PAGE.read_text() == reference(), "run: eim config reference > docs/configuration.md"


def test_every_setting_has_a_meaning_and_its_own_variable() -> None:
    settings = [setting for section in sections() for setting in section.settings]
    assert all(setting.meaning.endswith(".") for setting in settings)
    assert len({setting.variable for setting in settings}) == len(settings)
    assert all(re.fullmatch(r"EIM_[A-Z0-9_]+", setting.variable) for setting in settings)
