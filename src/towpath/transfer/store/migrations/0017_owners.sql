-- Owners whose accounts nexus has suspended or deleted, as far as it was asked.

CREATE TABLE account_cursor (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    after  bigint NOT NULL DEFAULT 0             -- the last change that was taken over
);
INSERT INTO account_cursor DEFAULT VALUES;

CREATE TABLE owner_state (
    owner_id  uuid PRIMARY KEY,
    what      text NOT NULL CHECK (what IN ('suspended', 'deleted')),
    at        timestamptz NOT NULL DEFAULT now()
);

-- The status that a task had, and gets again, while its owner is suspended.
ALTER TABLE task ADD COLUMN suspended_from text CHECK (suspended_from IN ('ACTIVE', 'INACTIVE'));
CREATE INDEX task_suspended ON task (task_no) WHERE suspended_from IS NOT NULL;
