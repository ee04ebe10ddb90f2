import pytest

from eim.domain.smdp import Smdp, canonical


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("smdp.example.com", "smdp.example.com"),
        ("SMDP.Example.COM:443", "smdp.example.com"),
        ("smdp.example.com.", "smdp.example.com"),
        ("smdp.example.com:8443", "smdp.example.com:8443"),
        ("192.0.2.1:8443", "192.0.2.1:8443"),
        ("[2001:DB8::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_an_address_has_one_spelling(said: str, meant: str) -> None:
    assert canonical(said) == meant
    assert Smdp(meant).target.authority == meant


@pytest.mark.parametrize(
    "said",
    [
        *("", " ", "smdp.example.com/", "https://smdp.example.com", "user@smdp.example.com", "a?b", "a#b", "a b"),
        *("smdp.example.com:0", "smdp.example.com:65536", "smdp.example.com:x", "127.1", "0x7f000001"),
        *("smdp.example.com\r\nX: y", "smdp\u3002example.com", "-" * 300, "..", ".", "[fe80::1%25lo]"),
    ],
)
def test_what_names_no_host_has_none(said: str) -> None:
    assert canonical(said) is None
