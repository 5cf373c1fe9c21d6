-- With which application the owner of a task has logged in. It is another one than client_id's, if that is a service
-- which acted for it, as Timers do: what is allowed to a service for one application is not for another.
-- Null: a task from before this was kept.
ALTER TABLE task ADD COLUMN root_client_id uuid;

-- Consents of unfinished tasks as nexus was asked last, instead of data_consent, which was the same for all
-- applications of a service. What is not here was there at submission.
CREATE TABLE data_access (
    client_id       uuid NOT NULL,
    identity_id     uuid NOT NULL,
    collection_id   uuid NOT NULL REFERENCES endpoint (id),
    root_client_id  uuid,
    held            boolean NOT NULL,
    asked_at        timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (client_id, identity_id, collection_id, root_client_id)
);
INSERT INTO data_access (client_id, identity_id, collection_id, held, asked_at)
SELECT client_id, identity_id, collection_id, held, asked_at FROM data_consent;
