-- 0028_expand_linked.sql: up to when each bucket's audit is linked, for who takes the bucket over.
-- Safe beside the previous release: new columns that may be NULL; it neither reads nor writes them.
ALTER TABLE workers ADD COLUMN linked_at timestamptz; -- all that was written before in its buckets; NULL: not known
ALTER TABLE leases ADD COLUMN linked_at timestamptz; -- the same, as its former holder left it
GRANT UPDATE (linked_at) ON workers TO eim_worker;
GRANT UPDATE (linked_at) ON leases TO eim_worker;
