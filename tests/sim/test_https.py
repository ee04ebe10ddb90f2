import pytest

from eim.errors import BadConfiguration
from eim.sim.https import server_address, trusting


@pytest.mark.parametrize(
    ("url", "address"),
    [("https://eim.example.com", ("eim.example.com", 443)), ("https://127.0.0.1:8443/", ("127.0.0.1", 8443))],
)
def test_an_address_has_a_host_and_a_port(url: str, address: tuple[str, int]) -> None:
    assert server_address(url) == address


@pytest.mark.parametrize("url", ["http://eim.example.com", "eim.example.com:8443", "https://"])
def test_what_is_no_https_address_is_refused_with_the_form_to_use(url: str) -> None:
    with pytest.raises(BadConfiguration, match="write https://host:port"):
        server_address(url)


def test_a_ca_file_without_a_certificate_is_refused_with_a_sentence() -> None:
    with pytest.raises(BadConfiguration, match="give a PEM file"):
        trusting("not a certificate")
