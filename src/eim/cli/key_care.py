"""`eim keys backup`, `restore`, `add`: keys in a safe, and a second identity."""

import asyncio
from pathlib import Path
from typing import Final, TextIO

import click

from eim import app, credentials
from eim.cli.config import config_option, read
from eim.domain.identity import EimIdType, IdentityWish, derive_identity, identity_faults
from eim.errors import BadConfiguration
from eim.installation import login
from eim.keys import bundle
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import fingerprint
from eim.store.connect import DbRole

_passphrase_option: Final = click.option(
    "--passphrase-file",
    "passphrase",
    type=click.File(encoding="utf-8"),
    help="A file whose first line is the passphrase. Default: it is asked for.",
)


@click.command("backup")
@config_option
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@_passphrase_option
def backup_keys(file: Path | None, target: Path, passphrase: TextIO | None) -> None:
    """Write all keys, certificates and the identity into FILE, encrypted by a passphrase, for a safe.

    Without the keys no card obeys this eIM again; whoever has FILE and the passphrase commands every card.
    """
    kept = bundle.seal(read(file).config.server.data_dir, target, _told(passphrase, "a new"))
    click.echo(f"{target} holds {', '.join(kept)}")


@click.command("restore")
@config_option
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_passphrase_option
def restore_keys(file: Path | None, source: Path, passphrase: TextIO | None) -> None:
    """Bring the keys of FILE back into the data folder. Nothing existing is overwritten."""
    kept = bundle.unseal(source, read(file).config.server.data_dir, _told(passphrase, "its"))
    click.echo(f"restored: {', '.join(kept)}")


@click.command("add")
@config_option
@click.option("--eim-id", required=True, help="The eimId of the new identity.")
@click.option("--eim-id-type", type=click.Choice([each.value for each in EimIdType]), help="What the eimId is.")
@click.option("--fqdn", help="Where devices reach ESipa: host or host:port. Default: as the first identity says.")
@click.option("--key-name", required=True, help="The name of the new key's file.")
@click.option("--curve", type=click.Choice([each.value for each in Curve]), default=Curve.P256.value, show_default=True)
def add_identity(  # noqa: PLR0913 - one parameter an option
    *, file: Path | None, eim_id: str, eim_id_type: str | None, fqdn: str | None, key_name: str, curve: str
) -> None:
    """Make another identity beside the first, with a key of its own, and register it in the database.

    eUICCs onboarded with its eimId belong to it. Back the keys up again afterwards: `eim keys backup`.
    """
    config = read(file).config
    first = credentials.own_identity(config)
    wish = IdentityWish(key_name, eim_id, EimIdType(eim_id_type) if eim_id_type else None, fqdn or first.fqdn)
    if faults := list(identity_faults(wish.eim_id, wish.eim_id_type, wish.fqdn)):
        raise BadConfiguration("; ".join(f"{name}: {text}" for name, text in faults))
    store = credentials.key_store(config)
    dsn = login(config, DbRole.OWNER)  # asked for first: without a database no key is made
    if not store.holds(key_name):
        store.create_identity_key(key_name, Curve(curve))
    identity = derive_identity(wish, fingerprint(store.load(key_name).spki), first.fqdn)
    asyncio.run(app.register(config, dsn, identity))
    click.echo(f"{identity.eim_id} is registered, its key is {key_name}: `eim identities list` shows it")


@click.command("rotate")
@config_option
@click.option("--key-name", required=True, help="The name of the new key's file.")
@click.option("--eim-id", help="The identity that it is for. Default: this installation's first.")
@click.option("--curve", type=click.Choice([each.value for each in Curve]), default=Curve.P256.value, show_default=True)
def rotate_key(*, file: Path | None, key_name: str, eim_id: str | None, curve: str) -> None:
    """Make the next key of an identity, and register it. No card is moved to it by that.

    A key that is lost before a card has moved is harmless; one that is lost afterwards takes the card with it, so back
    the keys up first: `eim keys backup`. Where workers run on several machines, each needs the new file before.
    """
    config = read(file).config
    store = credentials.key_store(config)
    dsn = login(config, DbRole.OWNER)  # asked for first: without a database no key is made
    whose = eim_id or credentials.own_identity(config).eim_id
    if not store.holds(key_name):
        store.create_identity_key(key_name, Curve(curve))
    number = asyncio.run(app.add_key(config, dsn, whose, key_name))
    click.echo(f"{key_name} is key {number} of {whose}")
    click.echo("Next: `eim keys backup`, then `eim associations move` brings it to the cards.", err=True)


def _told(passphrase: TextIO | None, whose: str) -> str:
    if passphrase is not None:
        return passphrase.readline().rstrip("\n")
    said: str = click.prompt(f"{whose} passphrase", hide_input=True, confirmation_prompt=whose == "a new", err=True)
    return said
