"""What every parser of foreign octets must keep to, whatever comes: one function a parser, which fails when it doesn't.

A target returns for octets that are read or refused as documented, and raises for everything else.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from eim import api, api_steps
from eim._fast import esipa as native
from eim._fast import provided as native_provided
from eim._fast import tlv
from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import PendingNotification, ProvideEimPackageResult
from eim.errors import EimError, Malformed, UntrustedCertificate
from eim.protocol import certificates, esipa, explain, trust
from eim.web.reading import Reader, Request
from tests.reference import poll as slow_poll
from tests.reference import provided as slow_provided
from tests.reference import tlv as slow_tlv

Target = Callable[[bytes], None]

_BODY_LIMIT: Final = 4096
_FIRST_CUTS: Final = (1, 7, 64)


def request_from_a_device(octets: bytes) -> None:
    """ESipa: what is taken keeps the octets as they came, and can be answered."""
    try:
        received = esipa.receive(octets)
    except Malformed:
        return
    assert received.raw == octets
    if isinstance(received, esipa.Download):
        esipa.download_refusal(received)


def package_result(octets: bytes) -> None:
    """A result is read or refused; what is signed lies in the octets as they came."""
    try:
        result = sgp32.decode_package_result(octets)
    except Malformed:
        return
    assert result.raw == octets
    assert sgp32.encode(result) == octets
    if not isinstance(result, sgp32.ErrorUnsigned):
        assert result.signed in octets


def provided(octets: bytes) -> None:
    """A result with all around it is taken whenever its TLVs are sound."""
    try:
        tag, *_ = der.read_one(octets)
    except Malformed:
        return
    if tag == 0xBF50:
        value = sgp32.decode(ProvideEimPackageResult, octets)
        assert all(each in octets for each in (*value.notifications, *value.unreadable))


def notification(octets: bytes) -> None:
    try:
        value = sgp32.decode(PendingNotification, octets)
    except Malformed:
        return
    assert value.raw == octets
    assert value.signed in octets


def certificate(octets: bytes) -> None:
    with contextlib.suppress(UntrustedCertificate):
        certificates.parse(octets, certificates.Who.EUICC)
    trust.eid_in_certificate(octets)


def http(octets: bytes) -> None:
    """Requests are the same however the octets are cut, and nothing is taken behind one that was refused."""
    whole = _requests(octets, len(octets))
    for size in _FIRST_CUTS:
        cut = _requests(octets, size)
        assert [each.fault is None for each in cut[: len(whole)]] == [each.fault is None for each in whole[: len(cut)]]
        for one, other in zip(whole, cut, strict=False):
            if one.fault is None:
                assert (one.head.method, one.head.target, one.body) == (
                    other.head.method,
                    other.head.target,
                    other.body,
                )


def _requests(octets: bytes, size: int) -> list[Request]:
    taken = list[Request]()
    reader = Reader(taken.append, lambda: None, _BODY_LIMIT)
    for at in range(0, len(octets), max(size, 1)):
        reader.feed(octets[at : at + max(size, 1)])
    refused = [at for at, each in enumerate(taken) if each.fault is not None]
    assert refused in ([], [len(taken) - 1])
    assert all(len(each.body) <= _BODY_LIMIT for each in taken)
    return taken


def body_of_a_call(octets: bytes) -> None:
    """Every body of the operator's interface: decoded or refused by the decoder's own errors."""
    for kind in BODIES:
        try:
            value = msgspec.json.decode(octets, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # as web.endpoints takes them
            continue
        msgspec.json.encode(value)


def _bodies() -> tuple[type[Any], ...]:
    waiting, found = [api.Request], list[type[Any]]()
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            found.append(kind)
    return tuple(found)


BODIES: Final = (*_bodies(), api_steps.PackageSteps)


def told(octets: bytes) -> None:
    """`eim decode`: whatever the octets are, they are told; each is in one place, and masking keeps their number."""
    explanation = explain.explain(octets)
    assert explanation.size == len(octets)
    for entry in explain.every(explanation.entries):
        assert 0 <= entry.offset <= entry.end
    assert len(explain.mask(octets)) == len(octets)


def tlvs(octets: bytes) -> None:
    """The native scanner and its slow twin take and refuse the same."""
    for depth in (1, der.DEPTH, 64):
        assert _outcome(tlv.check, octets, depth) == _outcome(slow_tlv.check, octets, depth)
    whole = (octets, 0, len(octets))
    assert _outcome(tlv.children, *whole) == _outcome(slow_tlv.children, *whole)
    assert native.read_poll(octets) == slow_poll.read_poll(octets)
    assert native_provided.read_result(octets) == slow_provided.read_result(octets)


def _outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except EimError as error:
        return type(error)


TARGETS: Final[Mapping[str, Target]] = {
    "esipa": request_from_a_device,
    "package-result": package_result,
    "provided": provided,
    "notification": notification,
    "certificate": certificate,
    "http": http,
    "body": body_of_a_call,
    "decode": told,
    "tlv": tlvs,
}
