"""/v1/tokens: make and revoke the tokens of this interface."""

from eim import api
from eim.services.tokens import NewToken, Scope, Tokens
from eim.store.tokens import Token
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.operations import uuid_in


class TokenDesk:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def endpoints(self) -> list[Endpoint]:
        create = Route("POST", "/v1/tokens", Scope.ADMIN, "createToken", "Make a token; it is shown once.", 201)
        page = Route("GET", "/v1/tokens", Scope.ADMIN, "listTokens", "The tokens that work.")
        revoke = Route("POST", "/v1/tokens/{id}:revoke", Scope.ADMIN, "revokeToken", "End a token at once.")
        return [
            endpoint(create, api.NewToken, api.Nothing, api.TokenCreated, self.create),
            endpoint(page, api.Nothing, api.Nothing, api.TokenList, self.list),
            endpoint(revoke, api.Nothing, api.Nothing, api.TokenView, self.revoke),
        ]

    async def create(self, call: Call[api.NewToken, api.Nothing]) -> api.TokenCreated:
        scopes = frozenset(Scope(scope) for scope in call.body.scopes)
        made = await self._tokens.create(call.caller, NewToken(call.body.name, scopes, call.body.expires_at))
        return api.TokenCreated(made.id, made.secret)

    async def list(self, call: Call[api.Nothing, api.Nothing]) -> api.TokenList:
        return api.TokenList(tuple(map(_view, await self._tokens.list(call.caller))))

    async def revoke(self, call: Call[api.Nothing, api.Nothing]) -> api.TokenView:
        return _view(await self._tokens.revoke(call.caller, uuid_in(call.path)))


def _view(token: Token) -> api.TokenView:
    return api.TokenView(token.id, token.name, token.scopes, token.created_at, token.expires_at)
