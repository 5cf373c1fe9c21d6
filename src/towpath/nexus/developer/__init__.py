"""What people make who build on nexus: projects, clients, their secrets, scopes, and policies."""
