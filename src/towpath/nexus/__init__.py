"""Nexus: who is who. Clients, their identities, and the tokens they present."""
