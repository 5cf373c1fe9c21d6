"""Tells people what became of what they asked for: by mail, and through webhooks.

It delivers what is in an outbox (`towpath.notify.queue`), which is another service's: that one
writes it in the transaction of the change (ADR 0024). Nothing here knows whose it is.
"""
