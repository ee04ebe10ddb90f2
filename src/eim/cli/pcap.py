"""A trace as a capture file: each exchange an HTTP POST over a TCP connection that never was (libpcap format).

Wireshark's dissectors of HTTP and of SGP.32 (by media type) read it like any other capture.
"""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Final

import msgspec

from eim.api_seeing import TraceMessage

_MAGIC: Final = 0xA1B2C3D4  # times in microseconds
_RAW_IP: Final = 101  # no link layer: packets begin with their IP header
_LONGEST: Final = 65_535
_SEGMENT: Final = 1_400  # octets of payload a packet
_DEVICE: Final = IPv4Address("127.0.0.2").packed
_EIM: Final = IPv4Address("127.0.0.1").packed
_FIRST_PORT: Final = 49_152
_PORTS: Final = 16_000
_HTTP: Final = 80
_TTL, _TCP = 64, 6
_FIN, _SYN, _PUSH, _ACK = 0x01, 0x02, 0x08, 0x10
_WINDOW: Final = 65_535
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
_TYPE: Final = "application/x-gsma-rsp-asn1"


class _Exchange(msgspec.Struct, frozen=True):
    asked: TraceMessage
    answer: TraceMessage | None


def capture(messages: Sequence[TraceMessage]) -> bytes:
    """The whole file. A message without an answer of octets was answered by HTTP 204."""
    packets = [
        _record(at, packet) for n, each in enumerate(_exchanges(messages)) for at, packet in _connection(n, each)
    ]
    return struct.pack("<IHHiIII", _MAGIC, 2, 4, 0, 0, _LONGEST, _RAW_IP) + b"".join(packets)


def _exchanges(messages: Sequence[TraceMessage]) -> Iterator[_Exchange]:
    for asked, following in pairwise([*messages, None]):
        if asked is not None and asked.direction == "in":
            answered = following is not None and following.direction == "out"
            yield _Exchange(asked, following if answered else None)


def _connection(number: int, exchange: _Exchange) -> Iterator[tuple[datetime, bytes]]:
    """The packets of one exchange: its beginning, request, answer and end."""
    port, begun = _FIRST_PORT + number % _PORTS, exchange.asked.at
    ended = exchange.answer.at if exchange.answer else begun + _TICK
    device, eim = _Side(_DEVICE, _EIM, port, _HTTP), _Side(_EIM, _DEVICE, _HTTP, port)
    yield begun, device.packet(_SYN, b"")
    yield begun, eim.packet(_SYN | _ACK, b"", device)
    yield begun, device.packet(_ACK, b"", eim)
    for part in _parts(_request(exchange.asked)):
        yield begun, device.packet(_PUSH | _ACK, part, eim)
    for part in _parts(_response(exchange.answer)):
        yield ended, eim.packet(_PUSH | _ACK, part, device)
    yield ended, eim.packet(_FIN | _ACK, b"", device)
    yield ended, device.packet(_FIN | _ACK, b"", eim)
    yield ended, eim.packet(_ACK, b"", device)


class _Side:
    """One end of a connection: guards how far it has come."""

    def __init__(self, source: bytes, target: bytes, port: int, target_port: int) -> None:
        self._addresses = source + target
        self._ports = struct.pack("!HH", port, target_port)
        self.next = 0

    def packet(self, flags: int, payload: bytes, other: "_Side | None" = None) -> bytes:
        """An IP packet of this side, which acknowledges all that `other` has sent."""
        acknowledged = other.next if other else 0
        tcp = self._tcp(flags, acknowledged, payload)
        self.next += len(payload) + bool(flags & (_SYN | _FIN))
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, _TTL, _TCP, 0) + self._addresses
        return head[:10] + _checksum(head) + head[12:] + tcp

    def _tcp(self, flags: int, acknowledged: int, payload: bytes) -> bytes:
        head = self._ports + struct.pack("!IIBBHHH", self.next, acknowledged, 0x50, flags, _WINDOW, 0, 0)
        pseudo = self._addresses + struct.pack("!BBH", 0, _TCP, len(head) + len(payload))
        return head[:16] + _checksum(pseudo + head + payload) + head[18:] + payload


def _record(at: datetime, packet: bytes) -> bytes:
    microseconds = (at - _EPOCH) // _TICK
    return struct.pack("<IIII", *divmod(microseconds, 1_000_000), len(packet), len(packet)) + packet


def _request(message: TraceMessage) -> bytes:
    return _with_body("POST /gsma/rsp2/asn1 HTTP/1.1\r\nHost: eim\r\nX-Admin-Protocol: gsma/rsp/v2.1.0", message)


def _response(message: TraceMessage | None) -> bytes:
    if message is None:
        return b"HTTP/1.1 204 No Content\r\nX-Admin-Protocol: gsma/rsp/v2.1.0\r\n\r\n"
    return _with_body("HTTP/1.1 200 OK\r\nX-Admin-Protocol: gsma/rsp/v2.1.0", message)


def _with_body(head: str, message: TraceMessage) -> bytes:
    """Of a message that was cut, what was kept; how long it was is in a field of its own."""
    body = bytes.fromhex(message.octets)
    cut = f"X-Octets-Before-Cut: {message.size}\r\n" if message.size > len(body) else ""
    return f"{head}\r\n{cut}Content-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _parts(octets: bytes) -> Iterator[bytes]:
    for start in range(0, len(octets), _SEGMENT):
        yield octets[start : start + _SEGMENT]


def _checksum(octets: bytes) -> bytes:
    """The Internet's: ones' complement of the sum of all pairs of octets."""
    padded = octets + bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)
