"""The pages of somebody's own account."""

import json
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.user_agents import browser_name
from towpath.nexus.pages.visitor import Visitor, visitor
from towpath.nexus.people import accounts, ssh_keys, throttle
from towpath.nexus.people.accounts import NAME_LIMIT
from towpath.nexus.people.service import People
from towpath.nexus.people.ssh_keys import SshKeyError
from towpath.nexus.store import identities, passwords, profiles, sessions
from towpath.nexus.store.profiles import SshKeyRow
from towpath.platform.mail import is_address


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/account", include_in_schema=False)
    database = people.database

    @router.get("")
    async def overview(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            provider = await people.provider(connection)
        return frame.render(
            request,
            "overview.html",
            me=me,
            verify=me.primary.identity_provider == provider.id and not me.primary.email_verified,
        )

    @router.post("/verify")
    async def verify_again(request: Request) -> Response:
        await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            if me.primary.email:
                wait_s = await people.ask_to_verify(
                    connection, me.primary.id, me.primary.email, address=frame.address_of(request)
                )
                if wait_s:
                    raise PageError(429, "Not so often", throttle.told(wait_s))
        return _done(request, "Look into your mail", "A link is on its way. It works for a day.")

    @router.get("/export")
    async def export(request: Request) -> Response:
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            document = await accounts.export(connection, me.account)
        return Response(
            json.dumps(document, indent=2),
            media_type="application/json",
            headers={
                "Content-Disposition": 'attachment; filename="account.json"',
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )

    @router.get("/profile")
    async def show_profile(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            keys = await profiles.ssh_keys(connection, me.account.id)
        told = "Saved." if "saved" in request.query_params else ""
        return _profile_page(request, me, keys, told=told)

    @router.post("/profile")
    async def save_profile(request: Request) -> Response:
        form = await frame.checked_form(request)
        name, email = form.get("name", "").strip(), form.get("email", "").strip()
        organization = form.get("organization", "").strip()
        async with database.connection() as connection:
            me = await visitor(request, connection)
            secured = await passwords.of(connection, me.primary.id) is not None
        asked = email.casefold() != (me.primary.email or "").casefold()
        wrong = {}
        # the address can set a new password: who only has the session must not have it changed
        if asked and secured and not await people.has_password(me.primary, form.get("current", "")):
            wrong["current"] = "A new address needs your password."
        async with database.transaction() as connection:
            if not name or len(name) > NAME_LIMIT:
                wrong["name"] = f"Give a name of at most {NAME_LIMIT} characters."
            if len(organization) > NAME_LIMIT:
                wrong["organization"] = f"At most {NAME_LIMIT} characters."
            if not is_address(email):
                wrong["email"] = "This is no address that mail can be sent to."
            if wrong:
                keys = await profiles.ssh_keys(connection, me.account.id)
                return _profile_page(request, me, keys, form=form, wrong=wrong)
            await identities.describe(
                connection, me.primary.id, name=name, organization=organization or None
            )
            if asked:
                wait_s = await people.ask_to_verify(
                    connection, me.primary.id, email, address=frame.address_of(request)
                )
                if wait_s:
                    raise PageError(429, "Not so often", throttle.told(wait_s))
            changed = Act(
                "account.changed",
                actor=me.primary.id,
                subject=me.primary.id,
                details={"what": ["name", "organization"]},
            )
            await audit.append(connection, changed)
        if asked:
            return _done(
                request,
                "Look into your mail",
                f"A link is on its way to {email}. When you follow it, mail goes there.",
            )
        return frame.redirect(request, "/account/profile?saved")

    @router.post("/profile/keys")
    async def add_key(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            try:
                await ssh_keys.add(
                    connection, me.account, form.get("public_key", ""), form.get("key_name", "")
                )
            except SshKeyError as error:
                keys = await profiles.ssh_keys(connection, me.account.id)
                return _profile_page(request, me, keys, wrong={"public_key": str(error)})
        return frame.redirect(request, "/account/profile?saved")

    @router.post("/profile/keys/remove")
    async def remove_key(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await ssh_keys.remove(connection, me.account, frame.id_of(form.get("key", "")))
        return frame.redirect(request, "/account/profile?saved")

    @router.get("/security")
    async def show_security(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            provider = await people.provider(connection)
            local = [one for one in me.identities if one.identity_provider == provider.id]
            has_password = bool(local) and await passwords.of(connection, local[0].id) is not None
        return frame.render(
            request,
            "security.html",
            me=me,
            has_password=has_password,
            shortest=people.settings.password_length,
            wrong={},
        )

    @router.post("/security/password")
    async def change_password(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.connection() as connection:
            me = await visitor(request, connection)
            provider = await people.provider(connection)
            local = [one for one in me.identities if one.identity_provider == provider.id]
        if not local:
            raise PageError(404, "There is no password", "You log in with another institution.")
        mine = local[0]
        wrong = {}
        if not await people.has_password(mine, form.get("current", "")):
            wrong["current"] = "This is not your password, or there were too many attempts."
        else:
            bad = people.problem(form.get("password", ""), mine.username, mine.email, mine.name)
            if bad:
                wrong["password"] = bad
        if wrong:
            return frame.render(
                request,
                "security.html",
                status=422,
                me=me,
                has_password=True,
                shortest=people.settings.password_length,
                wrong=wrong,
            )
        stored = await people.passwords.hash(form["password"])
        async with database.transaction() as connection:
            await people.set_password(connection, mine, stored, keep=me.session.id)
            await sessions.rotate(connection, me.session.id, frame.new_session_value(request))
        return _done(request, "Your new password is set", "All other browsers were logged out.")

    @router.get("/sessions")
    async def show_sessions(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            idle_s = frame.frame_of(request).session_idle_s
            found = await sessions.of_account(connection, me.account.id, idle_s=idle_s)
        rows = [(one, browser_name(one.user_agent)) for one in found]
        return frame.render(request, "sessions.html", me=me, rows=rows)

    @router.post("/sessions/end")
    async def end_sessions(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            if form.get("session") == "others":
                ended = await sessions.end_of_account(connection, me.account.id, but=me.session.id)
            else:
                wanted = frame.id_of(form.get("session", ""))
                ended = await sessions.end_one_of_account(connection, me.account.id, wanted)
            for one in ended:
                act = Act(
                    "session.ended",
                    actor=me.primary.id,
                    subject=one,
                    details={"how": "by its owner"},
                )
                await audit.append(connection, act)
        return frame.redirect(request, "/account/sessions")

    return router


def _profile_page(
    request: Request,
    me: Visitor,
    keys: Sequence[SshKeyRow],
    *,
    form: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
    told: str = "",
) -> Response:
    own = me.primary
    shown = {"name": own.name, "organization": own.organization, "email": own.email}
    if form is not None:  # what is wrong is put right, not typed again
        shown = {name: form.get(name, "")[:NAME_LIMIT] for name in shown}
    return frame.render(
        request,
        "profile.html",
        status=422 if wrong else 200,
        me=me,
        keys=keys,
        form={name: value or "" for name, value in shown.items()},
        wrong=wrong or {},
        told=told,
    )


def _done(request: Request, title: str, message: str) -> Response:
    return frame.render(
        request,
        "message.html",
        title=title,
        message=message,
        link=("/account", "To your account"),
    )
