-- OAuth 2.0 and OpenID Connect: registered clients, their scopes, what people consented to, and the
-- grants that tokens come from.

-- Who may look after clients, scopes and policies. Groups are nexus' own (admin_group_ids).
CREATE TABLE project (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    display_name     text NOT NULL,
    contact_email    text NOT NULL,
    admin_ids        uuid[] NOT NULL DEFAULT '{}',
    admin_group_ids  uuid[] NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX project_admins ON project USING gin (admin_ids);
CREATE INDEX project_admin_groups ON project USING gin (admin_group_ids);

-- Secrets have a table of their own: a client may have several, or none (a public client).
-- client.secret_hash is no longer read; the column leaves in the next release.
ALTER TABLE client ALTER COLUMN secret_hash DROP NOT NULL;
ALTER TABLE client
    ADD COLUMN client_type text NOT NULL DEFAULT 'client_identity' CHECK (client_type IN (
        'client_identity', 'confidential_client', 'public_installed_client', 'public_webapp_client',
        'resource_server', 'hybrid_confidential_client_resource_server', 'globus_connect_server')),
    ADD COLUMN resource_server text UNIQUE,      -- its name in token documents; null: its id
    ADD COLUMN visibility text NOT NULL DEFAULT 'private' CHECK (visibility IN ('public', 'private')),
    ADD COLUMN redirect_uris text[] NOT NULL DEFAULT '{}',
    ADD COLUMN terms_and_conditions text,
    ADD COLUMN privacy_policy text,
    ADD COLUMN required_idp uuid,
    ADD COLUMN preselect_idp uuid,
    ADD COLUMN prompt_for_named_grant boolean NOT NULL DEFAULT true,
    ADD COLUMN userinfo_from_effective_identity boolean NOT NULL DEFAULT true,
    ADD COLUMN template_id uuid,                 -- made by a program of this well-known template
    ADD COLUMN parent_id uuid REFERENCES client (id) ON DELETE CASCADE,
    ADD COLUMN project_id uuid REFERENCES project (id) ON DELETE RESTRICT,
    ADD COLUMN used_at timestamptz;              -- first login with it; unused template ones are swept
CREATE INDEX client_project ON client (project_id);
CREATE INDEX client_parent ON client (parent_id);
CREATE INDEX client_unused ON client (created_at) WHERE template_id IS NOT NULL AND used_at IS NULL;

CREATE TABLE client_credential (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id    uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX client_credential_client ON client_credential (client_id);
INSERT INTO client_credential (client_id, name, secret_hash, created_at)
    SELECT id, 'first', secret_hash, created_at FROM client;
UPDATE client SET secret_hash = NULL;

CREATE TABLE scope (
    id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id             uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    scope_string          text NOT NULL UNIQUE,
    name                  text NOT NULL,
    description           text NOT NULL,
    advertised            boolean NOT NULL DEFAULT false,
    allows_refresh_token  boolean NOT NULL DEFAULT true,
    required_domains      text[] NOT NULL DEFAULT '{}',
    created_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scope_client ON scope (client_id);

-- What a service may do elsewhere with a token for this scope.
CREATE TABLE scope_dependency (
    scope_id                uuid NOT NULL REFERENCES scope (id) ON DELETE CASCADE,
    depends_on              uuid NOT NULL REFERENCES scope (id) ON DELETE CASCADE,
    optional                boolean NOT NULL,    -- only if the request names it
    requires_refresh_token  boolean NOT NULL,
    PRIMARY KEY (scope_id, depends_on)
);
CREATE INDEX scope_dependency_reverse ON scope_dependency (depends_on);

CREATE TABLE authentication_policy (
    id                                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id                        uuid NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    display_name                      text NOT NULL,
    description                       text NOT NULL,
    high_assurance                    boolean NOT NULL DEFAULT false,
    authentication_assurance_timeout  integer,   -- seconds
    required_mfa                      boolean NOT NULL DEFAULT false,
    domain_constraints_include        text[],
    domain_constraints_exclude        text[],
    created_at                        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX authentication_policy_project ON authentication_policy (project_id);

-- What an identity allows: a tree. The root is a scope that a client asked for; below it what the
-- scope's own service may ask for in turn. root_client_id is the same in a whole tree.
CREATE TABLE consent (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity_id     uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    root_client_id  uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    parent_id       bigint REFERENCES consent (id) ON DELETE CASCADE,
    client_id       uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,  -- who may ask for it
    scope_id        uuid NOT NULL REFERENCES scope (id) ON DELETE CASCADE,
    path            bigint[] NOT NULL,           -- ids from the root to this one
    allows_refresh  boolean NOT NULL,
    auto_approved   boolean NOT NULL,            -- by a client for itself
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    last_used_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (identity_id, root_client_id, parent_id, scope_id)
);
CREATE INDEX consent_parent ON consent (parent_id);
CREATE INDEX consent_root_client ON consent (root_client_id);
CREATE INDEX consent_client ON consent (client_id);
CREATE INDEX consent_scope ON consent (scope_id);

-- One login of one client (RFC 6749, 1.3). All its tokens end with it. The authentications are kept
-- as they were: the browser session may end before.
CREATE TABLE oauth_grant (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id        uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    identity_id      uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    session_id       uuid,                       -- null: the client acts for itself
    authentications  jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX oauth_grant_client ON oauth_grant (client_id);
CREATE INDEX oauth_grant_identity ON oauth_grant (identity_id);
CREATE INDEX oauth_grant_session ON oauth_grant (session_id);
CREATE INDEX oauth_grant_age ON oauth_grant (created_at);

-- Tokens without a grant are of clients acting for themselves; these ask for new ones.
DELETE FROM token;
ALTER TABLE token
    ADD COLUMN kind text NOT NULL DEFAULT 'access' CHECK (kind IN ('access', 'refresh')),
    ADD COLUMN grant_id uuid NOT NULL REFERENCES oauth_grant (id) ON DELETE CASCADE,
    ADD COLUMN parent_hash bytea,                -- the token that it was given for; it ends with that
    ADD COLUMN consent_ids bigint[] NOT NULL DEFAULT '{}',   -- that its scopes stand on
    ADD COLUMN replaced_at timestamptz;          -- a refresh token that was rotated; kept to notice reuse
CREATE INDEX token_grant ON token (grant_id);
CREATE INDEX token_parent ON token (parent_hash);
CREATE INDEX token_client ON token (client_id);
CREATE INDEX token_identity ON token (identity_id);

-- A person between an application's request and its answer.
CREATE TABLE authorization_request (
    hash          bytea PRIMARY KEY,             -- of the id in the pages' addresses
    browser_hash  bytea NOT NULL,                -- of the cookie of the browser that it belongs to
    client_id     uuid NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    parameters    jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX authorization_request_expiry ON authorization_request (expires_at);
CREATE INDEX authorization_request_client ON authorization_request (client_id);

CREATE TABLE authorization_code (
    hash            bytea PRIMARY KEY,
    grant_id        uuid NOT NULL REFERENCES oauth_grant (id) ON DELETE CASCADE,
    redirect_uri    text NOT NULL,
    code_challenge  text,                        -- S256
    offline         boolean NOT NULL,
    nonce           text,
    state           text,
    consent_ids     bigint[] NOT NULL,           -- of the scopes that were asked for
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz                  -- kept, to notice that it comes again
);
CREATE INDEX authorization_code_grant ON authorization_code (grant_id);
CREATE INDEX authorization_code_expiry ON authorization_code (expires_at);

-- Keys of id tokens. A new one is published before it signs, an old one until its tokens are over.
CREATE TABLE signing_key (
    kid          text PRIMARY KEY,               -- RFC 7638 thumbprint
    public_key   jsonb NOT NULL,                 -- JWK
    private_key  bytea NOT NULL,                 -- sealed
    created_at   timestamptz NOT NULL DEFAULT now(),
    signs_from   timestamptz NOT NULL
);
