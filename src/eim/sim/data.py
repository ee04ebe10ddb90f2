"""What an IPA collects about its card when the eIM asks: IpaEuiccData (SGP.32 sections 2.11.1.2, 2.11.2.2)."""

from typing import Final

from eim.asn1.sgp32 import IpaEuiccDataRequest
from eim.domain.euicc import SignatureForm, Speaks
from eim.sim.der import bits, integer, read, text, tlv
from eim.sim.euicc import StoredNotification, StoredResult, VirtualEuicc
from eim.sim.psmo import Condition, positions, tags_in
from eim.sim.switches import TagLists

_SVN: Final = bytes((2, 5, 0))
_ROOT_SMDS: Final = "lpa.ds.gsma.com"
_WHOLE_RESPONSE: Final = 0xBF2B
_VERSIONS: Final = {Speaks.V1_0_1: (1, 0, 1), Speaks.V1_1: (1, 1, 0), Speaks.V1_2: (1, 2, 0), Speaks.V1_3: (1, 3, 0)}
_ALWAYS: Final = 0  # stands for the eimTransactionId, which is echoed without being asked for
_FORBIDDEN_TAGS: Final = frozenset({0x5A, 0xBF2D})
# The words of each version (section 2.11.1.2); anything else is strange to it.
_WORDS_V1_0_1: Final = frozenset({0x80, 0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0x88, 0xA9, 0xBF2B})
_WORDS: Final = frozenset({0xA0, 0x81, 0xA2, 0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0xA8, 0xA9})
_INCORRECT_TAG_LIST: Final = 1
_CI_NOT_FOUND: Final = 5
_ECALL_ACTIVE: Final = 104
_UNDEFINED: Final = 127


def data_response(card: VirtualEuicc, request: IpaEuiccDataRequest, eim_id: str) -> bytes:
    """The BF52 that answers `request`, in the version the card's device speaks.

    What it doesn't have it leaves out, as a tolerant one does with tags it doesn't know; 5A and BF2D it calls an
    incorrect list, a strict one the words of another version too.
    """
    provoked = card.provocations.take("data")
    if provoked is not None:
        return _error(card, request, provoked)
    try:
        asked = tags_in(request.tag_list)
    except ValueError:
        return _error(card, request, _INCORRECT_TAG_LIST)
    words = _WORDS_V1_0_1 if _old(card) else _WORDS
    if asked & _FORBIDDEN_TAGS or (card.switches.tag_lists is TagLists.STRICT and not asked <= words):
        return _error(card, request, _INCORRECT_TAG_LIST)
    if request.ci_key_id is not None and request.ci_key_id != card.credentials.ci_key_id:
        return _error(card, request, _CI_NOT_FOUND)
    if card.state.condition is Condition.ECALL:
        return _error(card, request, _UNDEFINED if _old(card) else _ECALL_ACTIVE)
    members = _members_v1_0_1(card, request, eim_id) if _old(card) else _members(card, request, eim_id)
    return tlv(0xBF52, tlv(0xA0, *(octets for tag, octets in members if tag in asked or tag == _ALWAYS)))


def _members(card: VirtualEuicc, request: IpaEuiccDataRequest, eim_id: str) -> list[tuple[int, bytes]]:
    """By the tag that asks for each, in the module's order."""
    transaction = b"" if request.transaction_id is None else tlv(0x87, request.transaction_id)
    return [
        (0xA0, tlv(0xA0, *(kept.raw for kept in _notifications(card, request)))),
        (0x81, _default_smdp(card, 0x81)),
        (0xA2, tlv(0xA2, *(kept.raw for kept in _results(card, request, eim_id)))),
        *_facts(card, eim_id),
        (_ALWAYS, transaction),
        (0xA8, _capabilities()),
        (0xA9, _device_info(card)),
    ]


def _members_v1_0_1(card: VirtualEuicc, request: IpaEuiccDataRequest, eim_id: str) -> list[tuple[int, bytes]]:
    """The default SM-DP+ has tag 80; capabilities are asked for as 88; results and notifications share BF2B."""
    if request.all_results:
        listed = tlv(0xA2, *(kept.raw for kept in _results(card, request, eim_id)))
    else:
        listed = tlv(0xA0, *(kept.raw for kept in _notifications(card, request)))
    return [
        (0x80, _default_smdp(card, 0x80)),
        *_facts(card, eim_id),
        (0x88, _capabilities()),
        (0xA9, _device_info(card)),
        (_WHOLE_RESPONSE, tlv(_WHOLE_RESPONSE, listed)),
    ]


def _facts(card: VirtualEuicc, eim_id: str) -> list[tuple[int, bytes]]:
    association = card.associations.find(eim_id)
    token = association.token if association else None
    emulated = card.switches.form is SignatureForm.NONE  # it has no certificate to show
    return [
        (0xBF20, _info1(card)),
        (0xBF22, _info2(card)),
        (0x83, text(0x83, _ROOT_SMDS)),
        (0x84, b"" if token is None else integer(0x84, token)),
        (0xA5, b"" if emulated else _implicit(0xA5, card.credentials.eum_certificate)),
        (0xA6, b"" if emulated else _implicit(0xA6, card.credentials.euicc_certificate)),
    ]


def _notifications(card: VirtualEuicc, request: IpaEuiccDataRequest) -> list[StoredNotification]:
    if request.notification_seq is not None:
        return [kept for kept in card.notifications if kept.seq == request.notification_seq]
    if request.notification_events is not None:
        wanted = positions(request.notification_events)
        return [kept for kept in card.notifications if kept.event.value in wanted]
    return list(card.notifications)


def _results(card: VirtualEuicc, request: IpaEuiccDataRequest, eim_id: str) -> list[StoredResult]:
    own = [kept for kept in card.results if kept.eim_id == eim_id]
    return own if request.result_seq is None else [kept for kept in own if kept.seq == request.result_seq]


def _error(card: VirtualEuicc, request: IpaEuiccDataRequest, code: int) -> bytes:
    if _old(card):
        return tlv(0xBF52, integer(0x81, code))
    transaction = b"" if request.transaction_id is None else tlv(0x80, request.transaction_id)
    return tlv(0xBF52, tlv(0xA1, transaction, integer(0x02, code)))


def _old(card: VirtualEuicc) -> bool:
    return card.switches.speaks is Speaks.V1_0_1


def _implicit(tag: int, certificate: bytes) -> bytes:
    """A certificate whose outer 30 is replaced by `tag` (SGP.32 uses implicit tags)."""
    (outer,) = read(certificate)
    return tlv(tag, outer.value)


def _default_smdp(card: VirtualEuicc, tag: int) -> bytes:
    return b"" if card.state.default_smdp is None else text(tag, card.state.default_smdp)


def _ci_lists(card: VirtualEuicc) -> bytes:
    ski = tlv(0x04, card.credentials.ci_key_id)
    return tlv(0xA9, ski) + tlv(0xAA, ski)


def _info1(card: VirtualEuicc) -> bytes:
    return tlv(0xBF20, tlv(0x82, _SVN), _ci_lists(card))


def _info2(card: VirtualEuicc) -> bytes:
    return tlv(
        0xBF22,
        tlv(0x81, bytes((2, 3, 1))),  # profile package version
        tlv(0x82, _SVN),
        tlv(0x83, bytes((1, 0, 0))),  # firmware
        tlv(0x84, bytes.fromhex("8101008204000400008302080E")),  # memory left
        bits(0x85, 1, 2),  # USIM and ISIM
        bits(0x88, 0),  # room for one more profile
        _ci_lists(card),
        tlv(0x04, bytes((1, 0, 0))),  # protection profile
        text(0x0C, "SIM-00-0000"),  # SAS accreditation
        integer(0x90, 0),  # the IPA is in the device
        _iot(card),
    )


def _iot(card: VirtualEuicc) -> bytes:
    """iotSpecificInfo: the SGP.32 version the card implements and, since v1.1, that it knows the fallback mechanism."""
    fallback = b"" if _old(card) else tlv(0x82)
    return tlv(0xB4, tlv(0xA0, tlv(0x04, bytes(_VERSIONS[card.switches.speaks]))), fallback)


def _capabilities() -> bytes:
    """Direct and indirect downloads, over HTTPS that the IPA opens."""
    return tlv(0xA8, bits(0x80, 0, 1), bits(0x81, 0))


def _device_info(card: VirtualEuicc) -> bytes:
    releases = tlv(0x80, bytes((15, 0, 0))) + tlv(0x85, bytes((15, 0, 0)))
    terminal = card.terminal
    imei = b"" if terminal.imei is None else tlv(0x82, terminal.imei)
    return tlv(0xA9, tlv(0x80, terminal.tac), tlv(0xA1, releases), imei)
