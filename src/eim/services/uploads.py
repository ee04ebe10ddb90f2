"""A file of eUICCs of any length, onboarded as it arrives: in chunks, each in its own transaction."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.errors import Conflict, InvalidRequest, KeyReused, NotFound
from eim.services.again import again
from eim.services.lines import Problem, check_key
from eim.services.onboarding import Candidate, CheckDigits, Onboarding, Prepared, Rules, place
from eim.services.tokens import Caller
from eim.store import imports
from eim.store.connect import Pool, transaction
from eim.store.imports import Advance, BadLine, Import

CHUNK: Final = 1_000  # records a transaction
_NOTHING: Final = hashlib.sha256().digest()


class Line(msgspec.Struct, frozen=True):
    """One record of a file, and what it says."""

    number: int  # of its first line in the file, from 1
    octets: bytes  # as it came, to know it again
    says: Candidate | str  # a text: why it can't be read


class Terms(msgspec.Struct, frozen=True):
    """How a file is taken. The same file under other terms is another import."""

    format: str
    check_digits: CheckDigits = CheckDigits.REQUIRED
    counter_margin: int = 0
    columns: tuple[str, ...] = ()  # of a CSV file: its heading

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.json.encode(self)).digest()


class Uploads:
    """Takes files in. Holds the operator role's pool, and the service that onboards."""

    def __init__(self, pool: Pool, onboarding: Onboarding) -> None:
        self._pool = pool
        self._onboarding = onboarding

    async def take(self, caller: Caller, key: str | None, terms: Terms, lines: AsyncIterator[Line]) -> Import:
        """Onboard the good lines and write down the bad ones.

        The same again under the same `key` goes on where the last attempt ended; once it is finished it changes
        nothing. Raises KeyReused for another file under a known key, and Conflict while another upload of it runs.
        """
        known = await self._begin(caller, key, terms)
        rules = Rules(terms.check_digits, counter_margin=terms.counter_margin)
        hasher, at, chunk = hashlib.sha256(), 0, list[Line]()
        async for line in lines:
            _add(hasher, line)
            at += 1
            if at == known.records and hasher.digest() != known.digest:
                raise _another_file()
            if at > known.records:
                _refuse_more(known)
                chunk.append(line)
            if len(chunk) == CHUNK:
                await self._take_chunk(caller, known.id, rules, _Chunk(tuple(chunk), at, hasher.digest()))
                chunk.clear()
        if at < known.records:
            raise _another_file()
        if chunk:
            await self._take_chunk(caller, known.id, rules, _Chunk(tuple(chunk), at, hasher.digest()))
        return await self._finish(caller, known.id)

    async def read(self, caller: Caller, of: UUID) -> Import:
        """How far an import is. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await imports.read(db, caller.tenant, of)
        if found is None:
            raise NotFound(f"there is no import {of}")
        return found

    async def problems(self, caller: Caller, of: UUID, after: int, limit: int) -> tuple[BadLine, ...]:
        """The bad lines of an import behind line `after`. Raises NotFound."""
        await self.read(caller, of)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await imports.problems(db, caller.tenant, of, after, limit)

    async def _begin(self, caller: Caller, key: str | None, terms: Terms) -> Import:
        new = uuid4()
        if key is not None:
            check_key(key)
        start = (_NOTHING, caller.actor)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            known = await imports.begin(db, caller.tenant, new, key or str(new), terms.digest, start)
        if known.terms != terms.digest:
            raise _another_file()
        return known

    async def _take_chunk(self, caller: Caller, of: UUID, rules: Rules, chunk: "_Chunk") -> None:
        readable = [line for line in chunk.lines if isinstance(line.says, Candidate)]
        candidates = [line.says for line in readable if isinstance(line.says, Candidate)]
        prepared = await self._onboarding.prepare(candidates, rules)
        await again(lambda: self._write_chunk(caller, of, chunk, _Readable(readable, prepared)))

    async def _write_chunk(self, caller: Caller, of: UUID, chunk: "_Chunk", readable: "_Readable") -> None:
        async with transaction(self._pool, tenant=caller.tenant) as db:
            new, found = await place(db, caller, uuid4(), readable.prepared)
            bad = _bad_lines(chunk.lines, readable.lines, found.all())
            before = chunk.at - len(chunk.lines)
            advance = Advance(before, chunk.at, chunk.digest, len(new), bad)
            if not await imports.advance(db, caller.tenant, of, advance):
                raise Conflict("the same import runs in another upload: wait for it, or end it and send this again")

    async def _finish(self, caller: Caller, of: UUID) -> Import:
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await imports.finish(db, caller.tenant, of)
        return await self.read(caller, of)


class _Chunk(msgspec.Struct, frozen=True):
    lines: tuple[Line, ...]
    at: int  # records up to its end
    digest: bytes


class _Readable(msgspec.Struct, frozen=True):
    lines: Sequence[Line]
    prepared: Prepared


def _add(hasher: "hashlib._Hash", line: Line) -> None:
    hasher.update(len(line.octets).to_bytes(8, "big"))
    hasher.update(line.octets)


def _bad_lines(lines: Sequence[Line], readable: Sequence[Line], found: Sequence[Problem]) -> tuple[BadLine, ...]:
    """What is wrong, by line of the file: what could not be read, and what could not be taken."""
    unread = [BadLine(line.number, InvalidRequest.code, line.says) for line in lines if isinstance(line.says, str)]
    untaken = [BadLine(readable[each.position].number, each.code, each.text) for each in found]
    return tuple(sorted([*unread, *untaken], key=lambda each: each.line))


def _refuse_more(known: Import) -> None:
    if known.finished_at is not None:
        raise _another_file()


def _another_file() -> KeyReused:
    return KeyReused(
        "this Idempotency-Key came before with another file or other options: use a new key for a new file"
    )
