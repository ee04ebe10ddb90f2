"""One eUICC in one transaction: the row under lock, and what the answer will acknowledge."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from eim.domain.euicc import Speaks
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, TenantId, format_eid
from eim.domain.suspicion import SuspicionRules
from eim.store import Db, associations, audit, events, mailbox
from eim.store.associations import Card


class Visit:
    """Guards the live transaction in which one device's message is taken in.

    `card` is the row as it was read under its lock; steps that change it put a new value here, so that the next
    step of the same message (a result inside a data response) sees it.
    """

    def __init__(self, db: Db, owner: tuple[Bucket, Eid], card: Card, now: datetime, polled: Eid | None) -> None:
        self.db = db
        self.bucket, self.eid = owner
        self.card = card
        self.now = now
        self.polled = polled  # the EID that last polled on the connection of this message
        self.speaks: Speaks | None = card.speaks
        self.acknowledged: list[int] = []
        self.suspicion = SuspicionRules()

    @property
    def tenant(self) -> TenantId:
        return self.card.tenant

    @property
    def on_polling_connection(self) -> bool:
        """Whether this eUICC is the last that polled on the connection its message came on."""
        return self.polled == self.eid

    def acknowledge(self, seq_number: int | None) -> None:
        """The card may forget this one, once the transaction has committed."""
        if seq_number is not None and seq_number not in self.acknowledged:
            self.acknowledged.append(seq_number)

    async def learn_speaks(self, speaks: Speaks) -> None:
        """Its device speaks this version of SGP.32 from now on, as far as we know."""
        await associations.learn_speaks(self.db, self.bucket, self.eid, speaks)
        self.card = msgspec.structs.replace(self.card, speaks=speaks)
        self.speaks = speaks
        await self.reseal()
        await self.audit("euicc.speaks", {"speaks": speaks.value})

    async def reseal(self) -> None:
        """Token, key or version changed: what was sealed with the old one, and not handed out, never goes out."""
        await mailbox.take_back_seals(self.db, self.bucket, self.eid)

    async def record(self, kind: Happening, data: Mapping[str, object]) -> None:
        """An event on the eUICC's timeline."""
        await events.record(self.db, self.bucket, self.eid, self.tenant, kind, data)

    async def audit(self, action: str, data: Mapping[str, object]) -> None:
        """The audit record of what this message changed."""
        await audit.record(
            self.db,
            self.bucket,
            self.tenant,
            actor="device",
            action=action,
            subject=format_eid(self.eid),
            data=data,
        )
