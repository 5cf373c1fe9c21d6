"""Routes of user credentials: which account the endpoint's rules give a person.

Nobody needs to make one: who is mapped to an account has it. Making one says which account is
meant, and is refused if it is not the one that the rules give.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import Document, Text
from towpath.transfer.connect import mapping
from towpath.transfer.manager import answers
from towpath.transfer.manager.asking import PREFIX_OF_EACH, Asked, Asking, forbidden, read
from towpath.transfer.manager.bodies import Name, typed
from towpath.transfer.manager.collections import PageSize
from towpath.transfer.manager.documents import (
    POSIX,
    credential_document,
    credential_id,
    gateway_id,
)
from towpath.transfer.manager.envelope import (
    PAGE_USUAL,
    not_found,
    page,
    parsed_id,
    success,
    unprocessable,
)
from towpath.transfer.store import connect, principals, user_credentials
from towpath.transfer.store.user_credentials import UserCredential

router = new_router(PREFIX_OF_EACH)


class CredentialDocument(Document):
    """What may be said of a credential. Absent fields keep their value."""

    DATA_TYPE: Annotated[str, typed("user_credential")]
    storage_gateway_id: UUID | None = None
    identity_id: UUID | None = None
    connector_id: UUID | None = None
    username: Text | None = None
    display_name: Name | None = None
    policies: dict[Text, Any] | None = None


async def _account(conn: Connection, asked: Asking, identity_id: UUID) -> str | None:
    """The account that the rules give a person now; None: none, or nobody knows his name here."""
    if identity_id == asked.who.id:
        username = asked.who.username
    else:
        person = await principals.get(conn, identity_id)
        username = None if person is None else person.username
    if username is None:
        return None
    return await mapping.account_by(
        await connect.get_mappings(conn, asked.endpoint_id),
        username=username,
        identity_id=str(identity_id),
    )


async def _own(conn: Connection, asked: Asking) -> UserCredential | None:
    """The caller's, made if the rules give an account; it follows them."""
    made = credential_id(asked.endpoint_id, asked.who.id)
    known = await user_credentials.get(conn, asked.endpoint_id, made)
    account = await _account(conn, asked, asked.who.id)
    if account is None or (known is not None and known.username == account):
        return known
    now = UserCredential(
        made,
        asked.endpoint_id,
        asked.who.id,
        account,
        None if known is None else known.display_name,
    )
    await user_credentials.put(conn, now)
    return now


async def _document(conn: Connection, asked: Asking, one: UserCredential) -> dict[str, Any]:
    account = await _account(conn, asked, one.identity_id)
    return credential_document(one, invalid=account != one.username)


@router.get("/user_credentials", response_model=answers.UserCredentials)
async def list_credentials(
    asked: Asked,
    storage_gateway: str | None = None,
    page_size: PageSize = PAGE_USUAL,
    marker: str | None = None,
) -> JSONResponse:
    """The caller's own."""
    here = gateway_id(asked.endpoint_id)
    if storage_gateway and parsed_id(storage_gateway, "storage_gateway") != here:
        return success()
    async with asked.service.database.transaction() as conn:
        await _own(conn, asked)
        mine = [
            (one.id, await _document(conn, asked, one))
            for one in await user_credentials.of_endpoint(conn, asked.endpoint_id)
            if one.identity_id in asked.who.identities
        ]
    data, following = page(mine, marker or None, page_size)
    return success(data, marker=following)


async def _known(conn: Connection, asked: Asking, text: str) -> UserCredential:
    """One that the caller may see: his own; for an administrator of the endpoint, anybody's."""
    try:
        wanted = UUID(text)
    except ValueError:
        raise not_found("user credential", text) from None
    if wanted == credential_id(asked.endpoint_id, asked.who.id):
        found = await _own(conn, asked)
    else:
        found = await user_credentials.get(conn, asked.endpoint_id, wanted)
    if found is None or not (
        found.identity_id in asked.who.identities or asked.standing.administers
    ):
        raise not_found("user credential", text)
    return found


@router.get("/user_credentials/{user_credential_id}", response_model=answers.UserCredentials)
async def show_credential(user_credential_id: str, asked: Asked) -> JSONResponse:
    """One of them."""
    async with asked.service.database.transaction() as conn:
        one = await _known(conn, asked, user_credential_id)
        return success([await _document(conn, asked, one)])


@router.post(
    "/user_credentials",
    status_code=201,
    response_model=answers.UserCredentials,
    openapi_extra=reads(CredentialDocument),
)
async def create_credential(asked: Asked, request: Request) -> JSONResponse:
    """Say which account a person has."""
    document = await read(request, CredentialDocument)
    here = gateway_id(asked.endpoint_id)
    if document.storage_gateway_id != here:
        raise unprocessable(f"storage_gateway_id: the endpoint has one storage gateway, {here}")
    _check_posix(document)
    identity_id = document.identity_id or asked.who.id
    if identity_id not in asked.who.identities and not asked.standing.administers:
        raise forbidden("Only an administrator of the endpoint may do it for others")
    async with asked.service.database.transaction() as conn:
        account = await _account(conn, asked, identity_id)
        _check_account(document.username or account, account, identity_id)
        assert account is not None, "checked"
        one = UserCredential(
            credential_id(asked.endpoint_id, identity_id),
            asked.endpoint_id,
            identity_id,
            account,
            document.display_name,
        )
        await user_credentials.put(conn, one)
    return success(
        [credential_document(one, invalid=False)],
        status=201,
        message=f"Created User Credential {one.id}",
    )


def _check_posix(document: CredentialDocument) -> None:
    kind = str((document.policies or {}).get("DATA_TYPE", "posix"))
    if not kind.startswith("posix") or document.connector_id not in (None, UUID(POSIX)):
        raise unprocessable(
            "The endpoint's storage gateway is POSIX: its files are used by accounts of its"
            " servers, and no keys of a storage are kept here"
        )


def _check_account(wanted: str | None, account: str | None, identity_id: UUID) -> None:
    if account is None:
        raise unprocessable(
            f"The endpoint's rules give {identity_id} no account, or his name is not known yet."
            " Whoever runs its servers says who has which: towpath connect map add MATCH ACCOUNT"
        )
    if wanted != account:
        raise unprocessable(
            f"username: the endpoint's rules give {identity_id} the account {account!r}. Whoever"
            " runs its servers says who has which: towpath connect map add MATCH ACCOUNT"
        )


@router.patch(
    "/user_credentials/{user_credential_id}",
    response_model=answers.UserCredentials,
    openapi_extra=reads(CredentialDocument),
)
async def update_credential(
    user_credential_id: str, asked: Asked, request: Request
) -> JSONResponse:
    """Name it."""
    document = await read(request, CredentialDocument)
    _check_posix(document)
    async with asked.service.database.transaction() as conn:
        before = await _known(conn, asked, user_credential_id)
        if document.identity_id not in (None, before.identity_id):
            raise unprocessable("identity_id: it cannot be changed")
        account = await _account(conn, asked, before.identity_id)
        _check_account(document.username or account, account, before.identity_id)
        assert account is not None, "checked"
        named = "display_name" in document.model_fields_set
        after = UserCredential(
            before.id,
            before.endpoint_id,
            before.identity_id,
            account,
            document.display_name if named else before.display_name,
        )
        await user_credentials.put(conn, after)
    return success(
        [credential_document(after, invalid=False)],
        message=f"Updated User Credential {after.id}",
    )


@router.delete("/user_credentials/{user_credential_id}", response_model=answers.Done)
async def delete_credential(user_credential_id: str, asked: Asked) -> JSONResponse:
    """Forget it, with its name. Who has the account by the rules has it still, also for what he
    shares; and another credential when he asks."""
    async with asked.service.database.transaction() as conn:
        one = await _known(conn, asked, user_credential_id)
        await user_credentials.delete(conn, one.id)
    return success(message=f"Deleted User Credential {one.id}")
