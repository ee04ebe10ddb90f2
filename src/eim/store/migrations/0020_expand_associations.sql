-- 0020_expand_associations.sql: keys that follow each other, counters that begin anew, and cards that change their eIM.
-- Safe beside the previous release: constant defaults rewrite no row, and it goes on signing with the first key, which
-- is right for every card until one is moved (docs/keys-and-trust.md: rotate when the last worker is upgraded).

-- The keys of an identity after its first one, which is in `identities` and has the number 0.
CREATE TABLE identity_keys (
    identity smallint NOT NULL REFERENCES identities (id),
    number smallint NOT NULL CHECK (number > 0),
    tenant smallint NOT NULL REFERENCES tenants (id),
    key_name text NOT NULL, -- which key of the worker's key store signs
    curve text NOT NULL,
    public_key bytea NOT NULL, -- SubjectPublicKeyInfo, DER
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (identity, number),
    UNIQUE (identity, public_key)
);
ALTER TABLE identities ADD COLUMN key_number smallint NOT NULL DEFAULT 0; -- the key that new eUICCs are loaded with
ALTER TABLE identities ADD COLUMN lowest_key smallint NOT NULL DEFAULT 0; -- those below are retired
ALTER TABLE identity_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON identity_keys TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON identity_keys TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT ON identity_keys TO eim_device, eim_operator, eim_worker;
GRANT INSERT ON identity_keys TO eim_worker;
GRANT UPDATE (key_number, lowest_key) ON identities TO eim_operator;

-- One eUICC's association as it changes. `counter` and `key_number` are what holds; `next_..` is what an updateEim that
-- is under way would make of them.
ALTER TABLE euiccs ADD COLUMN key_number smallint NOT NULL DEFAULT 0; -- of the identity: the key that the card obeys
ALTER TABLE euiccs ADD COLUMN next_key smallint; -- the key that the last updateEim of ours gives it
ALTER TABLE euiccs ADD COLUMN next_counter integer; -- its new count, where one begins; NULL: the old one goes on
ALTER TABLE euiccs ADD COLUMN trial_key smallint; -- while its updateEim is in doubt: which of both is tried
ALTER TABLE euiccs ADD COLUMN association smallint NOT NULL DEFAULT 0; -- rises where the count begins anew
ALTER TABLE euiccs ADD COLUMN counter_alarmed_at timestamptz; -- above 90 % of the ceiling, and said so
ALTER TABLE euiccs ADD COLUMN former_token bigint; -- the token before the one on trial
ALTER TABLE euiccs ADD COLUMN token_on_trial boolean NOT NULL DEFAULT false; -- reported, and proven by no signature yet
ALTER TABLE euiccs ADD COLUMN resyncs smallint NOT NULL DEFAULT 0; -- tries to meet the card's counter since it took one
ALTER TABLE euiccs ADD COLUMN stalled text; -- why nothing is signed for it, until an operator does something
ALTER TABLE euiccs ADD COLUMN stalled_at timestamptz;
ALTER TABLE euiccs ADD COLUMN handed_over_at timestamptz; -- another eIM has it: the row stays, no work goes out
CREATE INDEX euiccs_by_key ON euiccs (identity, key_number);

ALTER TABLE packages ADD COLUMN key_number smallint NOT NULL DEFAULT 0; -- the key it was signed with
ALTER TABLE packages ADD COLUMN association smallint NOT NULL DEFAULT 0; -- whose count `counter` belongs to
CREATE UNIQUE INDEX packages_by_counter ON packages (bucket, eid, association, counter);
ALTER TABLE packages DROP CONSTRAINT packages_bucket_eid_counter_key;

GRANT UPDATE (former_token, token_on_trial, resyncs) ON euiccs TO eim_device;
GRANT UPDATE (key_number, next_key, next_counter, trial_key, association, counter_alarmed_at, former_token,
    token_on_trial, resyncs, stalled, stalled_at, handed_over_at) ON euiccs TO eim_worker;
GRANT UPDATE (next_key, next_counter, stalled, stalled_at, resyncs) ON euiccs TO eim_operator;

-- What was sealed with a token, key or version that no longer holds never goes out: who learns that takes it back in
-- the same transaction. The device role writes no octets, so it takes back here only. Lock the eUICC before.
CREATE FUNCTION take_back_seals(of_bucket smallint, of_eid bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    out_since timestamptz;
    out_with uuid;
BEGIN
    SELECT m.handed_at, m.operation INTO out_since, out_with FROM mailbox m
     WHERE m.bucket = of_bucket AND m.eid = of_eid FOR UPDATE;
    UPDATE packages p SET state = 'dead'
     WHERE p.bucket = of_bucket AND p.eid = of_eid
       AND (p.state = 'waiting' OR p.state = 'head' AND out_since IS NULL);
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = of_bucket AND o.eid = of_eid AND o.state = 'sealed'
       AND (out_since IS NULL OR o.id IS DISTINCT FROM out_with);
    UPDATE mailbox m SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid AND out_since IS NULL;
END
$body$;
REVOKE ALL ON FUNCTION take_back_seals(smallint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_back_seals(smallint, bytea) TO eim_device, eim_worker;

-- A card has proven which of two keys it obeys: the one that an updateEim of ours was to give it, and no other can be
-- put there. True when that was under way. Lock the eUICC before.
CREATE FUNCTION turn_key(of_bucket smallint, of_eid bytea, to_key smallint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
BEGIN
    UPDATE euiccs e
       SET key_number = e.next_key,
           counter = coalesce(e.next_counter, e.counter),
           association = e.association + CASE WHEN e.next_counter IS NULL THEN 0 ELSE 1 END,
           counter_alarmed_at = CASE WHEN e.next_counter IS NULL THEN e.counter_alarmed_at END,
           stalled = NULL, stalled_at = NULL, resyncs = 0,
           next_key = NULL, next_counter = NULL, trial_key = NULL
     WHERE e.bucket = of_bucket AND e.eid = of_eid AND e.next_key = to_key;
    RETURN FOUND;
END
$body$;
-- The other way round: it still obeys the old one. A count that was begun for the new one is not used again.
CREATE FUNCTION keep_key(of_bucket smallint, of_eid bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
BEGIN
    UPDATE euiccs e
       SET association = e.association + CASE WHEN e.next_counter IS NULL THEN 0 ELSE 2 END,
           next_key = NULL, next_counter = NULL, trial_key = NULL
     WHERE e.bucket = of_bucket AND e.eid = of_eid AND e.next_key IS NOT NULL;
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION turn_key(smallint, bytea, smallint), keep_key(smallint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turn_key(smallint, bytea, smallint), keep_key(smallint, bytea) TO eim_device, eim_worker;

-- Hand-over between eIMs: what was decided for many cards, and where each of them stands.
CREATE TABLE handovers (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    direction text NOT NULL, -- in: from another eIM to us; out: from us to another
    eim_id text NOT NULL, -- of the other eIM
    configuration bytea, -- out: its EimConfigurationData (30 ..)
    proof text NOT NULL, -- out: what must be there before our association goes: listed, confirmed
    delete_other boolean NOT NULL, -- in: the other eIM is taken off the card when we are proven
    size integer NOT NULL,
    reason text NOT NULL,
    ordered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    aborted_at timestamptz
);
CREATE TABLE handover_cards (
    bucket smallint NOT NULL,
    eid bytea NOT NULL,
    handover uuid NOT NULL,
    tenant smallint NOT NULL,
    stage text NOT NULL, -- see domain/handover.py
    operation uuid, -- whose end moves it on; NULL: none was ordered yet
    confirmed_at timestamptz, -- somebody saw the card call the other eIM
    reason text, -- why it ended otherwise than planned
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, eid, handover),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE
);
CREATE INDEX handover_cards_open ON handover_cards (bucket, eid)
    WHERE stage NOT IN ('done', 'failed', 'undone');
CREATE INDEX handover_cards_of ON handover_cards (handover, stage);
ALTER TABLE handovers ENABLE ROW LEVEL SECURITY;
ALTER TABLE handover_cards ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON handovers TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON handover_cards TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON handovers TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON handover_cards TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT, INSERT ON handovers, handover_cards TO eim_operator;
GRANT UPDATE (aborted_at) ON handovers TO eim_operator;
GRANT UPDATE (stage, confirmed_at, changed_at) ON handover_cards TO eim_operator;
GRANT SELECT ON handovers, handover_cards TO eim_device, eim_worker;
GRANT UPDATE (stage, operation, reason, changed_at) ON handover_cards TO eim_worker;
