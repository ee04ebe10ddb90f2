-- 0081_expand_fewer_entries.sql: a result is one entry of an index less.
-- Safe beside the previous release: whatever asks for the results of a card finds them by (bucket, eid, digest), as the
-- few that they are, and puts them in order itself.

DROP INDEX results_of_eid;
