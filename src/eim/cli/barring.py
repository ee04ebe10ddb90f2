"""`eim deny`, and `eim devices barred | quarantine | release`: to whom nothing goes out."""

import hashlib
from pathlib import Path
from uuid import UUID

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from eim import api
from eim.api_barring import BarReason, BarredEuicc, BarredQuery, DenialQuery, DenialView, LiftQuery, NewDenial
from eim.cli.server import say, server_options, table, target_here
from eim.client import Client


@click.group()
def deny() -> None:
    """Deny-lists: cards, makers and certificates to which nothing goes out."""


@deny.command()
@click.option("--eid", help="One card.")
@click.option("--ein", help="All cards whose EIDs begin with these digits: those of one maker.")
@click.option("--eum-key-id", help="All cards of the maker whose certificate has this subject key identifier (hex).")
@click.option("--fingerprint", help="SHA-256 of a certificate, the card's or its maker's (hex).")
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The same, of a certificate in a file (PEM or DER).",
)
@click.option("--serial", help="Serial number of a certificate (hex); with --issuer-key-id.")
@click.option("--issuer-key-id", help="Authority key identifier of that certificate (hex).")
@click.option("--reason", required=True, help="Why; it is kept in the audit.")
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="As 2027-01-31T12:00:00+00:00.")
@server_options
def add(  # noqa: PLR0913 - one parameter an option
    eid: str | None,
    ein: str | None,
    eum_key_id: str | None,
    fingerprint: str | None,
    certificate: Path | None,
    serial: str | None,
    issuer_key_id: str | None,
    reason: str,
    expires_at: api.Moment | None,
) -> None:
    """Deny from now on. What is out is in doubt, nothing more goes out, and the device hears "nothing"."""
    target = target_here()
    if certificate is not None:
        fingerprint = _fingerprint(certificate)
    new = NewDenial(reason, eid, ein, eum_key_id, fingerprint, serial, issuer_key_id, expires_at)
    made = target.run(lambda client: client.add_denial(new))
    say(target, made, lambda: f"denial {made.id}: nothing goes out to {made.mark} any more")


@deny.command("list")
@click.option("--ended", is_flag=True, help="Also those that stand no more.")
@server_options
def list_all(*, ended: bool) -> None:
    """List the denials that stand."""
    target = target_here()

    async def collect(client: Client) -> list[DenialView]:
        return [each async for each in client.all_denials(DenialQuery(ended=ended))]

    found = target.run(collect)
    rows = ((d.id, d.mark, d.reason, d.by, d.created_at, d.expires_at, d.lifted_at) for d in found)
    say(target, found, lambda: table(("ID", "Whom", "Why", "By", "Since", "Until", "Lifted"), rows))


@deny.command()
@click.argument("ident", type=click.UUID, metavar="ID")
@click.option("--reason", required=True, help="Why; it is kept in the audit.")
@server_options
def lift(ident: UUID, reason: str) -> None:
    """Take a denial back; whom it named is asked first what is true now."""
    target = target_here()
    done = target.run(lambda client: client.lift_denial(ident, LiftQuery(reason)))
    say(target, done, lambda: f"denial {done.id} of {done.mark} is lifted")


@click.command()
@server_options
def barred() -> None:
    """List the eUICCs to which nothing goes out: suspected, denied, orphaned."""
    target = target_here()

    async def collect(client: Client) -> list[BarredEuicc]:
        return [each async for each in client.all_barred(BarredQuery())]

    found = target.run(collect)
    say(target, found, lambda: table(("EID", "Why"), ((each.eid, told(each.bar)) for each in found)))


@click.command()
@click.argument("eid")
@click.option("--reason", required=True, help="Why; it is kept in the audit.")
@server_options
def quarantine(eid: str, reason: str) -> None:
    """Let nothing go out to one eUICC until it is released; what is out is in doubt."""
    target = target_here()
    done = target.run(lambda client: client.quarantine(eid, BarReason(reason)))
    say(target, done, lambda: f"{done.eid} is in quarantine: `eim devices release` ends it")


@click.command()
@click.argument("eid")
@click.option("--reason", required=True, help="Why; it is kept in the audit.")
@server_options
def release(eid: str, reason: str) -> None:
    """End the quarantine of one eUICC, or take back an orphan that was associated anew."""
    target = target_here()
    done = target.run(lambda client: client.release(eid, BarReason(reason)))
    say(target, done, lambda: f"{done.eid} is released: it is asked what is true, then what waited goes out")


def told(bar: api.BarView) -> str:
    """Why nothing goes out to a card, and what to do."""
    said = []
    if bar.orphaned_at is not None:
        said.append(
            f"orphaned since {bar.orphaned_at:%Y-%m-%d %H:%M}: the card knows this eIM no more; associate it again "
            "(AddInitialEim, or addEim from another eIM), then `eim devices release`"
        )
    if bar.quarantined_at is not None:
        said.append(f"in quarantine since {bar.quarantined_at:%Y-%m-%d %H:%M}: {bar.quarantine_why}")
    if bar.denied_by is not None:
        said.append(f"denied: {bar.denied_by} (`eim deny list`)")
    return "; ".join(said)


def _fingerprint(file: Path) -> str:
    content = file.read_bytes()
    pem = b"-----BEGIN" in content
    try:
        found = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except ValueError:
        raise click.BadParameter(f"{file} is no certificate in PEM or DER") from None
    return hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()
