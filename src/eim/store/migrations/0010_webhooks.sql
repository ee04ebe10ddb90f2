-- 0010_webhooks.sql: events leave us in an order that can be resumed, and webhooks with the place of each.
-- Safe beside the previous release: it inserts events without naming the new column.

-- An eUICC's events are inserted under its lock, so the order of insertion is the order in which they happened; a
-- time is not (it is the transaction's, and clocks step). The transaction has its id before it draws its turn: then a
-- reader that saw turn N drawn, and later saw all transactions end that had an id at that time, has seen all up to N.
-- On Citus turns are drawn by the coordinator, which all roles connect to.
CREATE SEQUENCE event_turns AS bigint;
CREATE FUNCTION draw_event_turn() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $body$
    SELECT pg_current_xact_id();
    SELECT nextval('event_turns');
$body$;
REVOKE ALL ON FUNCTION draw_event_turn() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION draw_event_turn() TO eim_device, eim_operator, eim_worker;
GRANT USAGE ON SEQUENCE event_turns TO eim_device, eim_operator, eim_worker;
GRANT SELECT ON SEQUENCE event_turns TO eim_operator, eim_worker;

ALTER TABLE events ADD COLUMN turn bigint NOT NULL DEFAULT 0; -- 0: from before there were turns
ALTER TABLE events ALTER COLUMN turn SET DEFAULT draw_event_turn();
ALTER TABLE events ALTER COLUMN at SET DEFAULT clock_timestamp(); -- two of one transaction have an order
ALTER TABLE events ALTER COLUMN eid DROP NOT NULL; -- NULL: of no card, but of a webhook
CREATE INDEX events_of_tenant ON events (tenant, turn);
CREATE INDEX events_of_bucket ON events (bucket, turn);

CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    url text NOT NULL,
    description text,
    types text[] NOT NULL, -- CloudEvents types, or eim.operation.*; none: all
    tags text[] NOT NULL, -- any of these on the card; none: all
    secrets bytea NOT NULL, -- newest first, each with its end; encrypted with the data key (design 3.14)
    enabled boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1, -- raised by every change that an operator makes
    generation integer NOT NULL DEFAULT 1, -- raised by a replay: places of an older one count no more
    start bigint NOT NULL, -- the turn behind which its events begin
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz, -- the last success
    failing_since timestamptz, -- NULL: the last delivery succeeded
    failure text, -- why the last one that failed did
    disabled_why text -- NULL: an operator did it
);
CREATE INDEX webhooks_listed ON webhooks (tenant, created_at, id);

-- Up to which turn the events of one bucket are done with. No row: up to the webhook's start.
CREATE TABLE webhook_places (
    bucket smallint NOT NULL,
    webhook uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    generation integer NOT NULL,
    turn bigint NOT NULL,
    PRIMARY KEY (bucket, webhook)
);

-- Cards whose next event could not be delivered: from that turn on theirs wait, those of others go on.
CREATE TABLE webhook_waits (
    bucket smallint NOT NULL,
    webhook uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    eid bytea NOT NULL, -- empty: the events of no card
    generation integer NOT NULL,
    turn bigint NOT NULL, -- the first event that is not delivered
    attempts integer NOT NULL, -- of that event
    again_at timestamptz NOT NULL,
    failure text NOT NULL,
    PRIMARY KEY (bucket, webhook, eid)
);

-- Events that were given up after the last try.
CREATE TABLE webhook_dead_letters (
    bucket smallint NOT NULL,
    webhook uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event uuid NOT NULL,
    tenant smallint NOT NULL REFERENCES tenants (id),
    turn bigint NOT NULL,
    attempts integer NOT NULL,
    failure text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now(),
    again boolean NOT NULL DEFAULT false, -- an operator asks for one more try
    PRIMARY KEY (bucket, webhook, event)
);
CREATE INDEX webhook_dead_letters_listed ON webhook_dead_letters (tenant, webhook, died_at, event);
CREATE INDEX webhook_dead_letters_again ON webhook_dead_letters (webhook, bucket) WHERE again;

GRANT SELECT, INSERT, DELETE ON webhooks TO eim_operator;
GRANT UPDATE (url, description, types, tags, secrets, enabled, version, generation, start, failing_since, failure,
    disabled_why) ON webhooks TO eim_operator;
GRANT SELECT ON webhook_dead_letters TO eim_operator;
GRANT UPDATE (again) ON webhook_dead_letters TO eim_operator;
GRANT SELECT ON webhooks TO eim_worker;
GRANT UPDATE (enabled, delivered_at, failing_since, failure, disabled_why) ON webhooks TO eim_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_places, webhook_waits, webhook_dead_letters TO eim_worker;

ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_places ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_waits ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_dead_letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON webhooks TO eim_worker USING (true);
CREATE POLICY all_tenants ON webhook_places TO eim_worker USING (true);
CREATE POLICY all_tenants ON webhook_waits TO eim_worker USING (true);
CREATE POLICY all_tenants ON webhook_dead_letters TO eim_worker USING (true);
CREATE POLICY own_tenant ON webhooks TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON webhook_dead_letters TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
