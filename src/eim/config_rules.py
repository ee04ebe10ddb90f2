"""What must hold between settings, and what a type alone can't say. Each rule yields (setting, what to do)."""

import ipaddress
from collections.abc import Iterator
from typing import TypeAlias

from eim.config import Config, Device, Operator
from eim.domain.identity import identity_faults, is_address, is_host
from eim.domain.smdp import canonical

Conflict: TypeAlias = tuple[str, str]


def conflicts(config: Config) -> Iterator[Conflict]:
    """All that is wrong with `config`."""
    yield from _pairs("device", config.device)
    yield from _pairs("operator", config.operator)
    yield from _operator_exposure(config.operator)
    yield from _ports(config)
    yield from _names(config)
    yield from _networks(config)
    yield from _smdps(config)
    identity = config.identity
    for name, text in identity_faults(identity.eim_id, identity.eim_id_type, identity.fqdn):
        yield f"identity.{name}", text


def _pairs(section: str, part: Device | Operator) -> Iterator[Conflict]:
    if part.tls_certificate and not part.tls_key:
        yield f"{section}.tls_key", "a certificate is configured without its key: write the path of the key's PEM file"
    if part.tls_key and not part.tls_certificate:
        yield (
            f"{section}.tls_certificate",
            "a key is configured without its certificate: write the path of its PEM file",
        )


def _operator_exposure(operator: Operator) -> Iterator[Conflict]:
    if operator.tls_certificate is None and not _is_loopback(operator.host):
        danger = f"{operator.host} is reachable from other machines, and tokens would travel in the clear"
        yield "operator.host", f"{danger}: write 127.0.0.1, or set operator.tls_certificate and operator.tls_key"


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def _ports(config: Config) -> Iterator[Conflict]:
    device, operator = config.device, config.operator
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    same_host = device.host == operator.host or wildcards & {device.host, operator.host}
    if device.port == operator.port != 0 and same_host:
        yield "operator.port", f"{operator.port} is the port of the devices too: write another one for either"


def _networks(config: Config) -> Iterator[Conflict]:
    for text in config.webhooks.allow_networks:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            yield "webhooks.allow_networks", f"{text!r} is no network: write an address with its length, as 10.1.0.0/16"


def _smdps(config: Config) -> Iterator[Conflict]:
    for text in config.notifications.smdps:
        if canonical(text) is None:
            yield "notifications.smdps", f"{text!r} names no SM-DP+: write host or host:port, without https://"


def _names(config: Config) -> Iterator[Conflict]:
    for name in config.device.tls_names:
        if not is_address(name) and not is_host(name.removeprefix("*.")):
            yield (
                "device.tls_names",
                f"{name!r} is neither a DNS name nor an IP address: write one of them, without port",
            )
    for section, host in (("device", config.device.host), ("operator", config.operator.host)):
        if not is_address(host) and not is_host(host):
            yield f"{section}.host", f"{host!r} is no address to listen on: write an IP address or a host name"
