-- The lease of which a witness has seen all sessions end that could write (ADR 0011): what was in
-- flight under it may be sent again at once.
ALTER TABLE task ADD COLUMN still_epoch bigint;
