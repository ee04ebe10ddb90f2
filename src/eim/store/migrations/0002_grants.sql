-- 0002_grants.sql: what each role of the product may do (design 1). The schema's USAGE is granted by migrate.
-- The device role faces the internet: it can't make an operation, a package or sealed octets.

-- The head of a mailbox is a copy of a row of `packages`, made here and nowhere else by the device role. Its rights
-- are the owner's, its search_path is fixed to the schema it was made in.
CREATE FUNCTION move_up(of_bucket smallint, of_eid bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    former bigint;
    next packages%ROWTYPE;
BEGIN
    SELECT m.number INTO former FROM mailbox m WHERE m.bucket = of_bucket AND m.eid = of_eid FOR UPDATE;
    -- One package out per eUICC: a head that nobody ended or unsealed stays.
    IF EXISTS (SELECT 1 FROM packages p
                WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = former AND p.state = 'head') THEN
        RAISE EXCEPTION 'package % is still the head: end it first', former USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT p.* INTO next FROM packages p
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.state = 'waiting'
     ORDER BY p.number LIMIT 1;
    UPDATE mailbox m
       SET number = next.number, operation = next.operation, counter = next.counter, sealed = next.sealed,
           gate = coalesce(next.gate, m.gate), not_before = coalesce(next.not_before, m.not_before),
           handed_at = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid;
    UPDATE packages p SET state = 'head'
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = next.number;
    RETURN next.number IS NOT NULL;
END
$body$;
REVOKE ALL ON FUNCTION move_up(smallint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION move_up(smallint, bytea) TO eim_device, eim_worker;

-- A token names its tenant, so it is looked up before the tenant is known: by its hash only, one row at most.
CREATE FUNCTION find_token(of_hash bytea) RETURNS SETOF tokens
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
    SELECT * FROM tokens WHERE hash = of_hash
$body$;
REVOKE ALL ON FUNCTION find_token(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_token(bytea) TO eim_operator;

-- All three: what they are, and which schema this is.
GRANT SELECT ON schema_migrations, identities, gates TO eim_device, eim_operator, eim_worker;
-- The records nobody may change.
GRANT INSERT ON audit TO eim_device, eim_operator, eim_worker;
GRANT SELECT ON audit TO eim_operator, eim_worker;

-- Device.
GRANT SELECT ON euiccs, profiles, operations, packages, mailbox, results, notifications, requests, events,
    foreign_transactions, strays TO eim_device;
GRANT UPDATE (introduced_at, association_token, token_proven, speaks, signature_form, signature_coding,
    euicc_certificate, eum_certificate, curve, public_key, ci_key_id, capabilities, highest_seq, last_seen_at, plmn,
    inventory_at) ON euiccs TO eim_device;
GRANT INSERT, UPDATE, DELETE ON profiles TO eim_device;
GRANT UPDATE (state, doubt, outcome, not_before, handed_at, ended_at) ON operations TO eim_device;
GRANT UPDATE (state) ON packages TO eim_device;
GRANT UPDATE (handed_at, deliveries, highest_handed) ON mailbox TO eim_device;
GRANT INSERT ON results, notifications, requests, events TO eim_device;
GRANT UPDATE (verdict, form, coding) ON results TO eim_device; -- a stored result is verified when its certificate comes
GRANT INSERT, DELETE ON strays TO eim_device; -- a bounded number is kept

-- Operator. It reads neither sealed octets nor association tokens of packages, and writes none.
GRANT SELECT ON tenants, orders, euiccs, profiles, operations, results, notifications, requests, events
    TO eim_operator;
GRANT SELECT (bucket, eid, number, operation, identity, counter, transaction, speaks, gate, not_before, state,
    sealed_at) ON packages TO eim_operator;
GRANT SELECT (bucket, eid, tenant, number, operation, counter, gate, not_before, handed_at, deliveries,
    highest_handed) ON mailbox TO eim_operator;
GRANT SELECT, INSERT ON tokens TO eim_operator;
GRANT UPDATE (name, scopes, expires_at, revoked_at) ON tokens TO eim_operator;
GRANT SELECT, INSERT, DELETE ON requests_seen TO eim_operator;
GRANT UPDATE (answer) ON requests_seen TO eim_operator;
GRANT INSERT ON orders, euiccs, operations, requests, events TO eim_operator;
GRANT UPDATE (label, tags, unverifiable, ordinals) ON euiccs TO eim_operator;
GRANT UPDATE (state, doubt, outcome, priority, not_before, expires_at, ended_at) ON operations TO eim_operator;
GRANT INSERT (bucket, eid, tenant) ON mailbox TO eim_operator; -- the empty head of a new eUICC

-- Worker: it holds the signing key.
GRANT SELECT ON tenants, orders, leases, euiccs, profiles, operations, packages, mailbox, results, notifications,
    requests, events, foreign_transactions, strays, requests_seen TO eim_worker;
GRANT INSERT ON identities, gates TO eim_worker;
GRANT UPDATE (fqdn, retired_at) ON identities TO eim_worker;
GRANT UPDATE (open) ON gates TO eim_worker;
GRANT UPDATE (holder, epoch, expires_at) ON leases TO eim_worker;
GRANT UPDATE (identity, counter, ordinals, packages, introduced_at, association_token, token_proven, speaks,
    signature_form, signature_coding, euicc_certificate, eum_certificate, curve, public_key, ci_key_id, capabilities,
    highest_seq, last_seen_at, plmn, inventory_at) ON euiccs TO eim_worker;
GRANT INSERT, UPDATE, DELETE ON profiles TO eim_worker;
GRANT INSERT ON operations, packages, requests, events TO eim_worker;
GRANT UPDATE (state, doubt, outcome, gate, priority, not_before, expires_at, handed_at, ended_at) ON operations
    TO eim_worker;
GRANT UPDATE (state) ON packages TO eim_worker; -- octets once sealed never change
GRANT UPDATE (number, operation, counter, sealed, gate, not_before, handed_at, deliveries, highest_handed) ON mailbox
    TO eim_worker;
GRANT UPDATE (operation, verdict, form, coding, late, note) ON results TO eim_worker;
GRANT UPDATE (state) ON notifications TO eim_worker;
GRANT DELETE ON requests, requests_seen, strays TO eim_worker;
GRANT INSERT, DELETE ON foreign_transactions TO eim_worker;
