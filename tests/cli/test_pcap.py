import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from eim.api_seeing import TraceMessage
from eim.cli.pcap import capture
from tests.protocol import captures

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
REQUEST, RESPONSE = captures.of(7, "request"), captures.of(7, "response")
LONG = captures.of(41, "request") * 3


def message(seconds: float, direction: str, octets: bytes, size: int | None = None) -> TraceMessage:
    at = AT + timedelta(seconds=seconds)
    shown = octets.hex().upper()
    return TraceMessage(UUID(int=1), at, direction, "192.0.2.0/24", size or len(octets), shown)  # type: ignore[arg-type]


EXCHANGES = (
    message(0, "in", REQUEST),
    message(0.01, "out", RESPONSE),
    message(1, "in", LONG),
    message(1.5, "out", bytes.fromhex("BF5002300000"[:10])),
    message(2, "in", captures.of(37, "request")),
)


def packets(file: bytes) -> list[tuple[float, bytes]]:
    """A reader of its own: what libpcap's format says (one file header, then records)."""
    magic, major, minor, _, _, most, link = struct.unpack_from("<IHHiIII", file)
    assert (magic, major, minor, link) == (0xA1B2C3D4, 2, 4, 101)
    found, at = [], 24
    while at < len(file):
        seconds, fraction, size, original = struct.unpack_from("<IIII", file, at)
        assert size == original <= most
        found.append((seconds + fraction / 1e6, file[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def checksum_holds(octets: bytes) -> bool:
    padded = octets + bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def streams(file: bytes) -> dict[tuple[int, int], bytes]:
    """What each port sent to each, put together by sequence number."""
    found: dict[tuple[int, int], bytes] = {}
    for _, packet in packets(file):
        source, target, sequence = struct.unpack_from("!HHI", packet, 20)
        payload = packet[40:]
        if payload:
            assert sequence == 1 + len(found.get((source, target), b""))
            found[source, target] = found.get((source, target), b"") + payload
    return found


def test_each_exchange_is_an_http_post_with_the_octets_that_travelled() -> None:
    sent = streams(capture(EXCHANGES))
    first, answered = sent[49152, 80], sent[80, 49152]
    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /gsma/rsp2/asn1 HTTP/1.1\r\n")
    assert f"Content-Length: {len(REQUEST)}".encode() in head
    assert body == REQUEST
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answered.endswith(b"\r\n\r\n" + RESPONSE)
    assert len(sent) == 6


def test_a_message_without_answer_was_answered_204() -> None:
    assert streams(capture(EXCHANGES))[80, 49154].startswith(b"HTTP/1.1 204 No Content\r\n")


def test_a_long_message_takes_several_packets_and_none_is_lost() -> None:
    file = capture(EXCHANGES)
    assert streams(file)[49153, 80].endswith(LONG)
    assert max(len(packet) for _, packet in packets(file)) <= 1440


def test_a_cut_message_says_so() -> None:
    only = streams(capture([message(0, "in", REQUEST[:10], len(REQUEST))]))[49152, 80]
    assert b"X-Octets-Before-Cut: 21\r\n" in only
    assert b"Content-Length: 10\r\n" in only


def test_lengths_and_checksums_hold() -> None:
    for _, packet in packets(capture(EXCHANGES)):
        assert int.from_bytes(packet[2:4], "big") == len(packet)
        assert checksum_holds(packet[:20])
        pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, len(packet) - 20)
        assert checksum_holds(pseudo + packet[20:])


def test_times_are_those_of_the_messages() -> None:
    times = [at for at, _ in packets(capture(EXCHANGES))]
    assert times[0] == pytest.approx(AT.timestamp())
    assert times == sorted(times)


def test_an_empty_trace_is_a_file_without_packets() -> None:
    assert packets(capture([])) == []


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_sees_http_and_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "trace.pcap"
    file.write_bytes(capture(EXCHANGES))
    fields = ("http.request.method", "http.response.code", "http.content_type", "tcp.analysis.flags")
    words = [word for field in fields for word in ("-e", field)]
    told = subprocess.run(
        ["tshark", "-r", file, "-Y", "http", "-T", "fields", *words, "-o", "tcp.check_checksum:TRUE"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    seen = [line.split("\t") for line in told]
    assert [row[0] or row[1] for row in seen] == ["POST", "200", "POST", "200", "POST", "204"]
    assert [row[2] for row in seen[:5]] == ["application/x-gsma-rsp-asn1"] * 5
    assert {row[3] for row in seen} == {""}, "retransmissions or gaps"
