-- What is set through the GCS Manager API, beside what agents report; and consents to use data.

-- Of any endpoint: fields that its managers have set. Of a collection they go before what the agents
-- report; `reported` is that, as it came: name, access, public, details.
ALTER TABLE endpoint ADD COLUMN managed jsonb NOT NULL DEFAULT '{}';
ALTER TABLE endpoint ADD COLUMN reported jsonb;
-- A collection that managers have made, below a root that the site has opened for them. No agent
-- reports it; agents are told of it.
ALTER TABLE endpoint ADD COLUMN made_by_manager boolean NOT NULL DEFAULT false;

-- Where managers may make collections: [{"path": ..., "access": "r" or "rw"}, ...], as agents report.
ALTER TABLE connect_endpoint ADD COLUMN roots jsonb NOT NULL DEFAULT '[]';

-- An account that a person has at an endpoint, as the endpoint's rules give it.
CREATE TABLE user_credential (
    id            uuid PRIMARY KEY,
    endpoint_id   uuid NOT NULL REFERENCES connect_endpoint (endpoint_id),
    identity_id   uuid NOT NULL,
    username      text NOT NULL,
    display_name  text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_id, identity_id)
);

-- Whose token a task came with: with this application its owner has used, or lets it use, the data of
-- collections. Null: a task from before this was kept.
ALTER TABLE task ADD COLUMN client_id uuid;
-- The collection for whose consent an INACTIVE task waits.
ALTER TABLE task ADD COLUMN consent_wait uuid REFERENCES endpoint (id);
CREATE INDEX task_consent_wait ON task (task_no) WHERE consent_wait IS NOT NULL;

-- Consents of unfinished tasks as nexus was asked last. What is not here was there at submission.
CREATE TABLE data_consent (
    client_id      uuid NOT NULL,
    identity_id    uuid NOT NULL,
    collection_id  uuid NOT NULL REFERENCES endpoint (id),
    held           boolean NOT NULL,
    asked_at       timestamptz NOT NULL,
    PRIMARY KEY (client_id, identity_id, collection_id)
);
CREATE INDEX endpoint_of_host ON endpoint (host, id) WHERE host_endpoint_id IS NOT NULL;
