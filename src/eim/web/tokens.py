"""/v1/tokens: make, list, rotate and revoke the tokens of this interface."""

from datetime import timedelta

from eim import api, api_access
from eim.services.tokens import Created, NewToken, Scope, Tokens
from eim.store.tokens import Token
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.operations import uuid_in


class TokenDesk:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def endpoints(self) -> list[Endpoint]:
        admin = Scope.ADMIN
        create = Route("POST", "/v1/tokens", admin, "createToken", "Make a token; it is shown once.", 201)
        page = Route("GET", "/v1/tokens", admin, "listTokens", "The tokens that work.")
        rotate = Route("POST", "/v1/tokens/{id}:rotate", admin, "rotateToken", "Put another in its place.", 201)
        revoke = Route("POST", "/v1/tokens/{id}:revoke", admin, "revokeToken", "End a token at once.")
        return [
            endpoint(create, api_access.NewToken, api.Nothing, api_access.TokenCreated, self.create),
            endpoint(page, api.Nothing, api.Nothing, api_access.TokenList, self.list),
            endpoint(rotate, api_access.Rotation, api.Nothing, api_access.TokenCreated, self.rotate),
            endpoint(revoke, api.Nothing, api.Nothing, api_access.TokenView, self.revoke),
        ]

    async def create(self, call: Call[api_access.NewToken, api.Nothing]) -> api_access.TokenCreated:
        new = NewToken(call.body.name, frozenset(call.body.scopes), call.body.expires_at)
        return created(await self._tokens.create(call.caller, new, call.repeat))

    async def list(self, call: Call[api.Nothing, api.Nothing]) -> api_access.TokenList:
        return api_access.TokenList(tuple(map(_view, await self._tokens.list(call.caller))))

    async def rotate(self, call: Call[api_access.Rotation, api.Nothing]) -> api_access.TokenCreated:
        grace = timedelta(seconds=call.body.grace_s)
        return created(await self._tokens.rotate(call.caller, uuid_in(call.path), grace, call.repeat))

    async def revoke(self, call: Call[api.Nothing, api.Nothing]) -> api_access.TokenView:
        return _view(await self._tokens.revoke(call.caller, uuid_in(call.path)))


def created(made: Created) -> api_access.TokenCreated:
    return api_access.TokenCreated(made.id, made.secret or None)


def _view(token: Token) -> api_access.TokenView:
    return api_access.TokenView(token.id, token.name, token.scopes, token.created_at, token.expires_at)
