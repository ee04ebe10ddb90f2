-- 0018_expand_notifications.sql: notifications on their way to their SM-DP+, and which SM-DP+ may be called.
-- Safe beside the previous release: it adds, and rewrites no row. What that release stores is 'stored' and sorted by
-- the worker. The indexes are built under a lock that lets reads pass: on a large installation create them CONCURRENTLY
-- by hand before (docs/upgrading.md); IF NOT EXISTS then skips them.

-- state: stored (nobody has looked), waiting, held, delivered, given_up.
ALTER TABLE notifications ADD COLUMN kind text; -- as domain/notification: which of the four forms
ALTER TABLE notifications ADD COLUMN verdict text; -- verified, unverified, refused; NULL: nobody has looked
ALTER TABLE notifications ADD COLUMN host text; -- where it goes: the address in one spelling
ALTER TABLE notifications ADD COLUMN expanded bytea; -- what goes in the place of a compact form
ALTER TABLE notifications ADD COLUMN reason text; -- why it is held
ALTER TABLE notifications ADD COLUMN failure text; -- of the last try
ALTER TABLE notifications ADD COLUMN attempts integer NOT NULL DEFAULT 0;
ALTER TABLE notifications ADD COLUMN tried_at timestamptz;
ALTER TABLE notifications ADD COLUMN due_at timestamptz; -- of the next try; of one that is held: of the next look
ALTER TABLE notifications ADD COLUMN delayed_at timestamptz; -- when the alarm was given
ALTER TABLE notifications ADD COLUMN settled_at timestamptz; -- delivered, or given up
ALTER TABLE notifications ADD COLUMN settled_by text; -- who gave it up, and why

CREATE INDEX IF NOT EXISTS notifications_unsorted ON notifications (bucket, received_at) WHERE state = 'stored';
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (host, due_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS notifications_again ON notifications (due_at) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS notifications_held ON notifications (tenant, host) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS notifications_in_order ON notifications (bucket, eid, iccid, seq_number)
    WHERE state IN ('stored', 'waiting', 'held');
CREATE INDEX IF NOT EXISTS notifications_late ON notifications (received_at)
    WHERE state IN ('waiting', 'held') AND delayed_at IS NULL;
CREATE INDEX IF NOT EXISTS notifications_listed ON notifications (tenant, received_at, id);

GRANT UPDATE (host, verdict, expanded, reason, failure, attempts, tried_at, due_at, delayed_at, settled_at)
    ON notifications TO eim_worker;
GRANT UPDATE (due_at) ON notifications TO eim_device; -- look again: the card's certificate has come
GRANT UPDATE (state, reason, due_at, settled_at, settled_by) ON notifications TO eim_operator;

-- Which SM-DP+ a tenant's notifications may go to. The configuration may name more, for all tenants.
CREATE TABLE smdps (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    address text NOT NULL, -- host or host:port in one spelling
    description text,
    binding text NOT NULL, -- json, asn1
    roots text NOT NULL, -- gsma, gsma-brainpool, web
    networks text[] NOT NULL, -- that it may lie in although they are not public
    protocol text NOT NULL, -- the version of SGP.22 in X-Admin-Protocol
    enabled boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz, -- the last answer that took something
    failing_since timestamptz, -- NULL: the last call went well
    failure text,
    UNIQUE (tenant, address)
);
CREATE INDEX smdps_listed ON smdps (tenant, created_at, id);
ALTER TABLE smdps ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON smdps TO eim_worker USING (true);
CREATE POLICY own_tenant ON smdps TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT, INSERT, DELETE ON smdps TO eim_operator;
GRANT UPDATE (description, binding, roots, networks, protocol, enabled, version) ON smdps TO eim_operator;
GRANT SELECT ON smdps TO eim_worker;
GRANT UPDATE (delivered_at, failing_since, failure) ON smdps TO eim_worker;

-- Only what is over gets old: before, everything that was not 'stored' was.
CREATE OR REPLACE FUNCTION old_notifications(of_bucket smallint, older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT n.id FROM notifications n
     WHERE n.bucket = of_bucket AND n.received_at < now() - older AND n.state <> 'stored'
       AND n.state IN ('delivered', 'given_up')
     ORDER BY n.received_at
$body$;
