"""The client: control sessions, lanes (pairs of sessions that move files), our own data channels."""
