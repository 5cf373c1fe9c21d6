-- When a lease of this task was last found to be lost, or was given up: what it had sent may run on
-- for a while, whoever has been granted the task since.
ALTER TABLE task ADD COLUMN lease_lost_at timestamptz;
