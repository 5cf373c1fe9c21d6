-- Guest collections: a directory of a collection, shared by rules; and roles at any endpoint.

ALTER TABLE endpoint DROP CONSTRAINT endpoint_entity_type_check;
ALTER TABLE endpoint ADD CONSTRAINT endpoint_entity_type_check CHECK (entity_type IN (
    'GCSv4_host', 'GCSv4_share', 'GCP_mapped_collection', 'GCP_guest_collection',
    'GCSv5_endpoint', 'GCSv5_mapped_collection', 'GCSv5_guest_collection'));
-- Of a guest collection: its directory in the collection (host_endpoint_id) that it shares; '' is all of
-- it, otherwise it begins with a slash and ends with none. Its owner is who shares: with his
-- credential, or his account, it is used.
ALTER TABLE endpoint ADD COLUMN share_path text;
ALTER TABLE endpoint ADD CONSTRAINT endpoint_share CHECK (
    (share_path IS NOT NULL) = (entity_type IN (
        'GCSv4_share', 'GCP_guest_collection', 'GCSv5_guest_collection')));

CREATE TABLE role (
    id              uuid PRIMARY KEY,
    endpoint_id     uuid NOT NULL REFERENCES endpoint (id),
    principal_type  text NOT NULL CHECK (principal_type IN ('identity', 'group')),
    principal       uuid NOT NULL,
    role            text NOT NULL CHECK (role IN (
        'administrator', 'access_manager', 'activity_manager', 'activity_monitor')),
    created_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_id, principal_type, principal, role)
);
CREATE INDEX role_principal ON role (principal);

-- Who may do what in a guest collection.
CREATE TABLE access_rule (
    id              uuid PRIMARY KEY,
    endpoint_id     uuid NOT NULL REFERENCES endpoint (id),
    principal_type  text NOT NULL CHECK (principal_type IN (
        'identity', 'group', 'all_authenticated_users', 'anonymous')),
    principal       uuid,
    path            text NOT NULL CHECK (path LIKE '/%' AND path LIKE '%/'),
    permissions     text NOT NULL CHECK (permissions IN ('r', 'rw')),
    created_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    CHECK ((principal IS NOT NULL) = (principal_type IN ('identity', 'group')))
);
CREATE UNIQUE INDEX access_rule_once ON access_rule
    (endpoint_id, principal_type, coalesce(principal, '00000000-0000-0000-0000-000000000000'), path);
CREATE INDEX access_rule_principal ON access_rule (principal) WHERE principal IS NOT NULL;

-- People as nexus knew them last: for rights where no token is at hand, as in a task that runs.
CREATE TABLE principal (
    identity_id  uuid PRIMARY KEY,
    username     text NOT NULL,
    email        text,
    identities   uuid[] NOT NULL,                -- all of the person's, this one too
    groups       uuid[] NOT NULL,                -- those in which any of them is active
    heard_at     timestamptz NOT NULL DEFAULT now()
);
