-- When somebody else gave the endpoint another server: the credential was not given for that one, and is not used until
-- its owner gives it anew. Null, or before updated_at: it may be used.
ALTER TABLE credential ADD COLUMN moved_at timestamptz;
