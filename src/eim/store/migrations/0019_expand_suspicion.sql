-- 0019_expand_suspicion.sql: changes that nobody ordered, cards that are barred (suspected, denied, orphaned), and
-- deny-lists. Safe beside the previous release: the new columns are nullable or have a constant default, which rewrites
-- no row; a process of the previous release hands out to barred cards until it is replaced.

-- What the device said changed; the inventory that follows explains it and sets it back. NULL: nothing to explain.
ALTER TABLE euiccs ADD COLUMN reported_cause smallint;
ALTER TABLE euiccs ADD COLUMN reset_at timestamptz; -- a memory reset was reported, and no signature of the card came since
ALTER TABLE euiccs ADD COLUMN ecall_since timestamptz; -- NULL: it is in no emergency call
ALTER TABLE euiccs ADD COLUMN ecall_answers integer NOT NULL DEFAULT 0; -- times it said so since then
-- Why nothing goes out to it. Several may hold at once.
ALTER TABLE euiccs ADD COLUMN orphaned_at timestamptz; -- the card knows us no more
ALTER TABLE euiccs ADD COLUMN quarantined_at timestamptz;
ALTER TABLE euiccs ADD COLUMN quarantine_why text;
ALTER TABLE euiccs ADD COLUMN denied_by uuid; -- the denial that it fell under
ALTER TABLE euiccs ADD COLUMN marks text[]; -- what a denial may call its certificates by
CREATE INDEX euiccs_barred ON euiccs (tenant, created_at, eid)
    WHERE orphaned_at IS NOT NULL OR quarantined_at IS NOT NULL OR denied_by IS NOT NULL;
-- The same in the row that every hand-out updates: no poll reads more than before, and who writes it has waited for
-- the hand-out before it.
ALTER TABLE mailbox ADD COLUMN barred boolean NOT NULL DEFAULT false;

-- Whom an operator wants nothing to go out to. Few rows, read at each hand-out.
CREATE TABLE denials (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    mark text NOT NULL, -- eid:, ein:, eum:, cert: or serial:, and what follows in hex
    reason text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    lifted_at timestamptz,
    lifted_by text,
    lifted_why text
);
CREATE UNIQUE INDEX denials_standing ON denials (tenant, mark) WHERE lifted_at IS NULL;
CREATE INDEX denials_listed ON denials (tenant, created_at, id);
-- Buckets in which a worker has to look who falls under a denial, or under none any more.
CREATE TABLE denial_rounds (
    bucket smallint NOT NULL,
    tenant smallint NOT NULL REFERENCES tenants (id),
    due_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, tenant, due_at)
);
CREATE INDEX denial_rounds_due ON denial_rounds (due_at);

ALTER TABLE denials ENABLE ROW LEVEL SECURITY;
ALTER TABLE denial_rounds ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON denials TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON denial_rounds TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON denials TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON denial_rounds TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);

-- The device role may hold a card back, and never lets one go.
GRANT UPDATE (reported_cause, reset_at, ecall_since, ecall_answers, orphaned_at, quarantined_at, quarantine_why,
    denied_by, marks) ON euiccs TO eim_device;
GRANT UPDATE (barred) ON mailbox TO eim_device;
GRANT SELECT ON denials TO eim_device;
GRANT SELECT, INSERT ON denials TO eim_operator;
GRANT UPDATE (expires_at, lifted_at, lifted_by, lifted_why) ON denials TO eim_operator;
GRANT SELECT, INSERT ON denial_rounds TO eim_operator;
GRANT UPDATE (reported_cause, reset_at, orphaned_at, quarantined_at, quarantine_why, association_token, token_proven,
    signature_form, signature_coding) ON euiccs TO eim_operator;
GRANT SELECT (barred) ON mailbox TO eim_operator;
GRANT UPDATE (barred) ON mailbox TO eim_operator;
GRANT SELECT ON denials TO eim_worker;
GRANT SELECT, DELETE ON denial_rounds TO eim_worker;
GRANT UPDATE (reported_cause, reset_at, ecall_since, ecall_answers, orphaned_at, quarantined_at, quarantine_why,
    denied_by, marks) ON euiccs TO eim_worker;
GRANT UPDATE (barred) ON mailbox TO eim_worker;
