"""The page on which people tell how to reach them, and who sees what of them."""

from fastapi import APIRouter, Request, Response

from towpath.nexus.pages import frame
from towpath.nexus.pages.visitor import Visitor, visitor
from towpath.nexus.people import profile as profiles
from towpath.nexus.people.profile import OF_IDENTITY, TOLD, Audience, Field, Profile, ProfileError
from towpath.nexus.people.service import People
from towpath.nexus.store import groups

PATH = "/account/visibility"
_LABELS = {
    Field.NAME: "Name",
    Field.ORGANIZATION: "Organization",
    Field.EMAIL: "E-mail address",
    Field.PHONE: "Phone",
    Field.ADDRESS: "Postal address",
    Field.WEB_PAGE: "Web page",
    Field.SSH_KEYS: "SSH keys",
}
_AUDIENCES = {
    Audience.ME: "only you",
    Audience.GROUPS: "people in your groups",
    Audience.EVERYBODY: "everybody who is logged in",
}


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)
    database = people.database

    @router.get(PATH)
    async def show(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            profile = await profiles.of(connection, me.account.id)
            refusing = await groups.refusing_adds(connection, [one.id for one in me.identities])
        told = "Saved." if "saved" in request.query_params else ""
        return _page(request, me, profile, addable=not refusing, told=told)

    @router.post(PATH)
    async def save(request: Request) -> Response:
        form = await frame.checked_form(request)
        addable = "allow_add" in form
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            known = await profiles.of(connection, me.account.id)
            try:
                changed = profiles.changed(
                    known,
                    values={one: form.get(one, "").replace("\r\n", "\n") for one in TOLD},
                    audiences={one: form.get(f"seen-{one}", "") for one in Field},
                    mail_invitations="mail_invitations" in form,
                )
            except ProfileError as error:
                return _page(request, me, known, addable=addable, wrong=str(error))
            await profiles.save(connection, me.account, changed)
            for one in me.identities:
                await groups.set_allow_add(connection, one.id, allow=addable)
        return frame.redirect(request, f"{PATH}?saved")

    return router


def _page(
    request: Request,
    me: Visitor,
    profile: Profile,
    *,
    addable: bool,
    told: str = "",
    wrong: str | None = None,
) -> Response:
    shown = {one: getattr(me.primary, one) or "" for one in OF_IDENTITY}
    return frame.render(
        request,
        "visibility.html",
        status=422 if wrong else 200,
        me=me,
        fields=[(one, _LABELS[one], one in TOLD) for one in Field],
        values=shown | {one: profile.values.get(one, "") for one in TOLD},
        seen=profile.audiences,
        audiences=list(_AUDIENCES.items()),
        mail_invitations=profile.mail_invitations,
        addable=addable,
        told=told,
        wrong=wrong,
    )
