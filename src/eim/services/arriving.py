"""A signed bundle becomes an installation, or a part of one: what is here already stays, unless it is replaced."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final
from uuid import uuid4

import msgspec

from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, IdentityId, TenantId, bucket_of, format_eid, read_eid, with_bucket
from eim.errors import Conflict
from eim.services.bundle import Association, Denial, Euicc, Identity, IdentityKey, Line, Tenant
from eim.services.bundle import Event as PastEvent
from eim.services.onboarding import HIGHEST_COUNTER
from eim.services.tokens import Caller
from eim.store import Db, audit, estate, events
from eim.store.connect import Pool, transaction
from eim.store.estate import Card, Present
from eim.store.events import Event
from eim.store.spreads import DRAWN

_CHUNK: Final = 1_000
_OUT: Final = ("out", "in_doubt")


class Existing(Enum):
    KEPT = "kept"
    REPLACED = "replaced"  # but no counter falls


class Rules(msgspec.Struct, frozen=True):
    counter_margin: int = 1000  # added to every counter: the fleet may have gone on after the export
    existing: Existing = Existing.KEPT


class Arrived(msgspec.Struct, frozen=True):
    added: int
    replaced: int
    kept: int
    exhausted: tuple[str, ...]  # EIDs whose counter has no room for the margin: not imported
    events: int


class _Owner(msgspec.Struct, frozen=True):
    tenant: TenantId
    identity: IdentityId


class Arriving:
    """Writes bundles. Holds the owner's pool: no role of the server may do this, so no request can."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, caller: Caller, lines: Iterable[Line], rules: Rules) -> Arrived:
        """Write a checked bundle, in chunks; the same again after a failure goes on: what is there is kept.

        Raises Conflict for an eimId that is known here with another key.
        """
        done, owners = Arrived(0, 0, 0, (), 0), dict[tuple[str, str], _Owner]()
        cards: list[Euicc] = []
        past: list[PastEvent] = []
        for line in lines:
            match line:
                case Tenant():
                    await self._take_tenant(line)
                case Identity():
                    owners[line.tenant, line.eim_id] = await self._take_identity(line)
                case IdentityKey():
                    await self._take_key(line, owners[line.tenant, line.eim_id])
                case Denial():
                    await self._take_denial(line)
                case Euicc():
                    cards.append(line)
                case PastEvent():
                    past.append(line)
            if len(cards) >= _CHUNK or (cards and past):
                done = await self._take_cards(caller, cards, owners, (rules, done))
                cards.clear()
            if len(past) >= _CHUNK:
                done = await self._take_events(past, owners, done)
                past.clear()
        done = await self._take_cards(caller, cards, owners, (rules, done))
        return await self._take_events(past, owners, done)

    async def _take_tenant(self, tenant: Tenant) -> None:
        async with transaction(self._pool) as db:
            if tenant.name not in await _tenants(db):
                await estate.make_tenant(db, tenant.name, (tenant.most_euiccs, tenant.most_tokens, tenant.orders_a_day))

    async def _take_identity(self, identity: Identity) -> _Owner:
        async with transaction(self._pool) as db:
            tenant = (await _tenants(db))[identity.tenant]
            if await _identity(db, identity) is None:
                values = msgspec.structs.asdict(identity)
                await estate.make_identity(db, tenant, tuple(v for name, v in values.items() if name != "tenant"))
            found = await _identity(db, identity)
        if found is None:
            raise Conflict(f"the identity {identity.eim_id} can't be made here")
        return _Owner(tenant, found)

    async def _take_key(self, key: IdentityKey, owner: _Owner) -> None:
        async with transaction(self._pool) as db:
            values = (key.number, key.key_name, key.curve, key.public_key)
            await estate.add_identity_key(db, owner.identity, owner.tenant, values, (key.loaded, key.lowest))

    async def _take_denial(self, denial: Denial) -> None:
        async with transaction(self._pool) as db:
            named, ident, *values = msgspec.structs.astuple(denial)
            await estate.deny(db, (ident, (await _tenants(db))[named], *values))

    async def _take_cards(
        self,
        caller: Caller,
        cards: Sequence[Euicc],
        owners: Mapping[tuple[str, str], _Owner],
        so_far: tuple[Rules, Arrived],
    ) -> Arrived:
        rules, done = so_far
        ordered = sorted(((bucket_of(eid), eid, card) for card in cards if (eid := read_eid(card.eid))), key=_place)
        async with transaction(self._pool) as db:
            present = await estate.present(db, [(bucket, eid) for bucket, eid, _ in ordered])
            new: list[Card] = []
            exhausted, replaced, kept = list(done.exhausted), done.replaced, done.kept
            for bucket, eid, card in ordered:
                owner, here = owners[card.tenant, card.identity], present.get(eid)
                if here is not None and (rules.existing is Existing.KEPT or here.tenant != owner.tenant):
                    kept += 1
                    continue
                counter = _counter(card, here, rules.counter_margin)
                if counter > HIGHEST_COUNTER:
                    exhausted.append(card.eid)
                    continue
                if here is not None:
                    await estate.remove(db, bucket, eid)
                    replaced += 1
                new.append(_card(bucket, eid, _counted(card), (owner, counter)))
            await estate.add(db, new)
            await _record(db, caller, new)
        added = done.added + len(new) - (replaced - done.replaced)
        return Arrived(added, replaced, kept, tuple(exhausted), done.events)

    async def _take_events(
        self, past: Sequence[PastEvent], owners: Mapping[tuple[str, str], _Owner], done: Arrived
    ) -> Arrived:
        tenants = {tenant: owner.tenant for (tenant, _), owner in owners.items()}
        rows = []
        for each in past:
            eid = read_eid(each.eid)
            bucket = bucket_of(eid)
            named = with_bucket(bucket, (each.id or uuid4()).bytes[-14:])
            rows.append((bucket, named, eid, tenants[each.tenant], each.at, each.kind, dict(each.data)))
        async with transaction(self._pool) as db:
            await estate.add_events(db, rows)
        return msgspec.structs.replace(done, events=done.events + len(rows))


def _place(at: tuple[Bucket, Eid, Euicc]) -> tuple[int, bytes]:
    return at[0], at[1]


async def _tenants(db: Db) -> dict[str, TenantId]:
    return {str(row["name"]): TenantId(int(str(row["id"]))) for row in await estate.tenants(db)}


async def _identity(db: Db, wanted: Identity) -> IdentityId | None:
    """Its id here. Raises Conflict when it has another key: cards would not obey it."""
    for row in await estate.identities(db):
        if (row["tenant"], row["eim_id"]) == (wanted.tenant, wanted.eim_id):
            if row["public_key"] != wanted.public_key:
                raise Conflict(
                    f"eimId {wanted.eim_id} is known here with another key: import into an installation that was "
                    "never started, with the keys of the bundle"
                )
            return IdentityId(int(str(row["id"])))
    return None


def _counter(card: Euicc, here: Present | None, margin: int) -> int:
    return max(card.counter + margin, here.counter if here else 0)


def _counted(card: Euicc) -> Euicc:
    """The card with ordinals that its own counter has reached: what a bulk order drew elsewhere says nothing here."""
    if all(each.ordinal < DRAWN for each in card.open_operations) and card.ordinals < DRAWN:
        return card
    ordered = sorted(card.open_operations, key=lambda each: each.ordinal)
    counted = tuple(msgspec.structs.replace(each, ordinal=place) for place, each in enumerate(ordered, 1))
    return msgspec.structs.replace(card, open_operations=counted, ordinals=len(counted))


def _card(bucket: Bucket, eid: Eid, card: Euicc, placed: tuple[_Owner, int]) -> Card:
    """The rows. What was sealed and never handed out is sealed anew; what may be with the card is put back as it is."""
    owner, counter = placed
    packages = tuple(msgspec.structs.astuple(each) for each in card.out)
    head = next((each for each in card.out if each.number == card.mailbox.number), None)
    carried = (head.number, head.operation, head.counter, head.sealed) if head else (None, None, None, None)
    box = card.mailbox
    return Card(
        bucket=bucket,
        eid=eid,
        tenant=owner.tenant,
        identity=owner.identity,
        euicc=_columns(card, counter),
        tags=card.tags,
        created_at=card.created_at,
        profiles=tuple(msgspec.structs.astuple(each) for each in card.profiles),
        operations=tuple(
            msgspec.structs.astuple(
                each if each.state in _OUT else msgspec.structs.replace(each, state="accepted", handed_at=None)
            )
            for each in card.open_operations
        ),
        packages=packages,
        mailbox=(*carried, box.handed_at if head else None, box.deliveries if head else 0, box.highest_handed),
        keys=msgspec.structs.astuple(_keys(card, counter)),
    )


def _keys(card: Euicc, counter: int) -> Association:
    """A count that was begun with another key rises by as much as the other one."""
    if card.keys.next_counter is None:
        return card.keys
    start = card.keys.next_counter + max(counter - card.counter, 0)
    return msgspec.structs.replace(card.keys, next_counter=start)


def _columns(card: Euicc, counter: int) -> tuple[object, ...]:
    return (
        card.created_at, card.label, list(card.tags), card.group, card.time_zone, card.introduced_at, counter,
        card.association_token, card.token_proven, card.ordinals, card.packages, card.speaks, card.signature_form,
        card.signature_coding, card.unverifiable, card.euicc_certificate, card.eum_certificate, card.curve,
        card.public_key, card.ci_key_id, dict(card.capabilities), card.highest_seq, card.last_seen_at, card.plmn,
        card.inventory_at, card.settings, card.eims, card.eims_at, card.orphaned_at,
        card.quarantined_at, card.quarantine_why,
    )  # fmt: skip


async def _record(db: Db, caller: Caller, cards: Sequence[Card]) -> None:
    for tenant in {card.tenant for card in cards}:
        mine = [card for card in cards if card.tenant == tenant]
        about = {"by": "import"}
        await events.append(
            db, tenant, [Event(each.bucket, each.eid, Happening.EUICC_ONBOARDED, about) for each in mine]
        )
        records = [
            audit.Record(tenant, caller.actor, "euicc.import", format_eid(each.eid), {}, each.bucket) for each in mine
        ]
        await audit.write(db, records)
    await events.hint(db, [card.bucket for card in cards])
