"""Sharing a directory with others, as a guest collection: who may, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.transfer import names
from towpath.transfer.api.consent import require_data_access, require_data_access_to_share
from towpath.transfer.api.service import TransferService, visible_endpoint, who
from towpath.transfer.browse.errors import Operation, TooBusy, api_error
from towpath.transfer.connect.permits import Refused, permit_for
from towpath.transfer.rights import shared_at
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store import endpoints, principals
from towpath.transfer.store.endpoints import Endpoint, EntityType

MAX_SHARED = 1000
"""Guest collections that one person may have of a host. More rules in one do the same."""

_KINDS = {
    EntityType.SERVER: EntityType.SERVER_SHARE,
    EntityType.PERSONAL: EntityType.PERSONAL_SHARE,
    EntityType.COLLECTION: EntityType.COLLECTION_SHARE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGuest:
    """What is to be shared, and how it is to be called. `path`: of a directory of the host, as its
    users spell it; `public`: whether those may find it to whom no rule gives access."""

    host_id: UUID
    path: str
    display_name: str
    public: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


async def new_guest_collection(
    service: TransferService, caller: Principal, wanted: NewGuest, *, as_manager: bool = False
) -> Endpoint:
    """Share a directory with nobody as yet; the caller is its owner. `as_manager`: asked at the
    Manager of its endpoint, which has a consent of its own.

    Who may use the host himself may share of it, unless its owner forbids that. Others use it with
    his credential, or as his account; so that has to work: the directory is looked at. Raises
    ApiError.
    """
    async with service.database.connection() as conn:
        host = await _may_share(conn, service, caller, wanted.host_id)
    require = require_data_access_to_share if as_manager else require_data_access
    await require(service, caller, host)
    share_path = await _directory(service, caller, host, wanted.path)
    if shared_at(host.managed.get("sharing_restrict_paths"), share_path) == "none":
        raise ApiError.forbidden(
            f"The managers of “{host.display_name}” let nobody share this directory of it, or"
            " something below"
        )
    async with service.database.transaction() as conn:
        # held: while it is not deleted, what is shared of it is not either
        host = await _may_share(conn, service, caller, wanted.host_id, lock=True)
        if await endpoints.count_shared(conn, host.id, caller.sub) >= MAX_SHARED:
            raise ApiError(
                409,
                "LimitExceeded",
                f"You share {MAX_SHARED} directories of this already: delete some of these",
            )
        guest = Endpoint(
            id=uuid4(),
            owner_id=caller.sub,
            owner_string=caller.username,
            display_name=wanted.display_name,
            host=host.host,
            port=host.port,
            subject=host.subject,
            data_hosts=host.data_hosts,
            public=wanted.public,
            details=dict(wanted.details),
            entity_type=_KINDS[host.entity_type],
            host_endpoint_id=host.id,
            share_path=share_path,
        )
        await endpoints.insert(conn, guest, {})
        await principals.put(conn, who(caller))
    return guest


async def _may_share(
    conn: Connection,
    service: TransferService,
    caller: Principal,
    host_id: UUID,
    *,
    lock: bool = False,
) -> Endpoint:
    seen = await visible_endpoint(conn, host_id, who(caller), service.now(), lock=lock)
    host = seen.endpoint
    if host.is_guest:
        raise ApiError.bad_request(
            f"“{host.display_name}” is shared itself: only its owner may share that directory"
        )
    if not host.functional:
        raise ApiError.bad_request(
            f"“{host.display_name}” has no files of its own: share of one of its collections"
        )
    if not host.shareable:
        raise ApiError.forbidden(f"The owner of “{host.display_name}” lets nobody share of it")
    if host.is_connect:
        permit = await permit_for(conn, host, who(caller), writes=False)
        if isinstance(permit, Refused):
            raise ApiError.forbidden(f"{permit.message}: {permit.advice}")
        _check_account(host, permit.account)
    return host


def _check_account(host: Endpoint, account: str | None) -> None:
    """Whether the managers of a collection let this account share of it."""
    allowed = host.managed.get("sharing_users_allow") or [account]
    if account not in allowed or account in (host.managed.get("sharing_users_deny") or ()):
        raise ApiError.forbidden(
            f"The managers of “{host.display_name}” do not let your account {account} share of it"
        )


async def _directory(service: TransferService, caller: Principal, host: Endpoint, path: str) -> str:
    """The directory (`Endpoint.share_path`), seen with the caller's own login. Where it really is:
    links that lead into it are told from those that lead out by that.
    """
    try:
        found = await service.browser.real_directory(host.id, who(caller), names.check_path(path))
    except names.InvalidPathError as error:
        raise ApiError.bad_request(f"host_path: {error}", reason="InvalidPath") from None
    except GridFTPError as error:
        if error.kind is Kind.NOT_A_DIRECTORY:
            raise ApiError.bad_request(
                f"host_path: '{names.to_text(error.path or path)}' is not a directory",
                reason="InvalidPath",
            ) from None
        raise api_error(error, Operation.SHARE) from error
    except (SessionUnavailable, TooBusy) as error:
        raise api_error(error, Operation.SHARE) from error
    return found.rstrip("/")
