"""Requests cut anywhere read the same; what is refused is refused however it is cut."""

import gc
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.web.chunks import is_plain
from eim.web.reading import Reader, Request

FIXED = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Admin-Protocol: y\r\n\r\nhello"
CHUNKED = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
EMPTY = b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"


def read(segments: list[bytes], limit: int = 100) -> list[Request]:
    taken: list[Request] = []
    reader = Reader(taken.append, lambda: None, limit)
    for segment in segments:
        reader.feed(segment)
    return taken


def cut(octets: bytes, places: set[int]) -> list[bytes]:
    at = [0, *sorted(place % len(octets) for place in places), len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(at) if start < end]


@given(
    parts=st.lists(st.sampled_from([FIXED, CHUNKED, EMPTY]), min_size=1, max_size=4),
    places=st.sets(st.integers(0, 600)),
)
def test_requests_cut_anywhere_are_the_same_requests(parts: list[bytes], places: set[int]) -> None:
    taken = read(cut(b"".join(parts), places))
    assert [request.fault for request in taken] == [None] * len(parts)
    expected = {FIXED: (b"/a", b"hello"), CHUNKED: (b"/b", b"hello"), EMPTY: (b"/c", b"")}
    assert [(request.head.target, request.body) for request in taken] == [expected[part] for part in parts]


@given(places=st.sets(st.integers(0, 200)))
def test_a_chunk_extension_is_refused_however_it_is_cut(places: set[int]) -> None:
    (refused,) = read(cut(CHUNKED.replace(b"2\r\nhe", b"2;a=b\r\nhe"), places))
    assert refused.fault is not None
    assert refused.fault.status == 400


@given(octets=st.binary(max_size=300), places=st.sets(st.integers(0, 300)))
def test_no_octets_make_it_raise(octets: bytes, places: set[int]) -> None:
    read(cut(octets, places) if octets else [])
    read(cut(FIXED + octets, places))


@pytest.mark.parametrize("size", [101, 5000])
def test_a_body_beyond_the_limit_is_refused(size: int) -> None:
    announced = FIXED.replace(b"Content-Length: 5", b"Content-Length: %d" % size)
    chunked = CHUNKED.split(b"2\r\nhe")[0] + b"%x\r\n" % size + bytes(size)
    for octets in (announced, chunked):
        (refused,) = read([octets])
        assert refused.fault is not None
        assert refused.fault.status == 413


@pytest.mark.parametrize("step", [1, 100, 100_000])
def test_a_head_without_an_end_is_refused_at_its_limit(step: int) -> None:
    octets = b"POST /a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000
    taken: list[Request] = []
    reader = Reader(taken.append, lambda: None, 100)
    for at in range(0, len(octets), step):
        reader.feed(octets[at : at + step])
    assert [request.fault.status for request in taken if request.fault] == [431]


def test_after_a_refusal_nothing_is_read() -> None:
    taken = read([EMPTY, b"garbage\r\n\r\n", EMPTY])
    assert [request.fault is None for request in taken] == [True, False]


@pytest.mark.parametrize("octets", [b"", EMPTY, FIXED[:40], CHUNKED[:-3], b"garbage\r\n\r\n"])
def test_a_reader_that_was_closed_is_gone_without_the_garbage_collector(octets: bytes) -> None:
    class Reading:
        """As a connection does, it holds its reader and is told what came."""

        def __init__(self) -> None:
            self.reader = Reader(self.take, self.go_on, 100)

        def take(self, request: Request) -> None:
            self.taken = request

        def go_on(self) -> None:
            self.asked = True

    gc.collect()
    gc.disable()
    try:
        one = Reading()
        one.reader.feed(octets)
        one.reader.close()
        one.reader.feed(EMPTY)
        del one
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (b"0\r\n\r\n", True),
        (b"5\r\nhello\r\n0\r\n\r\n", True),
        (b"5;x\r\nhello\r\n0\r\n\r\n", False),
        (b"5\r\nhello\r\n0;x\r\n\r\n", False),
        (b"5\r\nhe;lo\r\n0\r\n\r\n", True),
        (b" 5\r\nhello\r\n0\r\n\r\n", False),
    ],
)
def test_a_chunk_s_head_is_its_size_alone(body: bytes, plain: bool) -> None:
    assert is_plain(body) is plain
