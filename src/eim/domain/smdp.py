"""SM-DP+ servers: how an address names one, and what an operator says of one (SGP.22 sections 2.6.6, 5.6)."""

from enum import StrEnum

import msgspec

from eim.domain.webhook import Network, Reach, Target, read_target
from eim.errors import InvalidRequest


class Binding(StrEnum):
    """How messages travel on ES9+ (SGP.22 sections 6.5, 6.6)."""

    JSON = "json"
    ASN1 = "asn1"


class RootsOf(StrEnum):
    """Whose certificates the server's TLS certificate has to lead to."""

    GSMA = "gsma"  # the CI roots of the configuration (trust.roots), and the role of an SM-DP+
    GSMA_BRAINPOOL = "gsma-brainpool"  # the same over brainpoolP256r1, which TLS has to be told beforehand
    WEB = "web"  # those this machine trusts, and `notifications.trust`


class Smdp(msgspec.Struct, frozen=True):
    """What calls to one server need."""

    address: str  # canonical
    binding: Binding = Binding.JSON
    roots: RootsOf = RootsOf.GSMA
    networks: tuple[Network, ...] = ()  # that it may lie in although they are not public
    protocol: str = "2.1.0"  # of SGP.22, as X-Admin-Protocol says it

    @property
    def target(self) -> Target:
        """Where it is."""
        return read_target(f"https://{self.address}/")

    @property
    def reach(self) -> Reach:
        return Reach(self.networks)


def canonical(address: str) -> str | None:
    """`host` or `host:port` in one spelling: lower case, without the port 443. None when it names no host.

    Cards write it as the profile's maker did: with a port or without, in any case (SGP.32 section 3.7).
    """
    if not address or any(c in address for c in "/?#@"):
        return None
    try:
        return read_target(f"https://{address.removesuffix('.')}/").authority
    except InvalidRequest:
        return None
