"""Webhooks: where one may point, how a delivery is signed (Standard Webhooks 1.0), when it is tried again."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from eim.errors import InvalidRequest

PREFIX: Final = "whsec_"
SECRET_SIZE: Final = 32  # octets; the standard allows 24 to 64
MOST_SECRETS: Final = 5  # at once, while rotations overlap

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# The waits behind the first try, the second, and so on: about three days in all, then the event is a dead letter.
RETRIES: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)

_HOST: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_SPREAD: Final = 0.2  # of a pause, up or down
_LONGEST_HOST: Final = 253
# Public by their numbers, yet they end inside: IPv4 in IPv6 clothes, and the metadata service of a cloud.
_DISGUISED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
        *("fec0::/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24"),
    )
)


class Target(msgspec.Struct, frozen=True):
    """An address in parts: what is connected to and what is asked for come from one reading of it."""

    scheme: str  # https, or http where the configuration allows it
    host: str  # a DNS name in lower case, or a plain IP address without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS: Final = {"https": 443, "http": 80}


def read_target(url: str) -> Target:
    """The parts of a webhook's URL. Raises InvalidRequest with what to write instead."""
    if not (url.isascii() and url.isprintable()) or any(c in url for c in ' \\"<>^`{|}'):
        raise InvalidRequest("a webhook's URL has ASCII characters only, and none that has to be encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("this can't be read as a URL: write https://host/path") from None
    if parts.scheme not in _PORTS:
        raise InvalidRequest("a webhook's URL begins with https://")
    if "@" in parts.netloc:
        raise InvalidRequest("a webhook's URL has no user and no password in it: receivers check the signature")
    if parts.fragment or port == 0:
        raise InvalidRequest("a webhook's URL has no fragment, and a port above 0")
    host = _host(parts.netloc, parts.hostname or "")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def _host(netloc: str, host: str) -> str:
    if netloc.startswith("["):
        try:
            if "%" in host:  # a zone is of this machine
                raise ValueError
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise InvalidRequest("the address in brackets is no IPv6 address") from None
    if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST:
        raise InvalidRequest("the host of a webhook's URL is a DNS name or an IP address")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):  # inet_aton takes 127.1, 0x7f.1 and 2130706433; we take one spelling
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise InvalidRequest("an IPv4 address is written with four decimal numbers") from None
    return host


def may_reach(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a delivery may connect to `address`: it is public, or in a network that the configuration allows."""
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return False
    if any(address in network for network in _DISGUISED if network.version == address.version):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class Secret(msgspec.Struct, frozen=True, array_like=True):
    """One signing secret, and until when it signs."""

    key: bytes
    until: datetime | None  # None: until it is rotated out

    def __repr__(self) -> str:
        return f"Secret(until={self.until!r})"

    @property
    def text(self) -> str:
        """As receivers are given it."""
        return PREFIX + base64.b64encode(self.key).decode()


def read_secret(text: str) -> bytes:
    """The key in `whsec_<base64>`. Raises InvalidRequest, which doesn't repeat it."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise InvalidRequest("a webhook's secret is whsec_ and the base64 of 24 to 64 octets")
    return key


def rotated(secrets: Sequence[Secret], key: bytes, now: datetime, overlap: timedelta) -> tuple[Secret, ...]:
    """The secrets with `key` in front; those before sign along until `overlap` is over."""
    end = now + overlap
    kept = [Secret(s.key, min(s.until, end) if s.until else end) for s in valid(secrets, now)] if overlap else []
    return (Secret(key, None), *kept)[:MOST_SECRETS]


def valid(secrets: Sequence[Secret], now: datetime) -> tuple[Secret, ...]:
    """Those that sign at `now`."""
    return tuple(secret for secret in secrets if secret.until is None or secret.until > now)


def signatures(secrets: Sequence[Secret], ident: str, at: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret, over `ident`, the Unix time `at`, and `body`."""
    signed = f"{ident}.{at}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.new(secret.key, signed, hashlib.sha256).digest()).decode() for secret in secrets
    )


def next_try(attempts: int, retries: Sequence[timedelta], jitter: float) -> timedelta | None:
    """How long to wait after `attempts` failures; None: that was the last try.

    jitter  from -1 to 1; moves it by up to a fifth
    """
    if attempts > len(retries):
        return None
    return retries[attempts - 1] * (1 + _SPREAD * jitter)


def is_time(again_at: datetime, attempts: int, retries: Sequence[timedelta], now: datetime) -> bool:
    """Whether what failed `attempts` times is to be tried again: at its time, and when that is further away than any
    pause could have put it, because the clock was set back since."""
    longest = retries[attempts - 1] * (1 + _SPREAD) if 0 < attempts <= len(retries) else timedelta(0)
    return again_at <= now or again_at > now + longest


class Reach(msgspec.Struct, frozen=True):
    """What the configuration lets deliveries reach beside public addresses over HTTPS."""

    networks: tuple[Network, ...] = ()
    plain: bool = False  # http:// too


def check_url(url: str, reach: Reach) -> Target:
    """The parts of a webhook's URL that may be kept. Raises InvalidRequest; its name is looked up at each delivery."""
    target = read_target(url)
    if target.scheme != "https" and not reach.plain:
        raise InvalidRequest("a webhook's URL begins with https:// (webhooks.allow_http would take http:// too)")
    address = literal(target.host)
    if address is not None and not may_reach(address, reach.networks):
        raise InvalidRequest(
            "this address is not public: the configuration names other networks (webhooks.allow_networks)"
        )
    return target


def literal(host: str) -> Address | None:
    """The address that `host` is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
