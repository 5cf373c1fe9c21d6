"""The page on which administrators look after people's accounts."""

from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.visitor import Visitor, administrator
from towpath.nexus.people import accounts as acts
from towpath.nexus.people.accounts import AccountError
from towpath.nexus.people.service import INVITATION_S, People
from towpath.nexus.store import accounts, identities, links
from towpath.platform.database import Connection
from towpath.platform.mail import is_address

SHOWN = 100
"""Accounts in the list; a search finds the others."""
SEARCH_LIMIT = 100


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/account/people", include_in_schema=False)
    database = people.database

    async def page(
        request: Request,
        connection: Connection,
        me: Visitor,
        *,
        status: int = 200,
        told: str = "",
        wrong: str | None = None,
        link: str = "",
    ) -> Response:
        text = request.query_params.get("search", "").replace("\0", "")[:SEARCH_LIMIT]
        found = await accounts.search(connection, text, SHOWN)
        provider = await people.provider(connection)
        return frame.render(
            request,
            "people.html",
            status=status,
            me=me,
            found=found,
            cut=len(found) == SHOWN,
            search=text,
            domain=provider.domains[0],
            told=told,
            wrong=wrong,
            link=link,
        )

    @router.get("")
    async def show(request: Request) -> Response:
        async with database.connection() as connection:
            me = await administrator(request, connection)
            return await page(request, connection, me)

    @router.post("/invite")
    async def invite(request: Request) -> Response:
        form = await frame.checked_form(request)
        email = form.get("email", "").strip()
        async with database.transaction() as connection:
            me = await administrator(request, connection)
            provider = await people.provider(connection)
            try:
                if email and not is_address(email):
                    raise AccountError("This is no address that mail can be sent to.")
                username = acts.username_of(form.get("username", ""), provider.domains[0])
                known = await identities.identities_by_username(connection, [username])
                if known and known[0].status != "unused":
                    raise AccountError(f"{username} is there already.")
            except AccountError as error:
                return await page(request, connection, me, status=422, wrong=str(error))
            await links.withdraw_invitations(connection, username)
            details: dict[str, object] = {"username": username}
            if email:
                details |= {"email": email, "email_verified": True}
            link = await people.new_link(
                connection, "invitation", lifetime_s=INVITATION_S, details=details
            )
            act = Act(
                "account.invited",
                actor=me.primary.id,
                subject=username,
                details={"mailed": bool(email)},
            )
            await audit.append(connection, act)
            if email:
                # only by mail, which is what makes the address a confirmed one
                text = (
                    f"{me.primary.name or me.primary.username} invites you to"
                    f" {people.settings.service_name} at {people.origin}.\n\n"
                    f"This link makes your account. It works once, for a week:\n{link}\n"
                )
                subject = f"Your account at {people.settings.service_name}"
                people.post.hand_over(email, subject, text)
                told = f"An invitation for {username} is on its way to {email}."
                return await page(request, connection, me, told=told)
            told = f"Send this link to {username} yourself; it works once, for a week."
            return await page(request, connection, me, told=told, link=link)

    @router.post("/suspend")
    async def suspend(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await administrator(request, connection)
            wanted = frame.id_of(form.get("account", ""))
            if wanted == me.account.id:
                raise PageError(
                    409, "This is your own account", "Let another administrator suspend it."
                )
            await acts.suspend(connection, wanted, me.primary.id)
        return frame.redirect(request, "/account/people")

    @router.post("/restore")
    async def restore(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await administrator(request, connection)
            await acts.restore(connection, frame.id_of(form.get("account", "")), me.primary.id)
        return frame.redirect(request, "/account/people")

    return router
