"""Two cards under one EID: what a cloned or forged card looks like to an eIM."""

from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Journal
from eim.sim.pki import Pki


def copy_of(card: VirtualEuicc, journal: Journal) -> VirtualEuicc:
    """A card with the same key, profiles and eIMs as `card` has now; from here on each goes its own way.

    Give it a journal of its own: one journal takes both for one card that executes packages twice.
    """
    copied = VirtualEuicc(card.credentials, card.state.profiles, journal, card.switches, card.next_seq)
    copied.state, copied.associations = card.state, card.associations
    return copied


def forgery_of(card: VirtualEuicc, maker: Pki, journal: Journal) -> VirtualEuicc:
    """A card that says it is `card` and knows its eIMs, with another key and a certificate that `maker` signed."""
    issue = 1  # of the card itself it is 0
    forged = VirtualEuicc(maker.credentials(card.eid, issue), card.state.profiles, journal, card.switches)
    forged.state, forged.associations = card.state, card.associations
    return forged
