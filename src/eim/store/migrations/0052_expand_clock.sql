-- 0052_expand_clock.sql: a worker may say that what was due stays due when the database's clock was set back.
-- Safe beside the previous release: rights only.
GRANT UPDATE (not_before) ON packages, requests TO eim_worker;
