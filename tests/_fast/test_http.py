"""The usual request, read at once: never with another meaning than the general reader gives it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast.esipa import meet_posted_poll
from eim._fast.http import read_post
from eim._fast.known import Known
from eim.web.esipa import MEDIA_TYPE, admin_protocol, is_asn1
from eim.web.reading import Reader, Request

LIMIT = 100
EID = bytes.fromhex("89049032123451234512345678901235")
BARE = bytes.fromhex("BF4F125A10") + EID
LINE = b"POST /gsma/rsp2/asn1 HTTP/1.1\r\n"
FIELDS = {
    "host": b"Host: eim.example",
    "agent": b"User-Agent: gsma-rsp-ipad/1.2 (x; y)",
    "admin": b"X-Admin-Protocol: gsma/rsp/v2.1.0",
    "type": b"Content-Type: application/x-gsma-rsp-asn1",
    "length": b"Content-Length: 21",
    "kept": b"Connection: Keep-Alive",
}
NAMES = [b"Host", b"hOST", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"X-A",
         b"X-Admin-Protocol", b"Content-Type", b"Content-Length ", b"", b" a", b"X_y", b"x\x00", b"proxy-connection",
         b"Keep-Alive", b"Content-Encoding"]  # fmt: skip
VALUES = [b"21", b" 21", b"021", b"+21", b"21, 21", b"0x15", b"", b"chunked", b"close", b"keep-alive", b" keep-alive ",
          b"100-continue", b"h2c", b"a\tb", b"\xc3\xa9", b"a\x00", b"a\rb", b"gsma/rsp/v2.4.0  ", b"x" * 3000,
          b"application/x-gsma-rsp-asn1", b"application/json", b"upgrade", b"99999", b"999999"]  # fmt: skip


def general(octets: bytes) -> list[Request]:
    taken: list[Request] = []
    Reader(taken.append, lambda: None, LIMIT).feed(octets)
    return taken


def usual(fields: list[bytes], body: bytes = BARE, line: bytes = LINE, end: bytes = b"\r\n") -> bytes:
    return line + b"".join(field + end for field in fields) + end + body


def assert_same_meaning(octets: bytes) -> None:
    read = read_post(octets, LIMIT)
    if read is None:
        return
    body, admin = read
    (request,) = general(octets)
    head = request.head
    assert request.fault is None
    assert (head.method, head.target, request.body) == ("POST", b"/gsma/rsp2/asn1", body)
    assert admin_protocol(head.admin.decode("latin-1")) == admin_protocol(admin.decode("latin-1"))
    assert is_asn1((head.content_type or MEDIA_TYPE.encode()).decode("latin-1"))
    assert head.keep_alive
    assert not head.expects
    assert not head.chunked


some = st.lists(
    st.sampled_from(list(FIELDS.values()))
    | st.builds(lambda name, colon, value: name + colon + value, st.sampled_from(NAMES), st.sampled_from([b":", b": "]),
                st.sampled_from(VALUES)),
    max_size=9,
)  # fmt: skip


@settings(max_examples=3000, deadline=None)
@given(some, st.sampled_from([BARE, b"", BARE + b"x", BARE[:-1]]), st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
def test_what_is_read_at_once_means_the_same_to_the_general_reader(
    fields: list[bytes], body: bytes, end: bytes
) -> None:
    assert_same_meaning(usual(fields, body, end=end))
    assert_same_meaning(usual([*FIELDS.values(), *fields], body, end=end))


@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_one_request_with_octets_changed_means_the_same_too(at: int, new: bytes, gone: int) -> None:
    octets = usual(list(FIELDS.values()))
    at %= len(octets)
    assert_same_meaning(octets[:at] + new + octets[at + gone :])


def read_posted_poll(octets: bytes, limit: int) -> tuple[bytes, bytes] | None:
    """Of an EID that is not known."""
    met = meet_posted_poll(octets, limit, Known(4, 1, 60), 1, 0, 1)
    assert met is None or not met[2]
    return None if met is None else met[:2]


def test_who_polls_and_surely_finds_nothing_is_met_with_one_call() -> None:
    known = Known(4, 1, 60)
    known.note(EID, 1, 1.0, 7)
    known.note_nothing(EID, 1.5)
    known.heard(1.75)
    octets = usual(list(FIELDS.values()))
    assert meet_posted_poll(octets, LIMIT, known, 1, 0.5, 2.0) == (EID, b"gsma/rsp/v2.1.0", True)
    for source, since, now in ((2, 0.5, 2.0), (1, 1.0, 2.0), (1, 0.5, 2.75)):  # elsewhere, too long ago, no beat
        assert meet_posted_poll(octets, LIMIT, known, source, since, now) == (EID, b"gsma/rsp/v2.1.0", False)
    assert meet_posted_poll(octets[:-1], LIMIT, known, 1, 0.5, 2.0) is None
    assert known.hits == 1


def test_the_usual_request_is_read() -> None:
    octets = usual(list(FIELDS.values()))
    assert read_post(octets, LIMIT) == (BARE, b"gsma/rsp/v2.1.0")
    assert read_posted_poll(octets, LIMIT) == (EID, b"gsma/rsp/v2.1.0")
    assert read_posted_poll(usual([FIELDS["host"], FIELDS["length"]]), LIMIT) == (EID, b"")
    assert read_posted_poll(usual([b"host:x", b"CONTENT-LENGTH:21"]), LIMIT) == (EID, b"")


def test_a_poll_that_says_more_is_none_of_an_eid_alone() -> None:
    body = bytes.fromhex("BF4F145A10") + EID + b"\x80\x00"
    octets = usual([FIELDS["host"], b"Content-Length: 23"], body)
    assert read_post(octets, LIMIT) == (body, b"")
    assert read_posted_poll(octets, LIMIT) is None


ELSEWHERE = {
    "two hosts": usual([*FIELDS.values(), FIELDS["host"]]),
    "no host": usual([FIELDS["length"]]),
    "no length": usual([FIELDS["host"]]),
    "two lengths": usual([*FIELDS.values(), FIELDS["length"]]),
    "a length beside chunks": usual([*FIELDS.values(), b"Transfer-Encoding: chunked"]),
    "an expectation": usual([*FIELDS.values(), b"Expect: 100-continue"]),
    "the end of the connection": usual([FIELDS["host"], FIELDS["length"], b"Connection: close"]),
    "an upgrade": usual([*FIELDS.values(), b"Upgrade: h2c"]),
    "a blank before the colon": usual([FIELDS["host"], b"Content-Length : 21"]),
    "a folded line": usual([FIELDS["host"], FIELDS["length"], b"X: a", b" b"]),
    "line feeds alone": usual(list(FIELDS.values()), end=b"\n"),
    "a carriage return alone": usual([*FIELDS.values(), b"X: a\rb"]),
    "another path": usual(list(FIELDS.values()), line=b"POST /gsma/rsp2/asn2 HTTP/1.1\r\n"),
    "another method": usual(list(FIELDS.values()), line=b"PUT /gsma/rsp2/asn1 HTTP/1.1\r\n"),
    "HTTP/1.0": usual(list(FIELDS.values()), line=b"POST /gsma/rsp2/asn1 HTTP/1.0\r\n"),
    "another media type": usual([FIELDS["host"], FIELDS["length"], b"Content-Type: text/plain"]),
    "half of it": usual(list(FIELDS.values()))[:-1],
    "two of them": usual(list(FIELDS.values())) * 2,
    "a body beyond the limit": usual([FIELDS["host"], b"Content-Length: 101"], bytes(101)),
    "very many lines": usual([*FIELDS.values(), *[b"X: y"] * 40]),
    "a long line": usual([*FIELDS.values(), b"X: " + b"y" * 4000]),
    "nothing": b"",
    "the line alone": LINE,
    "the line and one end": LINE + b"\r\n",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_anything_else_is_left_to_the_general_reader(name: str) -> None:
    assert read_post(ELSEWHERE[name], LIMIT) is None
    for end in range(len(ELSEWHERE[name])):
        assert read_post(ELSEWHERE[name][:end], LIMIT) is None or name == "two of them"
