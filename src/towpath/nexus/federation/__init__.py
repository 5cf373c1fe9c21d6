"""Logins at other OpenID providers: Towpath as their relying party.

An upstream authenticates its own people and nobody else's: it speaks for the domains that the
operator gave it. What a proof of it opens is decided in `linking`.
"""
