"""Another eIM's export as lines of ours: which of its fields is which of our columns (docs/onboarding.md)."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from eim import api
from eim.errors import InvalidLines, InvalidRequest

# Each column with the places where it may be, the first that is there counts. Dots go into objects.
_OPENIOTRSP: Final[Mapping[str, tuple[str, ...]]] = {
    "eid": ("eid", "euicc.eid", "deviceInfo.eid"),
    "label": ("label", "name", "deviceName", "alias"),
    "tags": ("tags", "labels"),
    "group": ("group", "groupName", "fleet"),
    "time_zone": ("timeZone", "time_zone"),
    "identity": ("eimId", "eim_id", "association.eimId"),
    "association_token": ("associationToken", "association_token", "association.associationToken"),
    "counter": ("counterValue", "counter_value", "lastCounter", "association.counterValue"),
    "initial_counter": ("initialCounterValue", "association.initialCounterValue"),
    "euicc_certificate": ("euiccCertificate", "certificates.euicc", "euicc_cert"),
    "eum_certificate": ("eumCertificate", "certificates.eum", "eum_cert"),
    "unverifiable": ("unverifiable",),
}
_OPENIOTRSP_LISTS: Final = ("devices", "euiccs", "items", "data.devices")

Json = Mapping[str, Any]  # a JSON document's edge


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the list of eUICCs is in the document ('' for the document itself), and where its fields are in each."""

    devices: tuple[str, ...] | str = _OPENIOTRSP_LISTS
    columns: Mapping[str, tuple[str, ...] | str] = {}


class Mapped(msgspec.Struct, frozen=True):
    devices: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]


def read_mapping(source: str, file: Path | None) -> Mapped:
    """The places of `source`, with those of a mapping file before them. Raises InvalidRequest."""
    given = _places(file) if file is not None else Places()
    columns = dict(_OPENIOTRSP)
    for column, places in given.columns.items():
        if column not in columns:
            raise InvalidRequest(f"{file}: there is no column {column!r}: map some of {', '.join(columns)}")
        columns[column] = _several(places)
    if not columns["eid"]:
        raise InvalidRequest(f"{file or source}: a mapping without a place for 'eid' finds nobody")
    return Mapped(_several(given.devices), columns)


def convert_bundle(file: Path, mapped: Mapped) -> list[api.NewEuicc]:
    """The eUICCs in the export `file`. Raises InvalidLines with each that can't be read (counted from 1)."""
    try:
        document: Any = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{file} can't be read as JSON: {error}") from None
    found = document if isinstance(document, list) else _first(document, mapped.devices)
    if not isinstance(found, list):
        raise InvalidRequest(f"{file} has no list at {' or '.join(mapped.devices)}: say where with --mapping")
    lines = [_line(each, mapped) for each in found]
    bad = [(number, line) for number, line in enumerate(lines, start=1) if isinstance(line, str)]
    if bad:
        raise InvalidLines(f"{len(bad)} of {len(lines)} entries of {file} can't be read", bad)
    return [line for line in lines if isinstance(line, api.NewEuicc)]


def _places(file: Path) -> Places:
    try:
        octets = file.read_bytes()
        said: Any = msgspec.json.decode(octets) if file.suffix.lower() == ".json" else tomllib.loads(octets.decode())
        return msgspec.convert(said, Places)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"{file} is no mapping: {error}") from None


def _several(places: tuple[str, ...] | str) -> tuple[str, ...]:
    return (places,) if isinstance(places, str) else tuple(places)


def _line(entry: object, mapped: Mapped) -> api.NewEuicc | str:
    if not isinstance(entry, dict):
        return "it is no JSON object"
    fields = {column: _plain(column, _first(entry, places)) for column, places in mapped.columns.items()}
    try:
        return msgspec.convert({n: v for n, v in fields.items() if v not in (None, "", [])}, api.NewEuicc, strict=False)
    except msgspec.ValidationError as error:
        return str(error).replace("`", "'")


def _first(document: object, places: tuple[str, ...]) -> object:
    for place in places:
        found: object = document
        for name in place.split(".") if place else ():
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def _plain(column: str, value: object) -> object:
    """Numbers may be written in hex, tags as one text."""
    if column in ("association_token", "counter", "initial_counter") and isinstance(value, str):
        digits = value.strip()
        return int(digits, 16) if digits.lower().startswith("0x") else digits
    if column == "tags" and isinstance(value, str):
        return [tag.strip() for tag in value.replace(";", ",").split(",") if tag.strip()]
    return value
