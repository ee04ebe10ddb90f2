"""`eim keys`: the identity that cards obey, and what a factory loads into them."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import click

from eim import credentials
from eim.cli.config import config_option, read
from eim.cli.key_care import add_identity, backup_keys, restore_keys, rotate_key
from eim.config import Config
from eim.domain.identity import EimIdType, Identity, IdentityWish
from eim.errors import KeyUnusable
from eim.keys.export import Exported, TlsTrust, export
from eim.keys.identity import init_identity, read_identity
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import fingerprint


@click.group()
def keys() -> None:
    """Make, show and export the identity that cards obey."""


@keys.command()
@config_option
@click.option("--eim-id", help="The eimId. Default: the host of --fqdn, or a unique name from the key.")
@click.option("--eim-id-type", type=click.Choice([each.value for each in EimIdType]), help="What the eimId is.")
@click.option("--fqdn", help="Where devices reach ESipa: host or host:port.")
@click.option("--key-name", help="The name of the key's file.")
@click.option("--curve", type=click.Choice([each.value for each in Curve]), default=Curve.P256.value, show_default=True)
def init(  # noqa: PLR0913 - one parameter an option
    *,
    file: Path | None,
    eim_id: str | None,
    eim_id_type: str | None,
    fqdn: str | None,
    key_name: str | None,
    curve: str,
) -> None:
    """Make the signing key and the identity. `eim serve` registers it; nothing existing is overwritten."""
    config = read(file).config
    configured = credentials.wish_of(config)
    wish = IdentityWish(
        key_name or configured.key_name,
        eim_id or configured.eim_id,
        EimIdType(eim_id_type) if eim_id_type else configured.eim_id_type,
        fqdn or configured.fqdn,
    )
    store = credentials.key_store(config)
    data = config.server.data_dir
    identity = init_identity(data, store, wish, credentials.default_fqdn(config.device), Curve(curve))
    _print(config, identity)
    click.echo("\nNext: `eim keys export` gives what a factory loads into cards.", err=True)


for _command in (add_identity, backup_keys, restore_keys, rotate_key):
    keys.add_command(_command)


@keys.command()
@config_option
def show(file: Path | None) -> None:
    """Print the identity and its public key."""
    config = read(file).config
    _print(config, _existing(config))


@keys.command("export")
@config_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["hex", "base64", "file"]),
    default="hex",
    show_default=True,
    help="file: the octets themselves, into --output.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write. Default: print.")
@click.option(
    "--content",
    type=click.Choice(["request", "configuration"]),
    default="request",
    show_default=True,
    help="The whole AddInitialEimRequest (BF57), or the bare EimConfigurationData (30).",
)
@click.option(
    "--tls-trust",
    type=click.Choice([each.value for each in TlsTrust]),
    default=TlsTrust.CA.value,
    show_default=True,
    help="What cards are told about our TLS: the CA, the server's own key (a pin), or nothing.",
)
def print_export(file: Path | None, form: str, output: Path | None, content: str, tls_trust: str) -> None:
    """Give what a factory loads into cards that have no eIM yet."""
    exported = _exported(read(file).config, TlsTrust(tls_trust))
    for warning in exported.warnings:
        click.echo(f"warning: {warning}", err=True)
    octets = exported.request if content == "request" else exported.configuration
    written = octets if form == "file" else _text(octets, form)
    if output is not None:
        _write(output, written)
    elif form == "file":
        raise click.UsageError("--format file needs --output: the octets are no text to print")
    else:
        click.echo(written, nl=False)


def _exported(config: Config, trust: TlsTrust) -> Exported:
    identity = _existing(config)
    signer = credentials.key_store(config).load(identity.key_name)
    files = credentials.device_tls(config, identity, datetime.now(UTC))
    return export(identity, signer.spki, files, trust)


def _text(octets: bytes, form: str) -> bytes:
    return (octets.hex().upper().encode() if form == "hex" else base64.b64encode(octets)) + b"\n"


def _write(output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        raise click.FileError(str(output), error.strerror) from None


def _existing(config: Config) -> Identity:
    identity = read_identity(config.server.data_dir)
    if identity is None:
        raise KeyUnusable(f"there is no identity under {config.server.data_dir} yet: make one with `eim keys init`")
    return identity


def _print(config: Config, identity: Identity) -> None:
    signer = credentials.key_store(config).load(identity.key_name)
    rows = (
        ("eimId", identity.eim_id),
        ("eimIdType", f"{identity.eim_id_type.number} ({identity.eim_id_type.value})"),
        ("fqdn", identity.fqdn),
        ("initial counter", str(identity.initial_counter)),
        ("key", f"{signer.name}, {signer.curve.value}"),
        ("fingerprint", fingerprint(signer.spki).hex()),
        ("public key", signer.spki.hex().upper()),
    )
    for name, value in rows:
        click.echo(f"{name:<16} {value}")
