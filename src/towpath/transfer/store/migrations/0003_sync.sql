-- Files that are compared at both ends before it is known whether they are copied (sync_level 3):
-- state 4, or 0 (listing) with this mark.
ALTER TABLE file ADD COLUMN compare boolean NOT NULL DEFAULT false;
