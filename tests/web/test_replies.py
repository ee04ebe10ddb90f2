import pytest

from eim.protocol.esipa import NO_PACKAGE
from eim.web.esipa import MEDIA_TYPE, Answer
from eim.web.replies import Replies, admin_protocol, headers_of


@pytest.mark.parametrize(
    "admin", [b"", b"gsma/rsp/v2.3.0", b"gsma/rsp/v1.2.3\r\nX: y", "gsma/rsp/vé".encode("latin-1")]
)
@pytest.mark.parametrize("size", [0, 1, 9, 10, 300, 70_000])
def test_a_message_is_written_as_any_other_answer_is(admin: bytes, size: int) -> None:
    replies, body = Replies(), bytes(size)
    answer = Answer(200, {"X-Admin-Protocol": admin_protocol(admin)}, body, MEDIA_TYPE)
    for _ in range(2):  # once made, once from what is kept ready
        octets = replies.message(admin, body)
        expected = replies.write(200, headers_of(answer), b"") + body
        assert undated(octets) == undated(expected)


def test_nothing_is_a_message_like_any_other() -> None:
    replies = Replies()
    assert undated(replies.nothing(b"gsma/rsp/v2.3.0")) == undated(replies.message(b"gsma/rsp/v2.3.0", NO_PACKAGE))


def test_what_is_kept_ready_is_told_apart_by_what_was_asked() -> None:
    replies = Replies()
    for number in range(200):  # more than are kept
        admin = b"gsma/rsp/v2.0.%d" % number
        assert b"x-admin-protocol: " + admin + b"\r\n" in replies.message(admin, b"?")
        assert b"x-admin-protocol: " + admin + b"\r\n" in replies.nothing(admin)


def test_the_date_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    replies, clock = Replies(), 1_800_000_000.9
    monkeypatch.setattr("eim.web.replies.time.time", lambda: clock)
    before = replies.message(b"", b"?"), replies.nothing(b"")
    clock += 0.2
    after = replies.message(b"", b"?"), replies.nothing(b"")
    assert all(b"date: Fri, 15 Jan 2027 08:00:00 GMT\r\n" in octets for octets in before)
    assert all(b"date: Fri, 15 Jan 2027 08:00:01 GMT\r\n" in octets for octets in after)


def undated(octets: bytes) -> list[bytes]:
    head, end, body = octets.partition(b"\r\n\r\n")
    return [*(line for line in head.split(b"\r\n") if not line.startswith(b"date: ")), end, body]
