"""Configuration and keys joined: which identity, roots and certificates this installation uses. For `app` and `cli`."""

import ipaddress
import os
import socket
import ssl
from datetime import datetime
from typing import Final

from eim.config import Config, Device, TlsSuites, TlsVersion
from eim.connectors.transport import Trusting
from eim.domain.identity import EimIdType, Identity, IdentityWish, is_host, split_host
from eim.domain.smdp import RootsOf
from eim.domain.webhook import Reach
from eim.errors import BadConfiguration, KeyUnusable
from eim.keys import checkpoints
from eim.keys.data_key import DataKey
from eim.keys.export import TlsTrust, export
from eim.keys.files import KeyStore, Signer
from eim.keys.identity import ensure_identity
from eim.keys.roots import read_roots
from eim.keys.tickets import Secret, Tickets
from eim.keys.tls import Suites, TlsFiles, configured_pair, make_ca_and_leaf, server_context, smdp_context
from eim.protocol.ecdsa import Curve
from eim.protocol.trust import Roots, check_smdp_tls
from eim.services.identities import Blobs, no_blobs
from eim.store.identities import Listed

_VERSIONS: Final = {TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}
_SUITES: Final = {TlsSuites.MODERN: Suites.ESIPA, TlsSuites.CONFORMANCE: Suites.ESIPA_CONFORMANCE}


def key_store(config: Config) -> KeyStore:
    """The signing keys, `<data>/keys`."""
    return KeyStore(config.server.data_dir / "keys", config.server.mode)


def wish_of(config: Config) -> IdentityWish:
    """The section [identity] as a wish."""
    wish = config.identity
    return IdentityWish(wish.key_name, wish.eim_id, wish.eim_id_type, wish.fqdn)


def default_fqdn(device: Device) -> str:
    """Where devices on this machine reach ESipa."""
    return f"localhost:{device.port}" if device.port else "localhost"


def own_identity(config: Config) -> Identity:
    """The identity of this installation, made with its key at the first call. Raises KeyUnusable."""
    return ensure_identity(config.server.data_dir, key_store(config), wish_of(config), default_fqdn(config.device))


def roots(config: Config) -> Roots:
    """The configured CI roots. Raises BadConfiguration with all that is wrong with them."""
    return read_roots(config.trust.roots, config.server.mode)


def device_tls(config: Config, identity: Identity, now: datetime) -> TlsFiles:
    """The configured certificate of the device port, or our own, made or renewed when due. Raises KeyUnusable."""
    device = config.device
    if device.tls_certificate and device.tls_key:
        return configured_pair(device.tls_certificate, device.tls_key, now, config.server.mode)
    return make_ca_and_leaf(config.server.data_dir / "tls", _names(device, identity), now)


def exported(config: Config, identity: Listed) -> Blobs:
    """What a factory loads into cards of `identity`, from what is public here: no key is read or made.

    A certificate that can't be read is a warning: the identities are known all the same.
    """
    files = _public_tls(config)
    if files is None:
        return no_blobs(identity)
    kind = next(each for each in EimIdType if each.number == identity.eim_id_type)
    known = Identity("", identity.eim_id, kind, identity.fqdn, identity.initial_counter)
    try:
        made = export(known, identity.public_key, files, TlsTrust.CA)
    except KeyUnusable as error:
        return Blobs(None, None, (f"what a factory loads can't be made now: {error}",))
    return Blobs(made.request, made.configuration, made.warnings)


def device_context(config: Config, files: TlsFiles) -> ssl.SSLContext:
    """The TLS context of the device port."""
    return server_context(files, _SUITES[config.device.tls_suites], _VERSIONS[config.device.tls_minimum])


def device_tickets(config: Config, context: ssl.SSLContext, files: TlsFiles, given: bytes | None) -> Tickets:
    """Session tickets for `context` that all who have the secret open: of the file, or `given` by the supervisor."""
    return Tickets(context, lambda: device_context(config, files), ticket_secret(config, given))


def ticket_secret(config: Config, given: bytes | None = None) -> Secret:
    """The configured one, or what `given` holds, or a new one. Raises KeyUnusable."""
    if config.device.tls_ticket_secret is not None:
        return Secret.from_file(config.device.tls_ticket_secret)
    return Secret.unpack(given) if given else Secret.fresh()


def operator_context(config: Config, now: datetime) -> ssl.SSLContext | None:
    """The TLS context of the operator port; None: plain HTTP, which configuration allows on loopback only."""
    if not (config.operator.tls_certificate and config.operator.tls_key):
        return None
    return server_context(operator_tls(config, now), Suites.OPERATOR, ssl.TLSVersion.TLSv1_2)


def operator_tls(config: Config, now: datetime) -> TlsFiles:
    """The configured certificate of the operator port, checked. Raises BadConfiguration and KeyUnusable."""
    operator = config.operator
    if not (operator.tls_certificate and operator.tls_key):
        raise BadConfiguration("operator.tls_certificate: there is none")
    return configured_pair(operator.tls_certificate, operator.tls_key, now, config.server.mode)


def _public_tls(config: Config) -> TlsFiles | None:
    """The certificates of the device port, where this process can read them."""
    configured, folder = config.device.tls_certificate, config.server.data_dir / "tls"
    files = TlsFiles(None, configured, configured) if configured else None
    files = files or TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server-key.pem")
    return files if os.access(files.ca or files.certificate, os.R_OK) else None


def checkpoint_signer(config: Config) -> Signer:
    """The key that signs audit checkpoints, made at the first call. Raises KeyUnusable."""
    return checkpoints.ensure_signer(key_store(config))


def _names(device: Device, identity: Identity) -> tuple[str, ...]:
    if device.tls_names:
        return device.tls_names
    machine = socket.gethostname()
    here = (machine,) if is_host(machine) else ()
    return tuple(dict.fromkeys((split_host(identity.fqdn), *here, "localhost", "127.0.0.1", "::1")))


def data_key(config: Config) -> DataKey:
    """What encrypts secrets in the database; its file is made by the set-up."""
    return DataKey(config.server.data_dir / "keys")


def webhook_reach(config: Config) -> Reach:
    """Where deliveries may go beside public addresses."""
    networks = tuple(ipaddress.ip_network(text) for text in config.webhooks.allow_networks)
    return Reach(networks, config.webhooks.allow_http)


def webhook_context(config: Config) -> ssl.SSLContext:
    """How receivers are known: by this machine's roots and those of the configuration. Raises BadConfiguration."""
    context = ssl.create_default_context()
    for path in config.webhooks.trust:
        try:
            context.load_verify_locations(path)
        except OSError:  # ssl.SSLError is one
            raise BadConfiguration(f"webhooks.trust: {path} can't be read as PEM certificates") from None
    return context


def smdp_trust(config: Config) -> dict[str, Trusting]:
    """How SM-DP+ are known, by the name of whose roots. Raises BadConfiguration."""
    web = ssl.create_default_context()
    web.minimum_version = ssl.TLSVersion.TLSv1_2
    web.hostname_checks_common_name = False
    for path in config.notifications.trust:
        try:
            web.load_verify_locations(path)
        except OSError:  # ssl.SSLError is one
            raise BadConfiguration(f"notifications.trust: {path} can't be read as PEM certificates") from None
    found = roots(config)
    return {
        RootsOf.GSMA.value: Trusting(smdp_context(found, Curve.P256), check_smdp_tls),
        RootsOf.GSMA_BRAINPOOL.value: Trusting(smdp_context(found, Curve.BRAINPOOL), check_smdp_tls),
        RootsOf.WEB.value: Trusting(web),
    }
