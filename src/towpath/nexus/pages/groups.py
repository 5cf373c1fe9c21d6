"""The pages of groups: the same rules as the API's, in forms."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from towpath.nexus.groups import bodies, invitations, rules, service
from towpath.nexus.groups.rules import Action, Code, Item, Right, Role, SignupField, Status
from towpath.nexus.groups.service import Caller, Seen, Words
from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.visitor import Visitor, visitor
from towpath.nexus.people.service import People
from towpath.nexus.store import groups, identities
from towpath.nexus.store.groups import Record
from towpath.platform.database import Connection

SHOWN_LIMIT = 500
"""Members on a page; the API has all."""

_TOLD = {
    Action.ACCEPT: "You are in the group now.",
    Action.ADD: "Added.",
    Action.APPROVE: "Approved.",
    Action.CHANGE_ROLE: "The role is changed.",
    Action.DECLINE: "You declined the invitation.",
    Action.INVITE: "Invited.",
    Action.JOIN: "You are in the group now.",
    Action.LEAVE: "You left the group.",
    Action.REJECT: "Rejected.",
    Action.REMOVE: "Removed.",
    Action.REQUEST_JOIN: "You asked to join. A manager decides.",
}
_SAVED = "saved"
_NAMES = {field: str(field).replace("_", " ").capitalize() for field in SignupField}


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/groups", include_in_schema=False)
    database = people.database

    @router.get("")
    async def show_all(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            found = await groups.my_groups(
                connection,
                caller_of(me).mine,
                [Status.ACTIVE, Status.INVITED, Status.PENDING],
            )
        rows = [Seen.of(group, mine) for group, mine in found]
        return frame.render(
            request, "groups.html", me=me, rows=rows, told=_told(request), refused=_refused(request)
        )

    @router.get("/new")
    async def show_new(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            parent = request.query_params.get("in")
            above = None
            if parent is not None:
                above = await service.see(connection, caller_of(me), frame.id_of(parent))
        return frame.render(request, "group_new.html", me=me, above=above, wrong=None)

    @router.post("/new")
    async def create(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            parent = frame.id_of(form["parent"]) if form.get("parent") else None
            try:
                words = _words(form)
            except ValueError as error:
                above = await service.see(connection, caller_of(me), parent) if parent else None
                return frame.render(
                    request, "group_new.html", status=422, me=me, above=above, wrong=str(error)
                )
            seen = await service.create(connection, caller_of(me), words, parent)
        return frame.redirect(request, f"/groups/{seen.group.id}")

    @router.get("/{group_id}")
    async def show(request: Request, group_id: UUID) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            return await _show(request, connection, me, group_id)

    @router.post("/{group_id}")
    async def act(request: Request, group_id: UUID) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            caller = caller_of(me)
            item = await _item(connection, form, me)
            if item is None:
                return frame.redirect(
                    request, f"/groups/{group_id}?refused={Code.IDENTITY_NOT_FOUND}"
                )
            told = _signup(form)
            if told and item.identity_id in caller.identity_ids:
                fields = {item.identity_id: told}
                await service.set_signup_fields(connection, caller, group_id, fields)
            done = await service.act(connection, caller, group_id, [service.Request(item)])
            letters = await invitations.letters(connection, caller, done, people.origin)
        for letter in letters:
            people.post.hand_over(letter.to, letter.subject, letter.text)
        if item.action in done.refused:
            [(_, refused)] = done.refused[item.action]
            return frame.redirect(request, f"/groups/{group_id}?refused={refused.code}")
        # a private group that was left is not to be seen any more
        gone = item.action in (Action.LEAVE, Action.DECLINE)
        place = "/groups" if gone else f"/groups/{group_id}"
        return frame.redirect(request, f"{place}?done={item.action}")

    @router.get("/{group_id}/settings")
    async def show_settings(request: Request, group_id: UUID) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            seen = await service.see(connection, caller_of(me), group_id)
            service.require(seen, Right.SET_POLICIES, caller_of(me))
        return _settings(request, me, seen)

    @router.post("/{group_id}/settings")
    async def save_words(request: Request, group_id: UUID) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            try:
                words = _words(form)
            except ValueError as error:
                seen = await service.see(connection, caller_of(me), group_id)
                return _settings(request, me, seen, str(error))
            await service.update(connection, caller_of(me), group_id, words)
        return frame.redirect(request, f"/groups/{group_id}?done={_SAVED}")

    @router.post("/{group_id}/policies")
    async def save_policies(request: Request, group_id: UUID) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            seen = await service.see(connection, caller_of(me), group_id, lock=True)
            try:
                wanted = bodies.PoliciesBody(
                    is_high_assurance="high_assurance" in form,
                    authentication_assurance_timeout=int(form.get("timeout_min", "")) * 60,
                    group_visibility=form.get("visibility"),  # type: ignore[arg-type]
                    group_members_visibility=form.get("members"),  # type: ignore[arg-type]
                    join_requests="join_requests" in form,
                    direct_joins="direct_joins" in form,
                    signup_fields=[one for one in SignupField if f"ask-{one}" in form],
                )
            except ValueError:
                return _settings(request, me, seen, "Give the time in whole minutes, up to 43,200.")
            await service.set_policies(
                connection, caller_of(me), group_id, wanted.over(seen.group.policies)
            )
        return frame.redirect(request, f"/groups/{group_id}?done={_SAVED}")

    @router.post("/{group_id}/delete")
    async def delete(request: Request, group_id: UUID) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            seen = await service.see(connection, caller_of(me), group_id, lock=True)
            service.require(seen, Right.DELETE, caller_of(me))
            if form.get("name", "").strip() != seen.group.name:
                return _settings(request, me, seen, "To delete the group, type its name.")
            await service.delete(connection, caller_of(me), group_id)
        return frame.redirect(request, f"/groups?done={_SAVED}")

    return router


def caller_of(me: Visitor) -> Caller:
    """The visitor as the groups' rules know him: all his identities, and his logins."""
    return Caller(
        me.primary.id,
        frozenset(one.id for one in me.identities),
        {one: login.at for one, login in me.session.authentications.items()},
        datetime.now(UTC),
    )


async def _show(request: Request, connection: Connection, me: Visitor, group_id: UUID) -> Response:
    caller = caller_of(me)
    seen = await service.see(connection, caller, group_id)
    stale = service.is_stale(seen, caller)
    members: list[Record] = []
    if seen.may(Right.SEE_MEMBERS) and not stale:
        shown = await service.show(connection, caller, group_id, ["memberships"])
        members = shown.members or []
    admins = await groups.active_admins(connection, group_id)
    children = await groups.visible_children(connection, group_id, caller.mine)
    told = await groups.signups(connection, group_id, caller.mine)
    return frame.render(
        request,
        "group.html",
        me=me,
        seen=seen,
        may=seen.may,
        rights=Right,
        stale=stale,
        pending=_with(members, Status.PENDING),
        active=_with(members, Status.ACTIVE)[:SHOWN_LIMIT],
        invited=_with(members, Status.INVITED)[:SHOWN_LIMIT],
        more=max(0, len(_with(members, Status.ACTIVE)) - SHOWN_LIMIT),
        children=children,
        allowed=service.allowed_actions(seen, caller, admins),
        actions=Action,
        roles=list(Role),
        fields=[(str(one), _NAMES[one]) for one in seen.group.policies.signup_fields],
        signups={str(one): fields for one, fields in told.items()},
        link=f"{frame.frame_of(request).origin}/groups/{group_id}",
        told=_told(request),
        refused=_refused(request),
    )


def _with(members: list[Record], status: Status) -> list[Record]:
    return [one for one in members if one.membership.status is status]


def _settings(request: Request, me: Visitor, seen: Seen, wrong: str | None = None) -> Response:
    return frame.render(
        request,
        "group_settings.html",
        status=422 if wrong else 200,
        me=me,
        group=seen.group,
        policies=seen.group.policies,
        fields=[(one, _NAMES[one]) for one in SignupField],
        wrong=wrong,
    )


async def _item(connection: Connection, form: Mapping[str, str], me: Visitor) -> Item | None:
    """What the form asks for; None if it names nobody."""
    try:
        action = Action(form.get("action", ""))
        role = Role(form["role"]) if form.get("role") else None
    except ValueError as error:
        raise PageError(400, "This form cannot be read", "Go back and send it again.") from error
    if "username" in form:
        found = await _named(connection, form["username"].strip())
        return None if found is None else Item(action, found, role)
    return Item(action, frame.id_of(form.get("identity", str(me.primary.id))), role)


async def _named(connection: Connection, username: str) -> UUID | None:
    """Whose user name it is; without a domain, at the deployment's own provider."""
    if "@" not in username:
        provider = await identities.local_provider(connection)
        if provider is None or not provider.domains:
            return None
        username = f"{username}@{provider.domains[0]}"
    found = await identities.identities_by_username(connection, [username])
    return found[0].id if found else None


def _signup(form: Mapping[str, str]) -> dict[str, str]:
    """The group's fields, as the form has them."""
    return {
        str(one): form[f"field-{one}"].strip()[: bodies.FIELD_LIMIT]
        for one in SignupField
        if form.get(f"field-{one}", "").strip()
    }


def _words(form: Mapping[str, str]) -> Words:
    """Raises ValueError with what the person is told."""
    try:
        return bodies.GroupBody(
            name=form.get("name", ""),
            description=form.get("description", "").strip() or None,
            terms_and_conditions=form.get("terms", "").strip() or None,
        ).words()
    except ValidationError as error:
        raise ValueError(
            f"Give a name of at most {bodies.NAME_LIMIT} characters, and texts of at most"
            f" {bodies.TEXT_LIMIT}."
        ) from error


def _told(request: Request) -> str:
    """What was done, from the address: one of our own sentences."""
    done = request.query_params.get("done", "")
    if done == _SAVED:
        return "Saved."
    return _TOLD[Action(done)] if done in set(Action) else ""


def _refused(request: Request) -> str:
    code = request.query_params.get("refused", "")
    if code not in set(Code):
        return ""
    text = rules.DETAILS[Code(code)]
    return f"Not done: {text}."
