"""Profiles: one's own, and what others let one see. Not in the Globus API."""

from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict

from towpath.nexus.oauth.callers import bearer, bearer_with, uuids
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import forbidden, invalid, not_found
from towpath.nexus.people import profile as profiles
from towpath.nexus.people import ssh_keys
from towpath.nexus.people.profile import OF_IDENTITY, TOLD, Field, Profile, ProfileError
from towpath.nexus.people.ssh_keys import SshKeyError
from towpath.nexus.scopes import MANAGE_PROFILE
from towpath.nexus.store import accounts, identities
from towpath.nexus.store import profiles as store
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.profiles import SshKeyRow
from towpath.platform.database import Connection


class _Preferences(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mail_invitations: bool | None = None


class _Profile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    phone: str | None = None
    address: str | None = None
    web_page: str | None = None
    visible: dict[str, str] = {}
    preferences: _Preferences = _Preferences()


class ProfileBody(BaseModel):
    """What changes of a profile; what is left out stays, null takes a text away."""

    profile: _Profile


class _Key(BaseModel):
    name: str = ""
    public_key: str


class KeyBody(BaseModel):
    """A new SSH key."""

    ssh_key: _Key


def add_profile_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/profile``."""
    database = core.database

    @app.get("/v2/api/profile")
    async def own(request: Request) -> dict[str, Any]:
        async with database.connection() as connection:
            account = await _account(request, connection)
            return await _own_document(connection, account)

    @app.put("/v2/api/profile")
    async def change(request: Request, body: ProfileBody) -> dict[str, Any]:
        wanted = body.profile
        async with database.transaction() as connection:
            account = await _account(request, connection)
            known = await profiles.of(connection, account.id)
            try:
                changed = profiles.changed(
                    known,
                    values={
                        one: getattr(wanted, one) for one in TOLD if one in wanted.model_fields_set
                    },
                    audiences=wanted.visible,
                    mail_invitations=wanted.preferences.mail_invitations,
                )
            except ProfileError as error:
                raise invalid(str(error)) from error
            await profiles.save(connection, account, changed)
            return await _own_document(connection, account)

    @app.post("/v2/api/profile/ssh_keys", status_code=201)
    async def add_key(request: Request, body: KeyBody) -> dict[str, Any]:
        async with database.transaction() as connection:
            account = await _account(request, connection)
            try:
                added = await ssh_keys.add(
                    connection, account, body.ssh_key.public_key, body.ssh_key.name
                )
            except SshKeyError as error:
                raise invalid(str(error)) from error
        return {"ssh_key": _key_document(added)}

    @app.delete("/v2/api/profile/ssh_keys/{key_id}")
    async def remove_key(request: Request, key_id: UUID) -> dict[str, Any]:
        async with database.transaction() as connection:
            account = await _account(request, connection)
            removed = await ssh_keys.remove(connection, account, key_id)
            if removed is None:
                raise not_found("you have no such key")
        return {"ssh_key": _key_document(removed)}

    @app.get("/v2/api/profile/{identity_id}")
    async def other(request: Request, identity_id: str) -> dict[str, Any]:
        async with database.connection() as connection:
            viewer = await bearer(request, connection)
            found = await identities.identities_by_id(connection, uuids(identity_id))
            if not found or found[0].status == "closed":
                raise not_found(f"there is no identity {identity_id[:100]}")
            mine = await identities.identity_set(connection, viewer.identity_id)
            return await _seen_document(connection, mine, found[0])


async def _account(request: Request, connection: Connection) -> Account:
    token = await bearer_with(request, connection, MANAGE_PROFILE)
    found = await accounts.account_of_identity(connection, token.identity_id)
    if found is None:
        raise forbidden("a client has no profile")
    return found


def _key_document(key: SshKeyRow) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "public_key": key.public_key,
        "fingerprint": key.fingerprint,
        "created": key.created_at.isoformat(timespec="seconds"),
    }


def _values(profile: Profile, identity: Identity) -> dict[str, str | None]:
    of_identity = {str(one): getattr(identity, one) for one in OF_IDENTITY}
    return of_identity | {str(one): profile.values.get(one) for one in TOLD}


async def _own_document(connection: Connection, account: Account) -> dict[str, Any]:
    profile = await profiles.of(connection, account.id)
    own = await identities.identities_of_account(connection, account.id)
    primary = next(one for one in own if one.id == account.primary_identity)
    keys = await store.ssh_keys(connection, account.id)
    document = {
        "identity_id": str(primary.id),
        "username": primary.username,
        **_values(profile, primary),
        "ssh_keys": [_key_document(one) for one in keys],
        "visible": {str(one): str(profile.audiences[one]) for one in Field},
        "preferences": {"mail_invitations": profile.mail_invitations},
    }
    return {"profile": document}


async def _seen_document(
    connection: Connection, mine: list[UUID], identity: Identity
) -> dict[str, Any]:
    """What is not for the viewer is left out, as if it were not told."""
    seen = (await profiles.visible(connection, mine, [identity]))[identity.id]
    document: dict[str, Any] = {"identity_id": str(identity.id), "username": identity.username}
    profile = Profile()
    keys: list[SshKeyRow] = []
    if identity.account_id is not None:
        profile = await profiles.of(connection, identity.account_id)
        keys = await store.ssh_keys(connection, identity.account_id)
    values = _values(profile, identity)
    document |= {one: value for one, value in values.items() if one in seen and value is not None}
    if Field.SSH_KEYS in seen and keys:
        document["ssh_keys"] = [
            {"public_key": one.public_key, "fingerprint": one.fingerprint} for one in keys
        ]
    return {"profile": document}
