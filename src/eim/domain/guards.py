"""What may not be ordered without an explicit word: changes that would cut a card off (SGP.32 section 3.4)."""

from collections.abc import Sequence

from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Iccid, format_iccid
from eim.domain.operation import Kind
from eim.errors import Guarded, NotFound


def choose(profiles: Sequence[Profile], service_provider: str) -> Iccid:
    """The one profile of this service provider on the card. Raises NotFound when there is none, or several."""
    found = [profile.iccid for profile in profiles if profile.service_provider == service_provider]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(format_iccid(iccid) for iccid in found)
        raise NotFound(
            f"{len(found)} profiles are of service provider {service_provider!r}: name one of the ICCIDs {names}"
        )
    raise NotFound(f"no profile of service provider {service_provider!r} is known on this card: see its profiles")


def refuse_cutting_off(kind: Kind, iccid: Iccid, profiles: Sequence[Profile] | None) -> None:
    """Let pass what leaves the card reachable, as far as we know it; profiles None: not known yet.

    Raises Guarded for deleting the enabled profile, and for disabling without another one enabled.
    """
    enabled = {profile.iccid for profile in profiles or () if profile.state is ProfileState.ENABLED}
    if kind is Kind.DELETE and iccid in enabled:
        raise Guarded(f"profile {format_iccid(iccid)} is enabled: enable another one first, or force it with a reason")
    if kind is not Kind.DISABLE:
        return
    if profiles is None:
        raise Guarded("the profiles of this card are not known yet: list them first, or force it with a reason")
    if iccid in enabled and len(enabled) == 1:
        raise Guarded(
            f"without profile {format_iccid(iccid)} no profile of this card is enabled and it can't call again: "
            "enable another one instead, or force it with a reason"
        )
