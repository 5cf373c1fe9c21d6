-- Groups: who is in them, and what their admins decided.

CREATE TABLE user_group (
    id                    uuid PRIMARY KEY,
    name                  text NOT NULL,
    description           text,
    terms_and_conditions  text,
    parent_id             uuid REFERENCES user_group (id),
    -- From the root down to the parent. A group never gets another parent, so this never changes; it
    -- makes "whose active members are members here, too" one lookup instead of a recursion.
    ancestor_ids          uuid[] NOT NULL DEFAULT '{}',
    visibility            text NOT NULL CHECK (visibility IN ('authenticated', 'private')),
    members_visibility    text NOT NULL CHECK (members_visibility IN ('members', 'managers')),
    join_requests         boolean NOT NULL,
    direct_joins          boolean NOT NULL,
    signup_fields         text[] NOT NULL,
    high_assurance        boolean NOT NULL,
    assurance_timeout_s   integer NOT NULL CHECK (assurance_timeout_s > 0),
    created_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX user_group_parent ON user_group (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX user_group_ancestors ON user_group USING gin (ancestor_ids) WHERE parent_id IS NOT NULL;

CREATE TABLE membership (
    group_id       uuid NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    identity_id    uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    role           text NOT NULL CHECK (role IN ('member', 'manager', 'admin')),
    status         text NOT NULL
                   CHECK (status IN ('active', 'invited', 'pending', 'rejected', 'removed', 'left', 'declined')),
    status_reason  text,
    invited_by     uuid,
    invited_at     timestamptz,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, identity_id)
);
-- "My groups" and every check of a membership begin with somebody's identities; read from the index alone.
CREATE INDEX membership_of_identity ON membership (identity_id, status) INCLUDE (group_id, role);
CREATE INDEX membership_admins ON membership (group_id) WHERE role = 'admin' AND status = 'active';

-- What somebody has told a group that asks for it. It comes before the membership, so it has no key to it.
CREATE TABLE signup (
    group_id     uuid NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    identity_id  uuid NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
    fields       jsonb NOT NULL,
    PRIMARY KEY (group_id, identity_id)
);
CREATE INDEX signup_of_identity ON signup (identity_id);

CREATE TABLE group_preference (
    identity_id  uuid PRIMARY KEY REFERENCES identity (id) ON DELETE CASCADE,
    allow_add    boolean NOT NULL
);
