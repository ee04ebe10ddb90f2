-- 0045_expand_bulk_orders.sql: orders for very many cards, which workers place bucket by bucket (design 4).
-- Safe beside the previous release: new columns are NULL and it makes no such order. It counts the ordinals of a card
-- by `euiccs.ordinals` alone, so what it places goes before what such an order placed for that card and nobody had yet.

ALTER TABLE orders ADD COLUMN asked jsonb; -- what a bulk order asks of each card; NULL: it was placed at once
ALTER TABLE orders ADD COLUMN stopped_at timestamptz; -- nothing more is placed since
ALTER TABLE orders ADD COLUMN withdrawn_at timestamptz; -- what it placed is taken back since
ALTER TABLE orders ADD COLUMN withdrawn_by text;
ALTER TABLE orders ADD COLUMN spread_at timestamptz; -- every card was reached, or the order was stopped
ALTER TABLE orders ADD COLUMN recalled_at timestamptz; -- everything was taken back
CREATE INDEX orders_spreading ON orders (created_at) WHERE asked IS NOT NULL AND spread_at IS NULL;
CREATE INDEX orders_recalling ON orders (withdrawn_at) WHERE withdrawn_at IS NOT NULL AND recalled_at IS NULL;
GRANT UPDATE (stopped_at, withdrawn_at, withdrawn_by) ON orders TO eim_operator;
GRANT UPDATE (spread_at, recalled_at) ON orders TO eim_worker;

GRANT EXECUTE ON FUNCTION take_back(smallint, bytea) TO eim_worker;

-- How far a bulk order is in one bucket. One row each is written when the order is placed.
CREATE TABLE spreads (
    bucket smallint NOT NULL,
    order_id uuid NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    tenant smallint NOT NULL,
    cards integer NOT NULL, -- that were meant when it was placed
    reached bytea NOT NULL DEFAULT '', -- the last EID that was looked at; they come in their order
    looked_at integer NOT NULL DEFAULT 0, -- cards so far
    placed integer NOT NULL DEFAULT 0, -- operations so far
    refused jsonb NOT NULL DEFAULT '{}', -- how many cards can't be asked that, by the code of the reason
    problems jsonb NOT NULL DEFAULT '[]', -- the first of them
    done_at timestamptz,
    PRIMARY KEY (bucket, order_id)
);
CREATE INDEX spreads_of_order ON spreads (order_id, bucket);
GRANT SELECT, INSERT ON spreads TO eim_operator;
GRANT SELECT ON spreads TO eim_worker;
GRANT UPDATE (reached, looked_at, placed, refused, problems, done_at) ON spreads TO eim_worker;
ALTER TABLE spreads ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON spreads TO eim_worker USING (true);
CREATE POLICY own_tenant ON spreads TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);

-- Ordinals for many cards at once, without a counter of each: the high part of what they get. It is drawn under the
-- locks of the cards, and a card's own counter goes on from the highest ordinal that it has.
CREATE SEQUENCE operation_ordinals AS bigint;
GRANT USAGE ON SEQUENCE operation_ordinals TO eim_worker;
