-- Who is asked for a passkey after the password.
CREATE TABLE passkey_wanted (
    identity_id  uuid PRIMARY KEY REFERENCES identity (id) ON DELETE CASCADE,
    since        timestamptz NOT NULL DEFAULT now()
);
