"""/v1/handovers: cards that come from another eIM, or go to one."""

from uuid import UUID

from eim import api, api_handovers
from eim.domain.handover import Direction, Proof, Stage
from eim.domain.ids import format_eid
from eim.errors import NotFound
from eim.services.handovers import Handovers, New, Progress
from eim.services.tokens import Scope
from eim.store.handovers import Card
from eim.web.endpoints import Call, Endpoint, Route, endpoint

_PROOFS = {True: Proof.CONFIRMED, False: Proof.LISTED}  # by after_contact


class HandoverDesk:
    def __init__(self, handovers: Handovers) -> None:
        self._handovers = handovers

    def endpoints(self) -> list[Endpoint]:
        every, one = "/v1/handovers", "/v1/handovers/{id}"
        begin = Route(
            "POST", every, Scope.ADMIN, "beginHandover", "Take cards over, or give them away.", 202, f"{every}/{{0.id}}"
        )
        page = Route("GET", every, Scope.EUICCS_READ, "listHandovers", "The last hundred hand-overs, newest first.")
        read = Route("GET", one, Scope.EUICCS_READ, "getHandover", "How a hand-over stands, card by card.")
        confirm = Route("POST", f"{one}:confirm", Scope.ADMIN, "confirmHandover", "The cards called the other eIM.")
        abort = Route("POST", f"{one}:abort", Scope.ADMIN, "abortHandover", "Undo what can be undone.")
        new, view = api_handovers.NewHandover, api_handovers.HandoverView
        return [
            endpoint(begin, new, api.Nothing, api_handovers.HandoverBegun, self.begin),
            endpoint(page, api.Nothing, api.Nothing, api_handovers.HandoverList, self.page),
            endpoint(confirm, api_handovers.HandoverConfirmation, api.Nothing, view, self.confirm),
            endpoint(abort, api_handovers.HandoverAbort, api.Nothing, view, self.abort),
            endpoint(read, api.Nothing, api_handovers.HandoverQuery, view, self.read),
        ]

    async def begin(self, call: Call[api_handovers.NewHandover, api.Nothing]) -> api_handovers.HandoverBegun:
        body = call.body
        new = New(
            Direction(body.direction),
            body.eids,
            body.reason,
            bytes.fromhex(body.configuration) if body.configuration is not None else None,
            body.eim_id,
            _PROOFS[body.after_contact],
            body.delete_other,
            body.confirm,
        )
        done = await self._handovers.begin(call.caller, new, call.repeat)
        return api_handovers.HandoverBegun(done.id, done.cards)

    async def page(self, call: Call[api.Nothing, api.Nothing]) -> api_handovers.HandoverList:
        return api_handovers.HandoverList(tuple(map(_view, await self._handovers.list(call.caller))))

    async def read(self, call: Call[api.Nothing, api_handovers.HandoverQuery]) -> api_handovers.HandoverView:
        stage = Stage(call.query.stage) if call.query.stage is not None else None
        return _view(await self._handovers.read(call.caller, _id(call.path["id"]), stage, call.query.limit))

    async def confirm(self, call: Call[api_handovers.HandoverConfirmation, api.Nothing]) -> api_handovers.HandoverView:
        return _view(await self._handovers.confirm(call.caller, _id(call.path["id"]), call.body.eids))

    async def abort(self, call: Call[api_handovers.HandoverAbort, api.Nothing]) -> api_handovers.HandoverView:
        return _view(await self._handovers.abort(call.caller, _id(call.path["id"]), call.body.reason))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no hand-over {text}") from None


def _view(progress: Progress) -> api_handovers.HandoverView:
    found = progress.handover
    return api_handovers.HandoverView(
        id=found.id,
        direction=found.direction.value,
        eim_id=found.eim_id,
        after_contact=found.proof is Proof.CONFIRMED,
        delete_other=found.delete_other,
        size=found.size,
        reason=found.reason,
        ordered_by=found.ordered_by,
        created_at=found.created_at,
        aborted_at=found.aborted_at,
        stages={stage.value: many for stage, many in progress.stages.items()},
        cards=tuple(map(_card, progress.cards)),
    )


def _card(card: Card) -> api_handovers.HandoverCard:
    return api_handovers.HandoverCard(
        format_eid(card.eid), card.stage.value, card.operation, card.reason, card.confirmed_at, card.changed_at
    )
