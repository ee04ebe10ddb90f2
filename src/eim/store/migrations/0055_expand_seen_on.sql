-- 0055_expand_seen_on.sql: the day on which an eUICC was last seen, so that those that went silent are found by an index.
-- An index on last_seen_at itself would be written at every poll, and all others of the table with it; a day changes once
-- a day. NULL: not known, or never seen; a filter then looks at last_seen_at. Safe beside the previous release, which
-- leaves it as it is: then it is an earlier day than it should be, and the filter looks at last_seen_at as well.
ALTER TABLE euiccs ADD COLUMN seen_on date;
CREATE INDEX euiccs_silent ON euiccs (tenant, seen_on NULLS FIRST);
GRANT UPDATE (seen_on) ON euiccs TO eim_device;
