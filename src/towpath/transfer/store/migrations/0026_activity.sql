-- What activity managers do with others' tasks at their endpoints; and credentials: given by delegation,
-- sealed anew, soon to end.

CREATE TABLE pause_rule (
    id               uuid PRIMARY KEY,
    endpoint_id      uuid NOT NULL REFERENCES endpoint (id),
    identity_id      uuid,                       -- NULL: everybody
    message          text NOT NULL,
    start_time       timestamptz,                -- NULL: from the beginning
    created_by       text NOT NULL,              -- names; the id is whose word it is by now
    modified_by      text NOT NULL,
    modified_by_id   uuid NOT NULL,
    modified_at      timestamptz NOT NULL DEFAULT now(),
    by_host_manager  boolean NOT NULL,           -- made by a right at what the endpoint belongs to
    pause_ls                   boolean NOT NULL,
    pause_mkdir                boolean NOT NULL,
    pause_rename               boolean NOT NULL,
    pause_task_delete          boolean NOT NULL,
    pause_task_transfer_read   boolean NOT NULL,
    pause_task_transfer_write  boolean NOT NULL
);
CREATE INDEX pause_rule_endpoint ON pause_rule (endpoint_id);

-- Since when a task is held by somebody else than its owner; NULL: it is not. By whom: a message for each
-- of source, source_share, destination, destination_share; and the pause rules that it was made to fit.
ALTER TABLE task ADD COLUMN held_at timestamptz;
ALTER TABLE task ADD COLUMN held_by jsonb NOT NULL DEFAULT '{}';
ALTER TABLE task ADD COLUMN held_rules uuid[] NOT NULL DEFAULT '{}';
CREATE INDEX task_held ON task (task_no) WHERE held_at IS NOT NULL;
-- Not NULL: its end was asked for by an activity manager of SOURCE, DESTINATION or BOTH.
ALTER TABLE task ADD COLUMN canceled_by text CHECK (canceled_by IN ('SOURCE', 'DESTINATION', 'BOTH'));
ALTER TABLE task ADD COLUMN canceled_message text;
CREATE INDEX task_by_source ON task (source_endpoint_id, task_no);
CREATE INDEX task_by_destination ON task (destination_endpoint_id, task_no)
    WHERE destination_endpoint_id IS NOT NULL;

-- Tasks whose end an activity manager has asked for together, for who asks whether they have ended.
CREATE TABLE admin_cancel (
    id          uuid PRIMARY KEY,
    created_by  uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    tasks       bigint[] NOT NULL
);
CREATE INDEX admin_cancel_age ON admin_cancel (created_at);

-- Keys made for a proxy that somebody is about to sign; one for each endpoint and person.
CREATE TABLE delegation (
    endpoint_id  uuid NOT NULL REFERENCES endpoint (id),
    owner_id     uuid NOT NULL,
    sealed       bytea NOT NULL,                 -- PEM, encrypted under the operator's key (I6)
    made_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, owner_id)
);

-- Of which end the owner of a credential was told that it is near.
ALTER TABLE credential ADD COLUMN warned_of timestamptz;
CREATE INDEX credential_ends ON credential (not_after);
