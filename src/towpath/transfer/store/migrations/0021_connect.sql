-- Endpoints that are agents of Globus Connect's kind: behind a relay, with nodes that come and go.

ALTER TABLE endpoint ADD COLUMN entity_type text NOT NULL DEFAULT 'GCSv4_host'
    CHECK (entity_type IN ('GCSv4_host', 'GCP_mapped_collection', 'GCSv5_endpoint', 'GCSv5_mapped_collection'));
-- Of a GCSv5_mapped_collection: the GCSv5_endpoint that it belongs to, where it begins in its storage,
-- and whether it may be written ('r' or 'rw').
ALTER TABLE endpoint ADD COLUMN host_endpoint_id uuid REFERENCES endpoint (id);
ALTER TABLE endpoint ADD COLUMN base_path text;
ALTER TABLE endpoint ADD COLUMN access text CHECK (access IN ('r', 'rw'));
CREATE INDEX endpoint_collections ON endpoint (host_endpoint_id) WHERE host_endpoint_id IS NOT NULL;

-- What an endpoint's agents have told of it. Identity mappings: documents, in order.
CREATE TABLE connect_endpoint (
    endpoint_id  uuid PRIMARY KEY REFERENCES endpoint (id),
    kind         text NOT NULL CHECK (kind IN ('personal', 'server')),
    mappings     jsonb NOT NULL DEFAULT '[]'
);

-- One at a time for an endpoint: a new one replaces it.
CREATE TABLE setup_key (
    endpoint_id  uuid PRIMARY KEY REFERENCES connect_endpoint,
    secret_hash  bytea NOT NULL UNIQUE,
    not_after    timestamptz NOT NULL,
    spent_at     timestamptz                     -- personal: spent once
);

-- The relays that may carry this deployment's agents; each has a client of nexus.
CREATE TABLE relay (
    client_id       uuid PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    added_at        timestamptz NOT NULL DEFAULT now(),
    -- what it told last
    host            text,
    port            integer,
    host_key        text,
    data_addresses  text[] NOT NULL DEFAULT '{}',
    version         text,
    agents          integer NOT NULL DEFAULT 0,
    draining        boolean NOT NULL DEFAULT false,
    heard_at        timestamptz
);

-- The computers that serve a Connect endpoint, each with its agent.
CREATE TABLE connect_node (
    id             uuid PRIMARY KEY,
    endpoint_id    uuid NOT NULL REFERENCES connect_endpoint,
    name           text NOT NULL,
    token_hash     bytea NOT NULL UNIQUE,
    tunnel_key     text NOT NULL,
    version        text NOT NULL,
    certificate    text NOT NULL,                -- the last host certificate, PEM
    paused         boolean NOT NULL DEFAULT false,
    draining       boolean NOT NULL DEFAULT false,
    folders        jsonb NOT NULL DEFAULT '[]',
    created_at     timestamptz NOT NULL DEFAULT now(),
    reported_at    timestamptz,
    -- presence: at which relay its tunnel is
    relay_id       uuid REFERENCES relay (client_id) ON DELETE SET NULL,
    connected_at   timestamptz,
    address        text,                         -- where it dials from, as the relay sees it
    direct_address text,                         -- where the relay has reached its own listener
    heard_at       timestamptz,                  -- gone: when it was last heard of
    removed_at     timestamptz                   -- no node any more; its tunnel is to be cut
);
CREATE INDEX connect_node_endpoint ON connect_node (endpoint_id) WHERE removed_at IS NULL;
CREATE INDEX connect_node_relay ON connect_node (relay_id) WHERE relay_id IS NOT NULL;

-- Keys of the deployment's own for all this, sealed: the authority (one row), and those that sign
-- grants and passes, of which the newest that has begun is used.
CREATE TABLE connect_key (
    id         text PRIMARY KEY,
    purpose    text NOT NULL CHECK (purpose IN ('authority', 'grants')),
    sealed     bytea NOT NULL,
    begins_at  timestamptz NOT NULL,
    ends_at    timestamptz                       -- not shown to endpoints any more
);
CREATE UNIQUE INDEX connect_authority ON connect_key (purpose) WHERE purpose = 'authority';
