"""The pages for becoming somebody here: an invitation, signing up, confirming an address."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame, signing_in
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.handover import HOME
from towpath.nexus.pages.one_time import forget_link, keep_link, kept_link
from towpath.nexus.people import accounts, throttle
from towpath.nexus.people.accounts import NAME_LIMIT, AccountError, NewPerson
from towpath.nexus.people.service import People
from towpath.nexus.store import identities, links
from towpath.nexus.store.identities import Provider
from towpath.nexus.store.links import Link
from towpath.platform.database import Connection
from towpath.platform.mail import is_address

_GONE = "It was used already, or is too old. Ask whoever sent it for a new one."


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v2/web", include_in_schema=False)

    @router.get("/sign-up")
    async def show_sign_up(request: Request) -> Response:
        _check_open(people)
        return frame.render(request, "sign_up.html", told="", email="")

    @router.post("/sign-up")
    async def sign_up(request: Request) -> Response:
        form = await frame.checked_form(request)
        _check_open(people)
        email = form.get("email", "").strip()
        if not is_address(email):
            told = "This is no address that mail can be sent to."
            return frame.render(
                request, "sign_up.html", status=422, told=told, email=email[:NAME_LIMIT]
            )
        address = frame.address_of(request)
        wait_s = await people.ask_to_sign_up(email, address=address)
        if wait_s:
            told = throttle.told(wait_s)
            return frame.render(request, "sign_up.html", status=429, told=told, email=email)
        return frame.render(
            request,
            "message.html",
            title="Look into your mail",
            message=f"A link is on its way to {email}. It works once, for a day.",
            link=None,
        )

    async def invitation(request: Request, connection: Connection) -> tuple[Link, Provider]:
        link = await links.find(connection, kept_link(request, "invitation"), "invitation")
        if link is None or (people.settings.sign_up == "closed" and not _is_named(link)):
            raise PageError(410, "This link is of no use any more", _GONE)
        return link, await people.provider(connection)

    def page(
        request: Request,
        link: Link,
        provider: Provider,
        form: Mapping[str, str],
        *,
        wrong: Mapping[str, str],
        told: str = "",
    ) -> Response:
        fields = ("username", "name", "email", "organization", "password")
        return frame.render(
            request,
            "welcome.html",
            status=422 if wrong or told else 200,
            makes_administrator=link.details.get("administrator", False),
            meant=link.details.get("username"),
            email=link.details.get("email"),
            domain=provider.domains[0],
            shortest=people.settings.password_length,
            form={one: form.get(one, link.details.get(one) or "")[:NAME_LIMIT] for one in fields},
            wrong={one: wrong.get(one) for one in fields},
            told=told,
        )

    @router.get("/welcome")
    async def show_welcome(request: Request) -> Response:
        if "link" in request.query_params:
            return keep_link(request, "invitation")
        async with people.database.connection() as connection:
            link, provider = await invitation(request, connection)
        return page(request, link, provider, {}, wrong={})

    @router.post("/welcome")
    async def welcome(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with people.database.connection() as connection:
            link, provider = await invitation(request, connection)
        person, wrong = _person(form, link, provider)
        password = form.get("password", "")
        bad = people.problem(password, person.username, person.email, person.name)
        if bad:
            wrong["password"] = bad
        if wrong:
            return page(request, link, provider, form, wrong=wrong)
        stored = await people.passwords.hash(password)
        try:
            async with people.database.transaction() as connection:
                if await links.use(connection, kept_link(request, "invitation"), "invitation") != (
                    link
                ):
                    raise PageError(410, "This link is of no use any more", _GONE)
                identity_id = await accounts.register(connection, provider, person, stored)
                if person.email and not person.email_verified:
                    address = frame.address_of(request)
                    await people.ask_to_verify(
                        connection, identity_id, person.email, address=address
                    )
                await signing_in.sign_in(
                    request,
                    connection,
                    identity_id=identity_id,
                    provider_id=provider.id,
                    amr=["pwd"],
                )
        except AccountError as error:
            frame.drop_cookies(request)
            return page(request, link, provider, form, wrong={"username": str(error)})
        forget_link(request, "invitation")
        return frame.redirect(request, HOME)

    async def verification(
        request: Request, connection: Connection
    ) -> tuple[Link, identities.Identity]:
        link = await links.find(connection, kept_link(request, "verification"), "verification")
        found = (
            await identities.identities_by_id(connection, [link.identity_id])
            if link and link.identity_id
            else []
        )
        if link is None or not found:
            raise PageError(410, "This link is of no use any more", _GONE)
        return link, found[0]

    @router.get("/verify")
    async def show_verify(request: Request) -> Response:
        if "link" in request.query_params:
            return keep_link(request, "verification")
        async with people.database.connection() as connection:
            link, identity = await verification(request, connection)
        return frame.render(
            request, "verify.html", email=link.details["email"], username=identity.username
        )

    @router.post("/verify")
    async def verify(request: Request) -> Response:
        await frame.checked_form(request)
        async with people.database.transaction() as connection:
            link, identity = await verification(request, connection)
            await links.use(connection, kept_link(request, "verification"), "verification")
            await identities.set_email(connection, identity.id, str(link.details["email"]))
            # links in the old mailbox are not for whoever reads it now
            await links.withdraw(connection, identity.id, "reset")
            act = Act(
                "account.changed",
                actor=identity.id,
                subject=identity.id,
                details={"what": ["email"]},
            )
            await audit.append(connection, act)
        if identity.email and identity.email_verified and identity.email != link.details["email"]:
            people.post.hand_over(
                identity.email,
                f"Your address at {people.settings.service_name} was changed",
                f"Mail for {identity.username} goes to another address now. If that was not you,"
                f" tell the people who run {people.origin}.\n",
            )
        forget_link(request, "verification")
        return frame.render(
            request,
            "message.html",
            title="Your address is confirmed",
            message="You can set a new password by mail now, should you forget yours.",
            link=("/account", "To your account"),
        )

    return router


def _check_open(people: People) -> None:
    if people.settings.sign_up != "open":
        raise PageError(
            404,
            "Accounts are by invitation",
            "Ask the people who run this service for a link that makes yours.",
        )


def _is_named(link: Link) -> bool:
    """Made on the machine itself, for somebody or for the first administrator."""
    return "username" in link.details or "first" in link.details


def _person(
    form: Mapping[str, str], link: Link, provider: Provider
) -> tuple[NewPerson, dict[str, str]]:
    """Who is to be registered, and what is wrong, by field."""
    wrong: dict[str, str] = {}
    meant = link.details.get("username")
    username = ""
    try:
        username = meant or accounts.username_of(form.get("username", ""), provider.domains[0])
    except AccountError as error:
        wrong["username"] = str(error)
    name = form.get("name", "").strip()
    if not name or len(name) > NAME_LIMIT:
        wrong["name"] = f"Give a name of at most {NAME_LIMIT} characters."
    email = link.details.get("email") or form.get("email", "").strip()
    if not is_address(email):
        wrong["email"] = "This is no address that mail can be sent to."
    person = NewPerson(
        username=username,
        name=name,
        email=email,
        email_verified=bool(link.details.get("email_verified")),
        organization=form.get("organization", "").strip()[:NAME_LIMIT] or None,
        administrator=bool(link.details.get("administrator")),
        name_is_meant=meant is not None,
    )
    return person, wrong
