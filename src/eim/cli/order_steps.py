"""`eim order ...`: what a card can be asked beside the states of its profiles, and several steps in one package."""

import base64
import binascii
from pathlib import Path
from typing import Final, get_args

import click
import msgspec

from eim import api, api_steps
from eim.api_steps import PackageStep, PackageSteps
from eim.cli.order import PROFILE, WHICH, asked_for, order, place, with_options
from eim.cli.server import server_options
from eim.errors import InvalidRequest

_CLASSES: Final = click.Choice(["test", "provisioning", "operational"])
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_DER: Final = (b"\x30", b"\xbf\x57")


@click.command("list-profiles")
@with_options(*WHICH)
@click.option("--of-iccid", help="Only the profile of this ICCID.")
@click.option("--aid", help="Only the profile of this ISD-P AID, in hex.")
@click.option("--class", "profile_class", type=_CLASSES, help="Only profiles of this class.")
@click.option("--tags", help="Only these tags of each, as 5A,9F70,99.")
@click.option("--iot-tags", help="And these IoT tags (v1.3).")
@server_options
def list_profiles(
    of_iccid: str | None,
    aid: str | None,
    profile_class: str | None,
    tags: str | None,
    iot_tags: str | None,
) -> None:
    """Ask cards which profiles they hold."""
    said: dict[str, object] = {"iccid": of_iccid, "aid": aid, "profile_class": profile_class}
    said |= {"tags": _words(tags), "iot_tags": _words(iot_tags)}
    _place_with("listProfileInfo", {name: value for name, value in said.items() if value is not None})


@click.command("data")
@with_options(*WHICH)
@click.option(
    "--what", "tags", multiple=True, type=click.Choice(get_args(api_steps.DataName)), help="Only this; may be repeated."
)
@click.option("--ci-key-id", help="The certificates that lead to this CI key, in hex.")
@click.option("--notification", "notification_seq", type=int, help="Only the notification of this sequence number.")
@click.option(
    "--event",
    "notification_events",
    multiple=True,
    type=click.Choice(get_args(api_steps.NotificationEvent)),
    help="Only notifications of this event; may be repeated.",
)
@click.option("--result", "result_seq", type=int, help="Only the result of this sequence number.")
@server_options
def data(**said: object) -> None:
    """Ask cards for their data: certificates, capabilities, what they have not told yet."""
    _place_with("ipaEuiccDataRequest", {name: value for name, value in said.items() if value not in (None, ())})


@click.command("check")
@with_options(*WHICH)
@server_options
def check() -> None:
    """Compare what we believe of cards with what they say: profiles, eIMs, data. Differences are told as drift."""
    place(asked_for("check"))


@click.command("rules")
@with_options(*WHICH)
@server_options
def rules() -> None:
    """Ask cards whose profiles may have which policy rules (getRAT)."""
    place(asked_for("getRAT"))


@click.command("set-fallback")
@with_options(*PROFILE, *WHICH)
@server_options
def set_fallback() -> None:
    """Make a disabled profile the one that the device falls back to."""
    place(asked_for("setFallbackAttribute"))


@click.command("unset-fallback")
@with_options(*WHICH)
@server_options
def unset_fallback() -> None:
    """No profile is the fallback any more."""
    place(asked_for("unsetFallbackAttribute"))


@click.command("immediate-enable")
@with_options(*WHICH)
@click.option("--on/--off", "flag", required=True, help="Whether a profile may be enabled right after its download.")
@click.option("--smdp-oid", help="Only profiles of the SM-DP+ with this OID.")
@click.option("--smdp-address", help="Only profiles of the SM-DP+ at this address.")
@server_options
def immediate_enable(*, flag: bool, smdp_oid: str | None, smdp_address: str | None) -> None:
    """Let devices enable a profile by themselves right after its download, or not."""
    place(asked_for((api_steps.ImmediateEnableStep(flag, smdp_oid, smdp_address),)))


@click.command("default-smdp")
@click.argument("address")
@with_options(*WHICH)
@server_options
def default_smdp(address: str) -> None:
    """Set the SM-DP+ that cards ask for a profile by themselves; '' clears it."""
    place(asked_for((api_steps.DefaultDpAddressStep(address),)))


@click.command("list-eims")
@with_options(*WHICH)
@server_options
def list_eims() -> None:
    """Ask cards which eIMs they obey."""
    place(asked_for("listEim"))


_EIM: Final = (
    click.option(
        "--configuration",
        type=_FILE,
        help="A file with the eIM's configuration, as `eim keys export` makes: hex, base64, the octets, or JSON.",
    ),
    click.option("--identity", help="Or an identity of ours, by its eimId."),
)


@click.command("add-eim")
@with_options(*WHICH, *_EIM)
@server_options
def add_eim(configuration: Path | None, identity: str | None) -> None:
    """Let cards obey another eIM too; the token that each card draws for it is in the operation's outcome."""
    place(asked_for((api_steps.AddEimStep(_in_file(configuration), identity),)))


@click.command("update-eim")
@with_options(*WHICH, *_EIM)
@server_options
def update_eim(configuration: Path | None, identity: str | None) -> None:
    """Change an eIM on cards; what its configuration leaves out stays as it is."""
    place(asked_for((api_steps.UpdateEimStep(_in_file(configuration), identity),)))


@click.command("delete-eim")
@click.argument("eim_id", metavar="EIMID")
@with_options(*WHICH)
@server_options
def delete_eim(eim_id: str) -> None:
    """Let cards obey an eIM no more. Not the last one, nor our own, unless you force it."""
    place(asked_for((api_steps.DeleteEimStep(eim_id),)))


@click.command("package")
@click.argument("steps", type=_FILE, metavar="FILE")
@with_options(*PROFILE, *WHICH)
@server_options
def package(steps: Path) -> None:
    """Order several steps in one package, executed in their order.

    FILE is JSON, as in the REST interface: [{"step": "disable"}, {"step": "delete"}]. A step that names no profile
    means the one given by --iccid or --service-provider.
    """
    try:
        found = msgspec.json.decode(steps.read_bytes(), type=PackageSteps)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"{steps} is no list of steps: {error}") from None
    place(asked_for(found))


_STEPS: Final = (
    list_profiles,
    data,
    check,
    rules,
    set_fallback,
    unset_fallback,
    immediate_enable,
    default_smdp,
    list_eims,
    add_eim,
    update_eim,
    delete_eim,
    package,
)
for _command in _STEPS:
    order.add_command(_command)


def _place_with(kind: api.KindName, said: dict[str, object]) -> None:
    """Order `kind` with these words; without any, by its name alone."""
    try:
        steps = msgspec.convert([{"step": kind} | said], tuple[PackageStep, ...])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the card can't be asked that: {error}") from None
    place(asked_for(steps if said else kind))


def _words(text: str | None) -> list[str] | None:
    return [word.strip() for word in text.split(",")] if text is not None else None


def _in_file(file: Path | None) -> str | None:
    """The configuration in a file, as hex."""
    if file is None:
        return None
    octets = file.read_bytes()
    if octets.startswith(_DER):
        return octets.hex()
    text = octets.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        text = _said(text, file)
    try:
        return bytes.fromhex(text).hex()
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        raise InvalidRequest(f"{file} holds no eIM configuration: give what `eim keys export` makes") from None


class _Shown(msgspec.Struct, frozen=True):
    """What `eim identities show --json` says, as far as it matters here."""

    configuration: str | None = None
    request: str | None = None


def _said(text: str, file: Path) -> str:
    try:
        shown = msgspec.json.decode(text, type=_Shown)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{file} holds no eIM configuration: {error}") from None
    return shown.configuration or shown.request or ""
