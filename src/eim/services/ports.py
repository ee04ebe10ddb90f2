"""What services need from the outside, fulfilled by adapters and joined in `app`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from eim.domain.smdp import Smdp
from eim.domain.webhook import Target
from eim.protocol.esep import Unsealed

Clock = Callable[[], datetime]  # aware, UTC


class Signer(Protocol):
    """Holds one identity's private key."""

    def sign(self, tbs: bytes) -> bytes:
        """ECDSA over SHA-256 of `tbs`, as r || s of 64 octets. Raises KeyUnusable."""
        ...

    def seal(self, eim_id: str, packages: Sequence[Unsealed]) -> list[bytes]:
        """The complete BF51 TLVs in their order, each signed. Raises KeyUnusable."""
        ...


class Keys(Protocol):
    """Finds the key of an identity."""

    def load(self, name: str) -> Signer:
        """The signer of the key called `name`. Raises KeyUnusable."""
        ...


class Cipher(Protocol):
    """Encrypts what the database keeps (design 3.14). `about` names the row: octets of another are refused."""

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Raises KeyUnusable."""
        ...

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Raises KeyUnusable, also when another key sealed it."""
        ...


class Answered(msgspec.Struct, frozen=True):
    """What became of a delivery. `failure` is a few words without anything the other side sent; None: it was taken."""

    failure: str | None
    status: int | None = None  # None: no answer came
    retry_after: float | None = None  # seconds that the receiver asks for
    tried: bool = True  # False: who fails time after time was left alone


class Sender(Protocol):
    """Makes calls to webhooks' receivers."""

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answered:
        """POST once, without following redirects; every failure is an answer."""
        ...


class Es9(Protocol):
    """Calls SM-DP+ servers."""

    def room(self, smdp: Smdp) -> int:
        """How many calls to it make sense now; 0 while it is left alone."""
        ...

    async def handle_notification(self, smdp: Smdp, octets: bytes) -> Answered:
        """Give it one PendingNotification TLV as it is. Safe to repeat; every failure is an answer."""
        ...
