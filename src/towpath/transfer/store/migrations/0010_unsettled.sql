-- Commands of this task that remove may be running, or may have been when their worker was lost:
-- set before the first of a lease, cleared when their end is certain.
ALTER TABLE task ADD COLUMN removals_unsettled boolean NOT NULL DEFAULT false;
