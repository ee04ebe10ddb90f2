"""Identities as an operator sees them: listed with what factories load, and retired. Made at set-up only."""

from collections.abc import Callable

import msgspec

from eim.domain.ids import IdentityId
from eim.errors import Guarded, InvalidRequest, NotFound
from eim.services.tokens import Caller
from eim.store import Db, audit
from eim.store import identities as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.identities import Listed


class Blobs(msgspec.Struct, frozen=True):
    """What a factory loads into cards: two complete TLVs, and sentences about what may be wrong with them."""

    request: bytes | None  # BF57, AddInitialEimRequest; None: it can't be made here
    configuration: bytes | None  # 30, EimConfigurationData
    warnings: tuple[str, ...] = ()


class Shown(msgspec.Struct, frozen=True):
    identity: Listed
    blobs: Blobs


class Retiring(msgspec.Struct, frozen=True):
    reason: str
    force: bool = False  # even when it is the tenant's last one in use


class Identities:
    """Holds the operator role's pool, and what encodes an identity for cards."""

    def __init__(self, pool: Pool, export: Callable[[Listed], Blobs]) -> None:
        self._pool = pool
        self._export = export

    async def list(self, caller: Caller) -> tuple[Shown, ...]:
        """The tenant's identities, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await rows.listed(db, caller.tenant)
        return tuple(map(self._shown, found))

    async def read(self, caller: Caller, identity: IdentityId) -> Shown:
        """Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return self._shown(await _read(db, caller, identity))

    async def configuration(self, caller: Caller, eim_id: str) -> bytes:
        """What a card has to be given so that it obeys our identity `eim_id`: an EimConfigurationData TLV.

        Raises NotFound, and InvalidRequest where it can't be made here.
        """
        for shown in await self.list(caller):
            if shown.identity.eim_id == eim_id and shown.identity.retired_at is None:
                if shown.blobs.configuration is None:
                    raise InvalidRequest(
                        f"the configuration of {eim_id} can't be made here: give the one that `eim keys export` makes"
                    )
                return shown.blobs.configuration
        raise NotFound(f"there is no identity {eim_id} in use: see `eim keys list`")

    async def retire(self, caller: Caller, identity: IdentityId, retiring: Retiring) -> Shown:
        """Associate no new eUICC with it; those that are stay. Raises NotFound, and Guarded for the last one."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _read(db, caller, identity)
            if found.retired_at is None:
                others = [i for i in await rows.listed(db, caller.tenant) if i.retired_at is None and i.id != identity]
                if not others and not retiring.force:
                    raise Guarded(
                        f"{found.eim_id} is the last identity in use, without it no eUICC can be onboarded: "
                        "make another first, or force it"
                    )
                await rows.retire(db, caller.tenant, identity)
                about: dict[str, object] = {"reason": retiring.reason, "force": retiring.force}
                await audit.write(db, [Record(caller.tenant, caller.actor, "identity.retire", found.eim_id, about)])
            return self._shown(await _read(db, caller, identity))

    def _shown(self, identity: Listed) -> Shown:
        return Shown(identity, self._export(identity))


def no_blobs(_: Listed) -> Blobs:
    """For an operator role that can't read what devices are told of our TLS."""
    return Blobs(None, None, ("what a factory loads is given by `eim keys export` on the machine that has the keys",))


async def _read(db: Db, caller: Caller, identity: IdentityId) -> Listed:
    found = await rows.read(db, caller.tenant, identity)
    if found is None:
        raise NotFound(f"there is no identity {identity}")
    return found
