-- 0030_expand_plain_lists.sql: cards that refuse a listing that names tags, and get the plain form.
-- Safe beside the previous release: a new column with a constant default; it neither reads nor writes it.
ALTER TABLE euiccs ADD COLUMN plain_lists boolean NOT NULL DEFAULT false;
GRANT UPDATE (plain_lists) ON euiccs TO eim_device, eim_worker;
