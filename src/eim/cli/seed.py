"""`eim seed`: a device's key, token, counter and the package that is out, put there by hand (docs/replay.md)."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from msgspec import UNSET, UnsetType

from eim import credentials
from eim.cli.config import config_option, read
from eim.config import Config
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid, parse_eid, parse_iccid, read_eid
from eim.domain.operation import Kind
from eim.errors import BadConfiguration, InvalidRequest, Malformed
from eim.keys.disk import read as read_file
from eim.keys.roots import certificates_in
from eim.postgres import dsn_of_running
from eim.protocol.ecdsa import Curve, PublicKey, public_key_from_spki, spki
from eim.protocol.trust import TrustedEuicc, check_chain
from eim.services.seeding import Out, Seed, Seeded, Seeding
from eim.services.tokens import SETUP
from eim.store.connect import DbRole, open_pool

_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)
_NO_TOKEN: Final = "none"
_POINT: Final = 65


@click.command()
@config_option
@click.option("--eid", required=True, help="The 32 digits of the eUICC.")
@click.option("--allow-invalid-check-digits", is_flag=True, help="For test equipment, whose EIDs are often made up.")
@click.option("--identity", help="The eimId it is associated with. Default: the package's, or the only one.")
@click.option("--euicc-certificate", type=_FILE, help="DER or PEM; checked against trust.roots.")
@click.option("--eum-certificate", type=_FILE, help="DER or PEM: what the eUICC's certificate was issued under.")
@click.option("--public-key", metavar="HEX", help="Believed without a certificate, in test mode only: 04 x y, or DER.")
@click.option("--association-token", metavar="N|none", help="none: the card has none, signatures are made with zero.")
@click.option("--counter", type=int, help="The last counterValue used with it.")
@click.option("--speaks", type=click.Choice([each.value for each in Speaks]), help="The SGP.32 version of the device.")
@click.option("--unverifiable", is_flag=True, help="It can't sign: believe what it sends.")
@click.option("--package", metavar="FILE|HEX", help="What is out with it: a BF51 or BF52, or the BF4F around one.")
@click.option("--operation", type=click.Choice([each.value for each in Kind]), help="Default: what the package says.")
@click.option("--iccid", help="The profile it is about. Default: what the package says.")
def seed(  # noqa: PLR0913 - one parameter an option
    *,
    file: Path | None,
    eid: str,
    allow_invalid_check_digits: bool,
    identity: str | None,
    euicc_certificate: Path | None,
    eum_certificate: Path | None,
    public_key: str | None,
    association_token: str | None,
    counter: int | None,
    speaks: str | None,
    unverifiable: bool,
    package: str | None,
    operation: str | None,
    iccid: str | None,
) -> None:
    """Put a device's key, token, counter or package out into the database, with the owner's rights.

    For conformance suites, replays, and devices that another eIM served before. See docs/replay.md.
    """
    config = read(file).config
    if public_key is not None and not config.server.test_mode:
        raise BadConfiguration(
            "--public-key believes a card that no CI vouches for: give certificates, or set test_mode"
        )
    wanted = Seed(
        eid=read_eid(eid) if allow_invalid_check_digits else parse_eid(eid),
        identity=identity,
        certificates=_certificates(euicc_certificate, eum_certificate),
        public_key=_public_key(public_key) if public_key is not None else None,
        association_token=_token(association_token),
        counter=counter,
        speaks=Speaks(speaks) if speaks else None,
        unverifiable=unverifiable,
        out=_out(package, operation, iccid),
    )
    _say(wanted.eid, asyncio.run(_seed(config, wanted)))


async def _seed(config: Config, wanted: Seed) -> Seeded:
    roots = credentials.roots(config)

    def check(euicc: bytes, eum: bytes) -> TrustedEuicc:
        return check_chain(euicc, eum, roots, datetime.now(UTC))

    pool = await open_pool(_dsn(config), DbRole.OWNER, config.database.schema, 1)
    try:
        return await Seeding(pool, check).seed(SETUP, wanted)
    finally:
        await pool.close()


def _dsn(config: Config) -> str:
    """The owner's login: the configured one, or that of the embedded database that `eim serve` runs."""
    if config.database.dsn is not None:
        return config.database.dsn.text
    return dsn_of_running(config.server.data_dir / "postgres", DbRole.OWNER)


def _certificates(euicc: Path | None, eum: Path | None) -> tuple[bytes, bytes] | None:
    if euicc is None and eum is None:
        return None
    if euicc is None or eum is None:
        raise InvalidRequest("an eUICC certificate is checked with its EUM certificate: give both, or neither")
    return _certificate(euicc), _certificate(eum)


def _certificate(path: Path) -> bytes:
    return certificates_in(read_file(path, "the certificate"), str(path))[0]


def _public_key(text: str) -> PublicKey:
    try:
        octets = bytes.fromhex(text)
        if len(octets) == _POINT:
            octets = spki(PublicKey(Curve.P256, octets))
        return public_key_from_spki(octets)
    except (ValueError, Malformed) as error:
        raise InvalidRequest(
            f"--public-key is a point of 65 octets or a SubjectPublicKeyInfo in hex: {error}"
        ) from error


def _token(text: str | None) -> int | UnsetType | None:
    if text is None:
        return UNSET
    if text == _NO_TOKEN:
        return None
    if not text.isdigit() or int(text) >= 1 << 63:
        raise InvalidRequest(f"--association-token is a number or {_NO_TOKEN!r}")
    return int(text)


def _out(package: str | None, operation: str | None, iccid: str | None) -> Out | None:
    if package is None:
        if operation or iccid:
            raise InvalidRequest("--operation and --iccid speak of the --package that is out: give one")
        return None
    return Out(_octets(package), Kind(operation) if operation else None, parse_iccid(iccid) if iccid else None)


def _octets(package: str) -> bytes:
    """Hex, or a file with octets or hex in it."""
    try:
        return bytes.fromhex(package)
    except ValueError:
        content = read_file(Path(package), "the package")
    try:
        return bytes.fromhex(content.decode("ascii"))
    except ValueError:
        return content


def _say(eid: Eid, seeded: Seeded) -> None:
    click.echo(f"eid: {eid.hex().upper()}{' (new)' if seeded.new else ''}")
    if seeded.operation is not None:
        click.echo(f"operation: {seeded.operation}")
