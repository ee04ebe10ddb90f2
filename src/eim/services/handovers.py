"""Hand-over between eIMs as an operator decides it: begin, see, confirm, abort. The worker carries it out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.asn1 import sgp32
from eim.asn1.sgp32 import AddInitialEimRequest, EimConfigurationData
from eim.domain.handover import Direction, Proof, Stage, first_stage
from eim.domain.ids import Bucket, Eid, bucket_of, format_eid, read_eid
from eim.errors import Conflict, InvalidRequest, Malformed, NotFound, Unconfirmed
from eim.services.lines import answered_before, remember
from eim.services.tokens import Caller
from eim.store import Db, audit, events
from eim.store import handovers as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.handovers import Card, Handover
from eim.store.orders import Repeat

_REQUEST: Final = b"\xbf\x57"
_NAMED: Final = 5  # EIDs in a refusal
_PAGE: Final = 100


class New(msgspec.Struct, frozen=True):
    """What is to be done with which cards."""

    direction: Direction
    eids: tuple[str, ...]
    reason: str
    configuration: bytes | None = None  # out: the new eIM's EimConfigurationData (30 ..)
    eim_id: str | None = None  # in: of the old one
    proof: Proof = Proof.LISTED
    delete_other: bool = False
    confirm: int | None = None


class Begun(msgspec.Struct, frozen=True):
    id: UUID
    cards: int


class Progress(msgspec.Struct, frozen=True):
    handover: Handover
    stages: Mapping[Stage, int]
    cards: tuple[Card, ...] = ()


class Handovers:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool, confirm_above: int) -> None:
        self._pool = pool
        self._confirm_above = confirm_above

    async def begin(self, caller: Caller, new: New, repeat: Repeat | None) -> Begun:
        """Begin a hand-over of all these cards, or of none.

        Raises InvalidRequest, Conflict for cards that can't be, Unconfirmed, KeyReused.
        """
        ident, eim_id = uuid4(), _eim_id(new)
        at = sorted({(bucket_of(eid), eid) for eid in map(read_eid, new.eids)})
        if new.confirm != len(at) and (new.confirm is not None or len(at) > self._confirm_above):
            raise Unconfirmed(f'this hands {len(at)} eUICCs over: if that is what you want, say "confirm": {len(at)}')
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, ident, Begun)
            if before is not None:
                return before
            now = datetime.now(UTC)
            made = Handover(
                ident,
                new.direction,
                eim_id,
                new.proof,
                new.delete_other,
                len(at),
                new.reason,
                caller.actor,
                now,
                None,
            )
            config = sgp32.encode(_config(new)) if new.direction is Direction.OUT else None
            await rows.insert(db, caller.tenant, made, config)
            added = await rows.add(db, caller.tenant, ident, first_stage(new.direction), at)
            _refuse_missing(at, added)
            about: dict[str, object] = {"direction": new.direction.value, "eimId": eim_id, "euiccs": len(at)}
            await _note(db, caller, ident, "handover.begin", about | {"reason": new.reason})
            await events.hint(db, [bucket for bucket, _ in at])
            done = Begun(ident, len(at))
            await remember(db, caller.tenant, repeat, done)
        return done

    async def list(self, caller: Caller) -> tuple[Progress, ...]:
        """The last hundred, newest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await rows.listed(db, caller.tenant, _PAGE)
            return tuple([Progress(each, await rows.stages(db, caller.tenant, each.id)) for each in found])

    async def read(self, caller: Caller, ident: UUID, stage: Stage | None, limit: int) -> Progress:
        """How it stands, with its first cards (of one stage). Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _read(db, caller, ident)
            counted = await rows.stages(db, caller.tenant, ident)
            return Progress(found, counted, await rows.cards(db, caller.tenant, ident, stage, limit))

    async def confirm(self, caller: Caller, ident: UUID, eids: Sequence[str] | None) -> Progress:
        """Somebody saw these cards (None: all of it) call the other eIM. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _read(db, caller, ident)
            at = await rows.unconfirmed(db, caller.tenant, ident)
            named = {read_eid(eid) for eid in eids} if eids is not None else None
            meant = [(bucket, eid) for bucket, eid in at if named is None or eid in named]
            await rows.confirm(db, caller.tenant, ident, meant)
            await _note(db, caller, ident, "handover.confirm", {"euiccs": len(meant)})
            await events.hint(db, [bucket for bucket, _ in meant])
            return Progress(found, await rows.stages(db, caller.tenant, ident))

    async def abort(self, caller: Caller, ident: UUID, reason: str) -> Progress:
        """Undo what can be: the new eIM is deleted again, unless our own deletion is on its way. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await _read(db, caller, ident)
            await rows.abort(db, caller.tenant, ident)
            await _note(db, caller, ident, "handover.abort", {"reason": reason})
            return Progress(await _read(db, caller, ident), await rows.stages(db, caller.tenant, ident))


def _eim_id(new: New) -> str:
    """The other eIM's, checked."""
    if not new.eids:
        raise InvalidRequest("a hand-over needs at least one EID")
    if new.direction is Direction.IN:
        if new.eim_id is None or new.configuration is not None:
            raise InvalidRequest("taking over needs the eimId of the eIM that has the cards, and no configuration")
        return new.eim_id
    config = _config(new)
    if config.counter is None or config.public_key is None:
        raise InvalidRequest("the configuration of the new eIM needs its public key and its initial counter")
    return config.eim_id


def _config(new: New) -> EimConfigurationData:
    """The new eIM's, alone or as the one in an AddInitialEimRequest. Raises InvalidRequest."""
    if new.configuration is None:
        raise InvalidRequest("giving away needs the configuration of the new eIM: its `eim keys export` file")
    try:
        if new.configuration[:2] != _REQUEST:
            return sgp32.decode(EimConfigurationData, new.configuration)
        (config,) = sgp32.decode(AddInitialEimRequest, new.configuration).configs
    except (Malformed, ValueError) as error:
        raise InvalidRequest(f"that is no configuration of one eIM (30 .. or BF57 ..): {error}") from None
    return config


def _refuse_missing(at: Sequence[tuple[Bucket, Eid]], added: set[Eid]) -> None:
    missing = [format_eid(eid) for _, eid in at if eid not in added]
    if missing:
        some = ", ".join(missing[:_NAMED]) + (" .." if len(missing) > _NAMED else "")
        raise Conflict(
            f"{len(missing)} of these eUICCs are not onboarded, handed over already, or in another hand-over: {some}"
        )


async def _read(db: Db, caller: Caller, ident: UUID) -> Handover:
    found = await rows.read(db, caller.tenant, ident)
    if found is None:
        raise NotFound(f"there is no hand-over {ident}")
    return found


async def _note(db: Db, caller: Caller, ident: UUID, action: str, about: dict[str, object]) -> None:
    await audit.write(db, [Record(caller.tenant, caller.actor, action, str(ident), about)])
