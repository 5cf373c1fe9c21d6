-- Deletions of a plan that is applied are gone through from the last to the first.
ALTER TABLE plan ADD COLUMN way_left bigint NOT NULL DEFAULT 4611686018427387904;     -- what is in the way, from this entry on, has been
ALTER TABLE plan ADD COLUMN extras_left bigint NOT NULL DEFAULT 4611686018427387904;  -- the same of extras
