"""Mails to those who are invited to a group.

Whoever has a group can invite anybody, with a name for the group of his choice: so a mail goes only
to an address that its owner has confirmed, says nothing but the two names and the link, and there
are few of them.
"""

from dataclasses import dataclass

from towpath.nexus.groups.rules import Action
from towpath.nexus.groups.service import Caller, Done
from towpath.nexus.people import profile, throttle
from towpath.nexus.people.throttle import Attempt
from towpath.nexus.store import identities
from towpath.nexus.store.throttle import Bucket
from towpath.platform.database import Connection

SENDER_SIZE, SENDER_EVERY_S = 100, 600.0
"""Mails that one person causes: a class at once, then one each ten minutes."""
RECEIVER_SIZE, RECEIVER_EVERY_S = 5, 3600.0
"""Mails to one person about groups, whoever causes them."""
GROUP_SIZE, GROUP_EVERY_S = 1, 86_400.0
"""To one person about one group: a day must pass before a reminder."""


@dataclass(frozen=True)
class Letter:
    """A mail that is to be sent when the invitation is committed."""

    to: str
    subject: str
    text: str


async def letters(connection: Connection, caller: Caller, done: Done, origin: str) -> list[Letter]:
    """The mails about a batch's invitations; counted in its transaction."""
    invited = [record.membership.identity_id for record in done.records.get(Action.INVITE, ())]
    if not invited:
        return []
    known = await identities.identities_by_id(connection, [caller.identity_id, *invited])
    inviting = next(one for one in known if one.id == caller.identity_id)
    by = f"{inviting.name} ({inviting.username})" if inviting.name else inviting.username
    found = []
    for one in known:
        if one.id not in invited or not one.email or not one.email_verified:
            continue
        if one.account_id and not (await profile.of(connection, one.account_id)).mail_invitations:
            continue
        attempt = Attempt(
            (
                Bucket(f"invites {done.group.id} {one.id}", GROUP_SIZE, GROUP_EVERY_S),
                Bucket(f"invited {one.id}", RECEIVER_SIZE, RECEIVER_EVERY_S),
                Bucket(f"inviting {caller.identity_id}", SENDER_SIZE, SENDER_EVERY_S),
            )
        )
        if await throttle.take(connection, attempt):
            continue
        text = (
            f"{by} invites you ({one.username}) to the group\n\n"
            f"    {done.group.name}\n\n"
            f"Accept or decline:\n\n    {origin}/groups/{done.group.id}\n\n"
            "If you do not know them, do nothing: you are in the group only if you accept.\n"
        )
        found.append(Letter(one.email, f"Invitation to the group {done.group.name}", text))
    return found
