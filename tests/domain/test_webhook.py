"""Where a webhook may point, how deliveries are signed, when they are tried again."""

import base64
import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime, timedelta

import pytest

from eim.domain.webhook import (
    MOST_SECRETS,
    RETRIES,
    Secret,
    Target,
    is_time,
    may_reach,
    next_try,
    read_secret,
    read_target,
    rotated,
    signatures,
    valid,
)
from eim.errors import InvalidRequest

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_url_is_read_once_into_what_is_connected_to_and_what_is_asked_for() -> None:
    assert read_target("https://Hooks.example.com/a/b?c=d") == Target("https", "hooks.example.com", 443, "/a/b?c=d")
    assert read_target("https://hooks.example.com:8443") == Target("https", "hooks.example.com", 8443, "/")
    assert read_target("https://[2001:DB8::1]/x").host == "2001:db8::1"
    assert read_target("https://[2001:db8::1]:444/").authority == "[2001:db8::1]:444"
    assert read_target("https://93.184.216.34/").authority == "93.184.216.34"


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "//example.com/", "example.com", "https://", "https:///x", "file:///etc/passwd"),
        *("https://user@example.com/", "https://user:pw@example.com/", "https://example.com@127.0.0.1/", "https://@a/"),
        *("https://127.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://2130706433/", "https://0x7f000001/"),
        *("https://127.0.0.1./", "https://127.0.0.256/", "https://1.2.3/", "https://a.b.0x7f/", "https://a.1/"),
        *("https://exämple.com/", "https://１２７.0.0.1/", "https://example.com\\@127.0.0.1/", "https://a b/"),
        *("https://a%2f/",),
        *("https://[::1%25eth0]/", "https://[::1/", "https://[127.0.0.1]/", "https://[v1.a]/", "https://a:0/"),
        *("https://a:99999/", "https://a:x/", "https://a/#x", "https://a/\r\nHost: b", "https://a..b/"),
        *(f"https://{'a.' * 130}a/",),
    ],
)  # fmt: skip
def test_other_spellings_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        read_target(url)


INSIDE = """
    127.0.0.1 127.8.8.8 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 169.254.170.2
    100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 168.63.129.16 192.88.99.1
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:7f00:1 64:ff9b::7f00:1
    64:ff9b:1::a00:1 2002:7f00:1:: 2001:0:7f00:1:: fe80::1 fe80::1%eth0 fec0::1 fc00::1
    fd00:ec2::254 ff02::1 2001:db8::1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_an_address_that_leads_inside_is_not_reached(address: str) -> None:
    assert not may_reach(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_a_public_address_is_reached(address: str) -> None:
    assert may_reach(ipaddress.ip_address(address), ())


def test_a_network_that_the_configuration_names_is_reached_and_no_other() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64")]
    assert may_reach(ipaddress.ip_address("10.1.2.3"), allowed)
    assert may_reach(ipaddress.ip_address("fd00::5"), allowed)
    assert not may_reach(ipaddress.ip_address("10.2.2.3"), allowed)
    assert not may_reach(ipaddress.ip_address("::ffff:10.1.2.3"), allowed)


def test_a_signature_is_the_hmac_of_id_time_and_body_one_for_each_secret() -> None:
    secrets = [Secret(b"a" * 32, None), Secret(b"b" * 32, NOW)]
    made = signatures(secrets, "id", 1, b"{}").split()
    for each, secret in zip(made, secrets, strict=True):
        expected = base64.b64encode(hmac.new(secret.key, b"id.1.{}", hashlib.sha256).digest()).decode()
        assert each == f"v1,{expected}"


def test_the_published_example_of_the_standard_is_signed_the_same() -> None:
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signatures([Secret(key, None)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["whsec_AAAA", "AAAA" * 8, "whsec_" + "A" * 91, "whsec_!" + "A" * 40])
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_secret(text)
    assert text not in str(refusal.value)


def test_a_rotated_secret_signs_along_until_the_overlap_ends() -> None:
    day = timedelta(days=1)
    first = (Secret(b"1" * 32, None),)
    second = rotated(first, b"2" * 32, NOW, day)
    assert [s.key[:1] for s in valid(second, NOW)] == [b"2", b"1"]
    assert [s.key[:1] for s in valid(second, NOW + day)] == [b"2"]
    third = rotated(second, b"3" * 32, NOW + day / 2, day)
    assert [s.key[:1] for s in valid(third, NOW + day / 2)] == [b"3", b"2", b"1"]
    assert [s.key[:1] for s in valid(third, NOW + day)] == [b"3", b"2"]
    assert [s.key[:1] for s in rotated(third, b"4" * 32, NOW, timedelta(0))] == [b"4"]


def test_no_more_secrets_are_kept_than_fit_a_header() -> None:
    secrets: tuple[Secret, ...] = ()
    for number in range(10):
        secrets = rotated(secrets, bytes([number]) * 32, NOW, timedelta(days=1))
    assert len(secrets) == MOST_SECRETS


def test_a_secret_is_not_shown_by_its_repr() -> None:
    secret = Secret(b"k" * 32, None)
    assert "k" * 8 not in repr([secret])
    assert read_secret(secret.text) == secret.key


def test_tries_go_on_for_about_three_days_and_then_end() -> None:
    waits = [next_try(n, RETRIES, 0) for n in range(1, 11)]
    assert waits[-1] is None
    assert timedelta(days=3) < sum((w for w in waits if w), timedelta()) < timedelta(days=4)
    assert next_try(1, RETRIES, -1) == timedelta(seconds=4)
    assert next_try(1, RETRIES, 1) == timedelta(seconds=6)


def test_what_is_further_away_than_its_pause_was_written_before_the_clock_was_set_back() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    for attempts, pause in enumerate((timedelta(0), *RETRIES)):
        assert is_time(now, attempts, RETRIES, now)
        assert is_time(now + pause * 1.2 + timedelta(seconds=1), attempts, RETRIES, now)
        assert not pause or not is_time(now + pause, attempts, RETRIES, now)
