-- Nexus: who is who. Secrets and tokens are 256-bit random values, so a plain SHA-256 of them is as
-- hard to reverse as they are to guess: a slow password hash would only slow down every request (I6).

CREATE TABLE client (
    id            uuid PRIMARY KEY,              -- also the subject of the client's own identity
    name          text NOT NULL,
    secret_hash   bytea NOT NULL,
    administrator boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- Which client is which part of the deployment, for parts that make their client at first start.
CREATE TABLE service_client (
    role       text PRIMARY KEY,                 -- operator, transfer
    client_id  uuid NOT NULL REFERENCES client (id)
);

CREATE TABLE identity (
    id                 uuid PRIMARY KEY,
    username           text NOT NULL,
    name               text,
    email              text,
    organization       text,
    identity_provider  uuid NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX identity_username ON identity (lower(username));

CREATE TABLE token (
    hash             bytea PRIMARY KEY,
    client_id        uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    identity_id      uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    resource_server  text NOT NULL,
    scopes           text[] NOT NULL,
    issued_at        timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);
CREATE INDEX token_expiry ON token (expires_at);
