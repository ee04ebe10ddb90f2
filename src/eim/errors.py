"""Everything this package raises on purpose. `code` is public: documented, stable, never reused."""

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID


class EimError(Exception):
    """The root. Raise one of the three kinds below, never this."""

    code: ClassVar[str] = "internal"


class Refused(EimError):
    """The caller must change the request: 4xx. The text says what to do and holds no secret."""

    code = "refused"


class PeerFault(EimError):
    """A device or a server broke the protocol: recorded, never retried as it is."""

    code = "peer-fault"


class Unavailable(EimError):
    """Nobody's fault, try again later: 503 and Retry-After."""

    code = "unavailable"


class BadConfiguration(Refused):
    """The configuration can't be used; the text names the setting and what to write instead."""

    code = "bad-configuration"


class InvalidEid(Refused):
    code = "invalid-eid"


class InvalidIccid(Refused):
    code = "invalid-iccid"


class NotFound(Refused):
    """Also what belongs to another tenant: the two are told apart nowhere."""

    code = "not-found"


class Conflict(Refused):
    code = "conflict"


class Forbidden(Refused):
    code = "forbidden"


class Unauthenticated(Refused):
    code = "unauthenticated"


class InvalidRequest(Refused):
    code = "invalid-request"


class UnsupportedMediaType(Refused):
    code = "unsupported-media-type"


class MethodNotAllowed(Refused):
    """The resource exists but has no such verb. `allowed` names those it has."""

    code = "method-not-allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class KeyReused(Conflict):
    """An idempotency key that came before with another request."""

    code = "idempotency-key-reused"


class LimitReached(Conflict):
    """The tenant has as many as it may."""

    code = "limit-reached"


class Unconfirmed(Conflict):
    """An order for many whose count was not repeated. Preview it, then order it with `confirm`."""

    code = "confirmation-needed"


class PreconditionFailed(Refused):
    """If-Match names another version than the one that is there: 412."""

    code = "precondition-failed"


class RateLimited(Refused):
    """This token asks faster than it may: 429. `retry_after` in seconds."""

    code = "rate-limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"this token asks more often than it may: try again in {retry_after} s")
        self.retry_after = retry_after


class Guarded(Refused):
    """An order that would cut a card off. It passes with `force` and a reason."""

    code = "guarded"


class NotInVersion(Refused):
    """The card speaks an older version of SGP.32 than the one that has what is asked of it."""

    code = "not-in-version"


class InvalidCursor(InvalidRequest):
    code = "invalid-cursor"


class InvalidLines(Refused):
    """A list of which some lines can't be taken; nothing of it was. `lines` has one text a bad line."""

    code = "invalid-lines"

    def __init__(self, message: str, lines: Sequence[tuple[int, str]]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class EmptyPackage(Refused):
    code = "empty-package"


class CounterExhausted(Refused):
    """The association's counter is used up (8,388,607): renew the association."""

    code = "counter-exhausted"


class Unworkable(Refused):
    """An operation that can't be prepared for its card. `at` is its bucket and its id; the text says why."""

    code = "unworkable"

    def __init__(self, message: str, at: tuple[int, UUID]) -> None:
        super().__init__(message)
        self.at = at


class KeyUnusable(Refused):
    """A key file that is missing, unreadable, of another curve, or published for tests."""

    code = "key-unusable"


class Malformed(PeerFault):
    """Octets that are no message of the protocol: HTTP 400, and never the decoder's inner text."""

    code = "malformed"


class UntrustedCertificate(PeerFault):
    """A chain that doesn't lead to a configured root by the rules of SGP.22 section 4.5.2.

    `reason` is public and stable: `<who>-<fault>` as `protocol.certificates` lists them.
    """

    code = "untrusted-certificate"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Flooded(PeerFault):
    """So much came for one device that more of it is not kept now."""

    code = "flooded"


class Guessing(PeerFault):
    """Too many EIDs that nobody knows were asked for from one network. `retry_after` in seconds."""

    code = "guessing"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailable(Unavailable):
    code = "database-unavailable"


class Contended(DatabaseUnavailable):
    """Another transaction went first; nothing of ours was written. The same again at once usually succeeds."""

    code = "contended"


class LeaseLost(Unavailable):
    """Another worker has taken the bucket over: what was to be written for it is not."""

    code = "lease-lost"
