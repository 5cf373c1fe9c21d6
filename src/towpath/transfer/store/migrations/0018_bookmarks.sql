-- Places that users have given a name.
CREATE TABLE bookmark (
    id           uuid PRIMARY KEY,
    owner_id     uuid NOT NULL,
    name         text NOT NULL,
    endpoint_id  uuid NOT NULL REFERENCES endpoint (id),
    path         text NOT NULL,
    pinned       boolean NOT NULL DEFAULT false,
    UNIQUE (owner_id, name)
);
