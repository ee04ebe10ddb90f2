"""/v1/euiccs:import: files of any length, onboarded as they come; /v1/imports: how far they are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from starlette.requests import ClientDisconnect, Request

from eim import api, api_onboarding
from eim.errors import EimError, InvalidRequest, NotFound, UnsupportedMediaType
from eim.services.onboarding import CheckDigits
from eim.services.tokens import Caller, Scope
from eim.services.uploads import Terms, Uploads
from eim.store.imports import BadLine, Import
from eim.web.body import BodyUnfinished
from eim.web.endpoints import Call, Endpoint, Reply, Route, endpoint, query_of
from eim.web.records import Format, Read, csv_reader, heading, lines, read_json, records

_PATIENCE_S: Final = 60.0  # for the next piece of a file
_DRAIN_S: Final = 20.0  # that the rest of a refused file is read for: a client that still sends sees no answer
_SHOWN: Final = 100
_CHECK_DIGITS: Final = {True: CheckDigits.IGNORED, False: CheckDigits.REQUIRED}  # by allow_invalid_check_digits


class ImportDesk:
    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    def endpoints(self) -> list[Endpoint]:
        upload = Route(
            "POST",
            "/v1/euiccs:import",
            Scope.EUICCS_WRITE,
            "importEuiccs",
            "Onboard what a file lists.",
            200,
            "/v1/imports/{0.id}",
        )
        one = Route("GET", "/v1/imports/{id}", Scope.EUICCS_READ, "getImport", "How far an import is.")
        bad = Route("GET", "/v1/imports/{id}/problems", Scope.EUICCS_READ, "listImportProblems", "Its bad lines.")
        view, formats = api_onboarding.ImportView, tuple(Format)
        return [
            Endpoint(upload, api.Nothing, api_onboarding.ImportQuery, view, self.upload, formats=formats),
            endpoint(one, api.Nothing, api.Nothing, view, self.read),
            endpoint(bad, api.Nothing, api_onboarding.ProblemQuery, api_onboarding.ImportProblems, self.problems),
        ]

    async def upload(self, request: Request, caller: Caller, _: bytes) -> Reply:
        """The file is the body; the answer comes when all of it was taken."""
        pieces = _pieces(request)
        try:
            done = await self._upload(request, caller, pieces)
            return Reply(done, location=f"/v1/imports/{done.id}")
        except BodyUnfinished:
            raise
        except EimError:
            await _drain(pieces)
            raise

    async def _upload(
        self, request: Request, caller: Caller, pieces: AsyncIterator[bytes]
    ) -> api_onboarding.ImportView:
        kind, query = _format(request), query_of(request, api_onboarding.ImportQuery)
        of = records(pieces, kind)
        terms = Terms(kind.value, _CHECK_DIGITS[query.allow_invalid_check_digits], query.counter_margin)
        read: Read = read_json
        if kind is Format.CSV:
            head = heading(await anext(of, None))
            read = csv_reader(head)
            terms = Terms(terms.format, terms.check_digits, terms.counter_margin, head.columns)
        done = await self._uploads.take(caller, request.headers.get("idempotency-key"), terms, lines(of, read))
        return await self._view(caller, done)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_onboarding.ImportView:
        return await self._view(call.caller, await self._uploads.read(call.caller, _id(call.path["id"])))

    async def problems(self, call: Call[api.Nothing, api_onboarding.ProblemQuery]) -> api_onboarding.ImportProblems:
        of, query = _id(call.path["id"]), call.query
        found = await self._uploads.problems(call.caller, of, query.after, query.limit + 1)
        shown = found[: query.limit]
        goes_on = shown[-1].line if len(found) > query.limit else None
        return api_onboarding.ImportProblems(tuple(map(_problem, shown)), goes_on)

    async def _view(self, caller: Caller, of: Import) -> api_onboarding.ImportView:
        found = await self._uploads.problems(caller, of.id, 0, _SHOWN)
        counts = (of.records, of.accepted, of.refused)
        times = (of.created_at, of.changed_at, of.finished_at)
        return api_onboarding.ImportView(of.id, *counts, of.actor, *times, tuple(map(_problem, found)))


def _problem(line: BadLine) -> api_onboarding.ImportProblem:
    return api_onboarding.ImportProblem(line.line, line.code, line.detail)


def _format(request: Request) -> Format:
    media_type, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    try:
        found = Format(media_type.strip())
    except ValueError:
        raise UnsupportedMediaType(f"send the file as one of these media types: {', '.join(Format)}") from None
    charset = parameters.partition("charset=")[2].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise InvalidRequest(f"the file has to be UTF-8, and its Content-Type says {charset}")
    return found


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no import {text[:64]!r}") from None


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises BodyUnfinished: what was taken before stays taken."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                piece = await anext(stream, None)
        except TimeoutError:
            raise BodyUnfinished(f"no more of the file came for {_PATIENCE_S:g} seconds: send it again") from None
        except ClientDisconnect:
            raise BodyUnfinished("the connection ended before the file did: send it again") from None
        if piece is None:
            return
        yield piece


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass
    except (TimeoutError, BodyUnfinished):
        return
