"""The client: control sessions, lanes (pairs of sessions moving files), our own data channels."""
