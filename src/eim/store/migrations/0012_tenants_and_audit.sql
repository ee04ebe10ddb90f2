-- 0012_tenants_and_audit.sql: tenants with limits, offboarding, listings that stay quick at a million, and the links
-- that chain audit records. Safe beside the previous release: it adds, and rewrites no row.

-- Limits of a tenant; NULL: none.
ALTER TABLE tenants ADD COLUMN most_euiccs bigint CHECK (most_euiccs >= 0);
ALTER TABLE tenants ADD COLUMN most_tokens integer CHECK (most_tokens >= 1);
ALTER TABLE tenants ADD COLUMN orders_a_day integer CHECK (orders_a_day >= 0);

-- A tenant sees itself and changes nothing. The installation's own tenant manages all of them, but only in a
-- transaction that says so (eim.installation): everywhere else it is a tenant like the others.
DROP POLICY own_tenant ON tenants;
CREATE POLICY own_tenant ON tenants FOR SELECT TO eim_operator
    USING (id = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY installation ON tenants TO eim_operator
    USING (NULLIF(current_setting('eim.tenant', true), '')::smallint = 1
           AND current_setting('eim.installation', true) = 'on');
GRANT INSERT (id, name, most_euiccs, most_tokens, orders_a_day) ON tenants TO eim_operator;
GRANT UPDATE (name, most_euiccs, most_tokens, orders_a_day) ON tenants TO eim_operator;

-- Holds the tenant's row until the transaction ends, so that what a limit counts is counted by one at a time.
CREATE FUNCTION hold_limits() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
    SELECT id FROM tenants WHERE id = NULLIF(current_setting('eim.tenant', true), '')::smallint FOR NO KEY UPDATE
$body$;
REVOKE ALL ON FUNCTION hold_limits() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hold_limits() TO eim_operator;

-- A tenant is given an identity of the installation: the same eimId and key, counters of its own eUICCs. A copy made
-- here, so that the operator role never writes which key signs.
CREATE FUNCTION share_identity(with_tenant smallint, of_eim_id text) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    made smallint;
BEGIN
    IF coalesce(NULLIF(current_setting('eim.tenant', true), ''), '0')::smallint <> 1
       OR current_setting('eim.installation', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'only the installation shares identities' USING ERRCODE = 'insufficient_privilege';
    END IF;
    LOCK TABLE identities IN SHARE ROW EXCLUSIVE MODE; -- ids are counted by one at a time
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name, initial_counter)
    SELECT (SELECT max(a.id) + 1 FROM identities a), with_tenant, i.eim_id, i.eim_id_type, i.fqdn, i.curve,
           i.public_key, i.key_name, i.initial_counter
      FROM identities i WHERE i.tenant = 1 AND i.eim_id = of_eim_id AND i.retired_at IS NULL
    RETURNING id INTO made;
    RETURN made;
END
$body$;
REVOKE ALL ON FUNCTION share_identity(smallint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION share_identity(smallint, text) TO eim_operator;
GRANT UPDATE (retired_at) ON identities TO eim_operator;

-- What was offboarded, with the counter its card will go on from: an eIM that forgets it can't come back.
CREATE TABLE departed (
    bucket smallint NOT NULL,
    eid bytea NOT NULL CHECK (length(eid) = 16),
    tenant smallint NOT NULL REFERENCES tenants (id),
    eim_id text NOT NULL,
    counter integer NOT NULL, -- the last one allocated
    association_token bigint,
    departed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, eid, tenant, eim_id)
);
ALTER TABLE departed ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON departed TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON departed TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT, INSERT ON departed TO eim_operator;
GRANT UPDATE (counter, association_token, departed_at) ON departed TO eim_operator;
GRANT SELECT ON departed TO eim_worker;
GRANT DELETE ON euiccs TO eim_operator;
GRANT DELETE ON requests TO eim_operator;

-- Listings of a million.
CREATE INDEX euiccs_not_introduced ON euiccs (tenant) WHERE introduced_at IS NULL;
CREATE INDEX profiles_by_carrier ON profiles (tenant, service_provider) WHERE state = 'enabled';
CREATE INDEX orders_listed ON orders (tenant, created_at);
CREATE INDEX tokens_of_tenant ON tokens (tenant);
CREATE INDEX audit_listed ON audit (tenant, at, id);
CREATE INDEX audit_of_people ON audit (tenant, actor, at, id) WHERE actor <> 'device' AND actor <> 'worker';

-- The chain of each bucket's audit records (design 3.13). Nobody changes or deletes a link.
CREATE TABLE audit_links (
    bucket smallint NOT NULL,
    seq bigint NOT NULL, -- 1, 2, 3, ...
    audit uuid NOT NULL,
    linked_at timestamptz NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256 over the hash before, the place and the whole record
    PRIMARY KEY (bucket, seq),
    UNIQUE (bucket, audit)
);
-- The control chain: each row signs the heads that changed since the one before.
CREATE TABLE audit_checkpoints (
    seq bigint PRIMARY KEY, -- 1, 2, 3, ...
    at timestamptz NOT NULL,
    heads bytea NOT NULL, -- 42 octets a head: bucket (2), seq (8), hash (32)
    hash bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256 over the hash before, seq, at, heads
    signature bytea NOT NULL -- ECDSA of the checkpoint key over `hash`, r || s
);
GRANT SELECT, INSERT ON audit_links, audit_checkpoints TO eim_worker;
