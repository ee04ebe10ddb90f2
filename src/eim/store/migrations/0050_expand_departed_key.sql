-- 0050_expand_departed_key.sql: which key of ours a card obeyed when it was taken out, for the day it comes back.
-- Safe beside the previous release: a new column that it neither reads nor writes. NULL: not known, as for whoever left before.
ALTER TABLE departed ADD COLUMN key_number smallint;
GRANT UPDATE (key_number) ON departed TO eim_operator;
