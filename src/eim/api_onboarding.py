"""What travels over `/v1` about files of eUICCs, and about those that call and are not onboarded."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from eim import api


class ImportQuery(api.Request, frozen=True):
    """How a file is read. `counter_margin` is added, once, to each `counter` that is given."""

    counter_margin: Annotated[int, Meta(ge=0, le=8_388_607)] = 1000
    allow_invalid_check_digits: bool = False


class ImportProblem(Struct, frozen=True):
    """Why a line was passed over. Lines count from 1, a heading included."""

    line: int
    code: str
    detail: str


class ImportView(Struct, frozen=True):
    """A file that is, or was, uploaded. Without `finished_at` it runs, or was interrupted: send it again."""

    id: UUID
    records: int
    accepted: int
    refused: int
    by: str
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None
    problems: tuple[ImportProblem, ...]  # the first 100


class ProblemQuery(api.Request, frozen=True):
    after: Annotated[int, Meta(ge=0, le=2**62, description="the last line of the page before")] = 0
    limit: api.Limit = 100


class ImportProblems(Struct, frozen=True):
    """`next` is `after` of the next page; null: there is none."""

    items: tuple[ImportProblem, ...]
    next: int | None


class UnknownQuery(api.Request, frozen=True):
    limit: api.Limit = 100
    cursor: api.Cursor | None = None


class UnknownCaller(Struct, frozen=True):
    """An EID that calls and that nobody onboarded. `source` is the network of its last call."""

    eid: str
    polls: int
    source: str
    first_seen_at: datetime
    last_seen_at: datetime


class UnknownCallers(Struct, frozen=True):
    """Who calls most often comes first. `total` counts at most 10,000, which are kept."""

    total: int
    items: tuple[UnknownCaller, ...]
    next: str | None


class Adoption(api.Request, frozen=True):
    """How unknown callers are onboarded."""

    label: api.Label | None = None
    tags: Annotated[tuple[api.Tag, ...], Meta(max_length=32)] = ()
    group: api.Group | None = None
    identity: api.EimIdText | None = None


class AdoptionOfMany(Adoption, frozen=True):
    """Those named in `eids`; without it all of them, and `confirm` says how many that are."""

    eids: Annotated[tuple[api.EidText, ...], Meta(min_length=1, max_length=10_000)] | None = None
    confirm: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
