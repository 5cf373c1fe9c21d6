"""OAuth 2.0 and OpenID Connect: who may get which token, and how."""
