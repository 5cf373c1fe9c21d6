-- Logins at other OpenID providers, and passkeys.

-- An identity provider of kind oidc that logs people in now. Without a row here, it only names the
-- identities that it once vouched for.
CREATE TABLE upstream (
    provider_id     uuid PRIMARY KEY REFERENCES identity_provider (id) ON DELETE CASCADE,
    issuer          text NOT NULL UNIQUE,
    client_id       text NOT NULL,
    client_secret   bytea,                       -- sealed; context "upstream <provider_id>"
    username_claim  text NOT NULL,
    authority       text                         -- PEM
);

-- Whom an upstream means by a subject. Names change and are given to others; this never is.
CREATE TABLE upstream_subject (
    provider_id  uuid NOT NULL REFERENCES identity_provider (id),
    subject      text NOT NULL,
    identity_id  uuid NOT NULL UNIQUE REFERENCES identity (id) ON DELETE CASCADE,
    PRIMARY KEY (provider_id, subject)
);

-- Logins that were begun at an upstream, until they come back. Of what they must bring, nothing is
-- here: nonce and verifier are derived from the browser's cookie.
CREATE TABLE upstream_attempt (
    state_hash    bytea PRIMARY KEY,
    browser_hash  bytea NOT NULL,
    provider_id   uuid NOT NULL REFERENCES identity_provider (id) ON DELETE CASCADE,
    purpose       text NOT NULL CHECK (purpose IN ('login', 'link')),
    request       text,                          -- the authorization request that waits
    account_id    uuid REFERENCES account (id) ON DELETE CASCADE,
    session_id    uuid REFERENCES browser_session (id) ON DELETE CASCADE,
    fresh         boolean NOT NULL,
    begun_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (purpose = 'login' OR (account_id IS NOT NULL AND session_id IS NOT NULL))
);
CREATE INDEX upstream_attempt_age ON upstream_attempt (begun_at);

CREATE TABLE passkey (
    id             uuid PRIMARY KEY,
    identity_id    uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    credential_id  bytea NOT NULL UNIQUE,        -- as the authenticator names it
    public_key     bytea NOT NULL,               -- COSE
    sign_count     bigint NOT NULL,
    name           text NOT NULL,                -- the owner's word for it
    transports     text[] NOT NULL DEFAULT '{}',
    synced         boolean NOT NULL DEFAULT false,  -- it may have copies (WebAuthn, 6.1.3)
    created_at     timestamptz NOT NULL DEFAULT now(),
    used_at        timestamptz
);
CREATE INDEX passkey_identity ON passkey (identity_id);

-- Challenges that wait for their one answer.
CREATE TABLE passkey_challenge (
    hash          bytea PRIMARY KEY,             -- SHA-256 of its 256 random bits
    browser_hash  bytea NOT NULL,
    purpose       text NOT NULL CHECK (purpose IN ('register', 'login', 'second')),
    identity_id   uuid REFERENCES identity (id) ON DELETE CASCADE,
    made_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX passkey_challenge_age ON passkey_challenge (made_at);
