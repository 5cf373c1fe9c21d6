-- People: identity providers, accounts, what they log in with, and their browser sessions.

CREATE TABLE identity_provider (
    id                 uuid PRIMARY KEY,
    name               text NOT NULL,            -- shown to people
    short_name         text NOT NULL,
    kind               text NOT NULL CHECK (kind IN ('local', 'clients', 'oidc')),
    domains            text[] NOT NULL DEFAULT '{}',  -- lower case; usernames end in one of them
    alternative_names  text[] NOT NULL DEFAULT '{}',
    created_at         timestamptz NOT NULL DEFAULT now()
);
-- A deployment has its own people in one place. Its domain is a setting, so it is made at the first start.
CREATE UNIQUE INDEX identity_provider_local ON identity_provider (kind) WHERE kind = 'local';
INSERT INTO identity_provider (id, name, short_name, kind, domains) VALUES
    ('2f6e1f0e-6e0b-5b8e-9d2c-0c8f1f1f7a55', 'Towpath clients', 'clients', 'clients',
     '{clients.auth.globus.org}');

-- A person. The identities that link to it are the identity set; tokens are for the primary one.
CREATE TABLE account (
    id                uuid PRIMARY KEY,
    primary_identity  uuid NOT NULL REFERENCES identity (id),
    administrator     boolean NOT NULL DEFAULT false,
    suspended_at      timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE identity
    ADD COLUMN account_id uuid REFERENCES account (id) ON DELETE SET NULL,
    -- unused: somebody named it, nobody has logged in with it; closed: its account was deleted
    ADD COLUMN status text NOT NULL DEFAULT 'used' CHECK (status IN ('used', 'unused', 'private', 'closed')),
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN last_authentication timestamptz,
    ADD FOREIGN KEY (identity_provider) REFERENCES identity_provider (id);
CREATE INDEX identity_account ON identity (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX identity_email ON identity (lower(email)) WHERE email IS NOT NULL;

CREATE TABLE password (
    identity_id  uuid PRIMARY KEY REFERENCES identity (id) ON DELETE CASCADE,
    hash         text NOT NULL,                  -- argon2id, in its own encoding (PHC string)
    changed_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE browser_session (
    id            uuid PRIMARY KEY,
    value_hash    bytea NOT NULL UNIQUE,         -- SHA-256 of the cookie's 256 random bits
    account_id    uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    address       text NOT NULL,                 -- where it was seen last
    user_agent    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL           -- the absolute limit
);
CREATE INDEX browser_session_account ON browser_session (account_id);
CREATE INDEX browser_session_expiry ON browser_session (expires_at);

CREATE TABLE session_authentication (
    session_id   uuid NOT NULL REFERENCES browser_session (id) ON DELETE CASCADE,
    identity_id  uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    provider_id  uuid NOT NULL REFERENCES identity_provider (id),
    at           timestamptz NOT NULL,
    amr          text[] NOT NULL,                -- RFC 8176
    acr          text,
    PRIMARY KEY (session_id, identity_id)
);
CREATE INDEX session_authentication_identity ON session_authentication (identity_id);

-- Browsers in which an identity has logged in before: strangers' failures do not lock these out.
CREATE TABLE known_browser (
    browser_hash  bytea NOT NULL,
    identity_id   uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    used_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (browser_hash, identity_id)
);
CREATE INDEX known_browser_identity ON known_browser (identity_id, used_at);

-- How full the bucket of an account, an address or a browser is; it leaks with time.
CREATE TABLE throttle (
    key    bytea PRIMARY KEY,                    -- SHA-256 of what is counted: no names here
    level  double precision NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX throttle_at ON throttle (at);

-- Links that work once: an invitation, a verified address, a new password.
CREATE TABLE one_time_link (
    hash           bytea PRIMARY KEY,            -- SHA-256 of the link's 256 random bits
    purpose        text NOT NULL CHECK (purpose IN ('invitation', 'verification', 'reset')),
    identity_id    uuid REFERENCES identity (id) ON DELETE CASCADE,
    details        jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL
);
CREATE INDEX one_time_link_identity ON one_time_link (identity_id) WHERE identity_id IS NOT NULL;
CREATE INDEX one_time_link_expiry ON one_time_link (expires_at);

-- What people tell of themselves beyond name, organization and e-mail, which are the identity's.
CREATE TABLE profile (
    identity_id  uuid PRIMARY KEY REFERENCES identity (id) ON DELETE CASCADE,
    fields       jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ssh_key (
    id           uuid PRIMARY KEY,
    account_id   uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name         text NOT NULL,
    public_key   text NOT NULL,                  -- as in authorized_keys, without the comment
    fingerprint  text NOT NULL,                  -- SHA256:..., as ssh-keygen -l
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, fingerprint)
);

-- What other services must learn of accounts; they ask for what is newer than they know.
CREATE TABLE account_change (
    n             bigserial PRIMARY KEY,
    identity_ids  uuid[] NOT NULL,
    what          text NOT NULL CHECK (what IN ('suspended', 'restored', 'deleted')),
    at            timestamptz NOT NULL DEFAULT now()
);
