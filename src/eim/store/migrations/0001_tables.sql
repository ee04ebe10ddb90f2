-- 0001_tables.sql: the tables of first light. Device data has the bucket first in every key (design 3.5).
-- Names are unqualified: the schema is the connection's search_path.

-- Reference tables: small, no bucket.
CREATE TABLE tenants (
    id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identities (
    id smallint PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    eim_id text NOT NULL CHECK (length(eim_id) BETWEEN 1 AND 128),
    eim_id_type smallint NOT NULL CHECK (eim_id_type BETWEEN 1 AND 3),
    fqdn text NOT NULL,
    curve text NOT NULL,
    public_key bytea NOT NULL, -- SubjectPublicKeyInfo, DER
    key_name text NOT NULL, -- which key of the worker's key store signs
    initial_counter integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    UNIQUE (tenant, eim_id)
);

CREATE TABLE gates (
    id integer PRIMARY KEY,
    open boolean NOT NULL DEFAULT true
);

CREATE TABLE tokens (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    name text NOT NULL,
    hash bytea NOT NULL UNIQUE, -- SHA-256 of the token
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE requests_seen (
    tenant smallint NOT NULL REFERENCES tenants (id),
    key text NOT NULL,
    control uuid NOT NULL,
    request_hash bytea NOT NULL,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key)
);

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    kind text NOT NULL,
    size integer NOT NULL,
    ordered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
    bucket smallint PRIMARY KEY,
    holder uuid,
    epoch bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE foreign_transactions (
    transaction bytea PRIMARY KEY, -- ids that are not ours, so carry no bucket
    bucket smallint NOT NULL,
    eid bytea NOT NULL
);

CREATE TABLE strays (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    source text NOT NULL,
    digest bytea NOT NULL UNIQUE, -- SHA-256 of the octets: the same stray again is the same row
    octets bytea NOT NULL -- a message that names nobody, kept as it came
);
CREATE INDEX strays_by_age ON strays (received_at);

-- Device data: bucket first.
CREATE TABLE euiccs (
    bucket smallint NOT NULL,
    eid bytea NOT NULL CHECK (length(eid) = 16),
    tenant smallint NOT NULL REFERENCES tenants (id),
    identity smallint NOT NULL REFERENCES identities (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    label text,
    tags text[] NOT NULL DEFAULT '{}',
    introduced_at timestamptz, -- its token is known (or known to be absent): signed packages may be made
    counter integer NOT NULL CHECK (counter BETWEEN 0 AND 8388607), -- the last one allocated
    association_token bigint, -- NULL: none configured, signed as zero
    token_proven boolean NOT NULL DEFAULT false, -- a signed result verified with it
    ordinals bigint NOT NULL DEFAULT 0, -- the last operation's place in the order placed
    packages bigint NOT NULL DEFAULT 0, -- the last package's number
    speaks text, -- NULL: not learnt yet
    signature_form text, -- pinned by the first result that verified
    signature_coding text,
    unverifiable boolean NOT NULL DEFAULT false, -- an operator says: this card can't sign
    euicc_certificate bytea,
    eum_certificate bytea,
    curve text,
    public_key bytea, -- 65 octets: the point of the certificate
    ci_key_id bytea, -- SKI of the root that the chain led to
    capabilities jsonb NOT NULL DEFAULT '{}',
    highest_seq bigint,
    last_seen_at timestamptz,
    plmn bytea,
    inventory_at timestamptz,
    PRIMARY KEY (bucket, eid)
);
CREATE INDEX euiccs_listed ON euiccs (tenant, created_at, eid);

CREATE TABLE profiles (
    bucket smallint NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    iccid bytea NOT NULL CHECK (length(iccid) = 10),
    state text NOT NULL,
    isdp_aid bytea,
    nickname text,
    service_provider text,
    name text,
    profile_class smallint,
    fallback boolean NOT NULL DEFAULT false,
    ppr bytea,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, eid, iccid),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE
);
CREATE INDEX profiles_by_iccid ON profiles (iccid);

CREATE TABLE operations (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    identity smallint NOT NULL,
    order_id uuid, -- the request that placed it; NULL: the eIM's own
    ordinal bigint NOT NULL, -- its place among this eUICC's operations
    kind text NOT NULL,
    iccid bytea,
    rollback boolean NOT NULL DEFAULT false,
    tag_list bytea, -- of a data request; NULL: the default of what the device speaks
    priority smallint NOT NULL DEFAULT 100,
    gate integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'accepted',
    doubt text, -- why it is (or was) in doubt: withdrawn, expired, replay, unsigned
    outcome jsonb, -- what ended it: reason, the card's codes, how it was resolved, late or not
    not_before timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    ordered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    handed_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (bucket, id),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE,
    UNIQUE (bucket, eid, ordinal)
);
CREATE INDEX operations_due ON operations (bucket, eid, priority, ordinal) WHERE state = 'accepted';
CREATE INDEX operations_open ON operations (bucket, eid) WHERE state IN ('sealed', 'out', 'in_doubt');
CREATE INDEX operations_expiring ON operations (bucket, expires_at) WHERE state IN ('accepted', 'sealed', 'out') AND expires_at IS NOT NULL;
CREATE INDEX operations_listed ON operations (tenant, created_at, id);
CREATE INDEX operations_of_order ON operations (order_id, state) WHERE order_id IS NOT NULL;

-- Every package ever sealed, so an (EID, counter) can never carry two octet strings and a late result finds its own.
CREATE TABLE packages (
    bucket smallint NOT NULL,
    eid bytea NOT NULL,
    number bigint NOT NULL, -- the order in which they go out
    operation uuid NOT NULL,
    identity smallint NOT NULL,
    counter integer, -- NULL: a data request, which is not signed
    transaction bytea, -- eimTransactionId; NULL: a v1.0.1 data request has no place for one
    token bigint, -- the association token it was signed with
    speaks text NOT NULL,
    sealed bytea NOT NULL, -- one complete BF51 or BF52 TLV
    gate integer NOT NULL,
    not_before timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting', -- waiting, head, ended, dead (unsealed before it went out)
    sealed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, eid, number),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE,
    UNIQUE (bucket, eid, counter)
);
CREATE INDEX packages_by_transaction ON packages (bucket, transaction);
CREATE INDEX packages_waiting ON packages (bucket, eid, number) WHERE state = 'waiting';

-- The head: what is out, or would go out next. One row an eUICC, made with it.
CREATE TABLE mailbox (
    bucket smallint NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    number bigint,
    operation uuid,
    counter integer,
    sealed bytea, -- NULL: nothing waits
    gate integer NOT NULL DEFAULT 1,
    not_before timestamptz NOT NULL DEFAULT now(),
    handed_at timestamptz,
    deliveries integer NOT NULL DEFAULT 0,
    highest_handed integer NOT NULL DEFAULT 0, -- a seal whose counter is not above this is dead
    PRIMARY KEY (bucket, eid),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE
);

-- What cards sent back, as it came.
CREATE TABLE results (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    digest bytea NOT NULL, -- SHA-256 of `octets`: the same result again is the same row
    octets bytea NOT NULL, -- the BF51 / BF52 / BF54 / error TLV as received
    kind text NOT NULL, -- result, errorSigned, errorUnsigned, data, dataError, trigger, responseError
    operation uuid,
    transaction bytea,
    counter integer,
    seq_number bigint,
    verdict text NOT NULL, -- verified, unverified, refused, unsigned, unverifiable, foreign
    form text,
    coding text,
    late boolean NOT NULL DEFAULT false,
    note text,
    PRIMARY KEY (bucket, id),
    UNIQUE (bucket, eid, digest)
);
CREATE INDEX results_of_eid ON results (bucket, eid, received_at);

CREATE TABLE notifications (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    digest bytea NOT NULL,
    octets bytea NOT NULL, -- BF37, 30, A0 or A1 as received; forwarded verbatim
    seq_number bigint,
    event text,
    address text,
    iccid bytea,
    state text NOT NULL DEFAULT 'stored', -- stored; delivered and refused come with the relay
    PRIMARY KEY (bucket, id),
    UNIQUE (bucket, eid, digest)
);

-- What the device role asks of a worker: it may not make operations itself.
CREATE TABLE requests (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    kind text NOT NULL, -- audit (list its profiles), recover (clear a doubt), introduce (ask for its data), reseal
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, id)
);
CREATE INDEX requests_of_eid ON requests (bucket, eid);

-- The timeline, and the outbox: what leaves us (webhooks, streams) reads these rows, each subscriber with its own place.
CREATE TABLE events (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX events_of_eid ON events (bucket, eid, at);

-- INSERT-only. Linking by hash comes with the operator's issue.
CREATE TABLE audit (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    tenant smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL, -- token:<name>, device, worker, setup
    action text NOT NULL,
    subject text NOT NULL, -- an EID, an operation id, a token's name
    data jsonb NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX audit_of_subject ON audit (bucket, subject, at);

INSERT INTO tenants (id, name) VALUES (1, 'default');
INSERT INTO gates (id, open) VALUES (1, true);
