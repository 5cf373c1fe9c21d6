-- What a transfer left out because its source could not be read, in segments beside those of the
-- files that were transferred.
ALTER TABLE history_segment ADD COLUMN kind smallint NOT NULL DEFAULT 0;  -- 0 transferred, 1 skipped
ALTER TABLE task ADD COLUMN skipped_errors bigint NOT NULL DEFAULT 0;
