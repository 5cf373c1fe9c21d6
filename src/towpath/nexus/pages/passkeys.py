"""The pages of passkeys: those of an account, and logging in with one.

A passkey speaks for a local identity only. Those of an institution are authenticated by the
institution alone: who has left it must not come in by a key that it knows nothing of.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame, signing_in
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.handover import next_path, place_of, request_id_of
from towpath.nexus.pages.metered import counted, is_recorded, not_too_many
from towpath.nexus.pages.recency import RECENT_S, recent
from towpath.nexus.pages.visitor import Visitor, visitor
from towpath.nexus.passkeys import ceremonies
from towpath.nexus.passkeys.ceremonies import CHALLENGE_S, Asserted, PasskeyError, RelyingParty
from towpath.nexus.people import throttle
from towpath.nexus.people.service import People
from towpath.nexus.store import identities
from towpath.nexus.store import passkeys as store
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.passkeys import Passkey, Purpose
from towpath.nexus.store.sessions import Session
from towpath.platform.database import Connection

PAGE = "/account/security/passkeys"
LOGIN = "/v2/web/passkey"
CHALLENGE_BYTES = 32
"""16 are asked for at least (WebAuthn, 13.4.3)."""
PASSKEYS_LIMIT = 20
"""Of an identity; people have two or three."""
NAME_LIMIT = 60
_TOLD = {
    "added": "The passkey was added.",
    "renamed": "The passkey has its new name.",
    "removed": "The passkey was removed.",
    "wanted": "From now on your password alone does not log you in.",
    "unwanted": "Your password alone logs you in again.",
}

_log = structlog.stdlib.get_logger("towpath.passkeys")


def relying_party(people: People) -> RelyingParty | None:
    """The deployment as authenticators know it; None if it has no name."""
    return RelyingParty.of(people.origin, people.settings.service_name)


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)
    database = people.database
    party = relying_party(people)
    if party is None:
        return router

    @router.get(PAGE)
    async def show(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            mine = await _local(people, connection, me)
            known = await store.of_identities(connection, [mine.id] if mine else [])
            wanted = mine is not None and await store.is_wanted(connection, mine.id)
        return frame.render(
            request,
            "passkey_list.html",
            me=me,
            mine=mine,
            known=known,
            wanted=wanted,
            told=_TOLD.get(request.query_params.get("told", "")),
        )

    @router.post(PAGE + "/challenge")
    async def registration_challenge(request: Request) -> Response:
        frame.check_same_origin(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            mine = await _own(people, connection, me)
            known = await store.of_identities(connection, [mine.id])
            if len(known) >= PASSKEYS_LIMIT:
                raise PageError(409, "That is enough", f"You have {PASSKEYS_LIMIT} passkeys.")
            challenge = await _challenge(request, connection, "register", mine.id)
        return _json(party.registration_options(challenge, mine, known))

    @router.post(PAGE)
    async def add(request: Request) -> Response:
        form = await frame.checked_form(request)
        answer = form.get("credential", "")
        name = form.get("name", "").strip()[:NAME_LIMIT]
        try:
            challenge = ceremonies.challenge_of(answer)
            whose = await _take(people, request, challenge, "register")
            made = party.registered(answer, challenge)
        except PasskeyError as error:
            raise _refused(error, "This passkey could not be added") from error
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            mine = await _own(people, connection, me)
            added = whose == mine.id and await store.add(
                connection,
                passkey_id=uuid4(),
                identity_id=mine.id,
                credential_id=made.credential_id,
                public_key=made.public_key,
                sign_count=made.sign_count,
                name=name or f"Passkey of {datetime.now(UTC):%Y-%m-%d}",
                transports=made.transports,
                synced=made.synced,
            )
            if not added:
                raise _refused(PasskeyError("known already"), "This passkey could not be added")
            await audit.append(
                connection,
                Act("passkey.added", actor=mine.id, subject=mine.id, details={"name": name}),
            )
        return frame.redirect(request, f"{PAGE}?told=added")

    @router.post(PAGE + "/wanted")
    async def want(request: Request) -> Response:
        form = await frame.checked_form(request)
        wanted = form.get("wanted") == "yes"
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            mine = await _own(people, connection, me)
            await store.set_wanted(connection, mine.id, wanted=wanted)
            await audit.append(
                connection,
                Act(
                    "account.changed",
                    actor=mine.id,
                    subject=mine.id,
                    details={"passkey_after_password": wanted},
                ),
            )
        return frame.redirect(request, f"{PAGE}?told={'wanted' if wanted else 'unwanted'}")

    @router.post(PAGE + "/{passkey_id}/rename")
    async def rename(request: Request, passkey_id: UUID) -> Response:
        form = await frame.checked_form(request)
        name = form.get("name", "").strip()[:NAME_LIMIT]
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            own = [one.id for one in me.identities]
            if not name or not await store.rename(connection, passkey_id, own, name):
                raise _no_passkey()
        return frame.redirect(request, f"{PAGE}?told=renamed")

    @router.post(PAGE + "/{passkey_id}/remove")
    async def remove(request: Request, passkey_id: UUID) -> Response:
        await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            whose = await store.remove(connection, passkey_id, [one.id for one in me.identities])
            if whose is None:
                raise _no_passkey()
            await audit.append(connection, Act("passkey.removed", actor=whose, subject=whose))
        return frame.redirect(request, f"{PAGE}?told=removed")

    @router.post(LOGIN + "/challenge")
    async def login_challenge(request: Request) -> Response:
        frame.check_same_origin(request)
        async with database.transaction() as connection:
            await not_too_many(request, connection)
            session = await frame.current_session(request, connection)
            known: Sequence[Passkey] = ()
            if session is not None:  # somebody who is known is asked for what they have
                known = await store.of_identities(connection, list(session.authentications))
            challenge = await _challenge(request, connection, "login", None)
        return _json(party.login_options(challenge, known))

    @router.post(LOGIN)
    async def log_in(request: Request) -> Response:
        form = await frame.checked_form(request)
        passkey, done = await _assert(people, party, request, form.get("credential", ""), "login")
        async with database.transaction() as connection:
            session = await frame.current_session(request, connection)
            if done.user_verified:
                amr = ["hwk", "user", "mfa"]
            elif _password_just_now(session, passkey.identity_id):
                amr = ["pwd", "hwk", "mfa"]
            else:
                raise PageError(
                    403,
                    "You are not logged in",
                    "This key did not ask for a PIN or a finger. Log in with your password first;"
                    " the key can come after it.",
                )
            await _enter(people, request, connection, passkey, amr)
            await throttle.give_back(connection, counted(request))
        request_id, place = request_id_of(form.get("request")), place_of(form.get("to"))
        return frame.redirect(request, next_path(request_id, place))

    @router.post(LOGIN + "/second")
    async def second(request: Request) -> Response:
        form = await frame.checked_form(request)
        passkey, _ = await _assert(people, party, request, form.get("credential", ""), "second")
        async with database.transaction() as connection:
            await _enter(people, request, connection, passkey, ["pwd", "hwk", "mfa"])
        request_id, place = request_id_of(form.get("request")), place_of(form.get("to"))
        return frame.redirect(request, next_path(request_id, place))

    return router


async def ask_second(
    people: People,
    request: Request,
    identity: Identity,
    *,
    request_id: str,
    place: str,
    form_targets: Sequence[str],
) -> Response | None:
    """The page that asks for a passkey after the right password; None if none is to be asked for.

    Nobody is logged in yet: the challenge on the page says that the password was right.
    """
    party = relying_party(people)
    async with people.database.transaction() as connection:
        if not await store.is_wanted(connection, identity.id):
            return None
        if party is None:
            raise PageError(
                403,
                "You are not logged in",
                "Your account asks for a passkey, and this service has no name that passkeys could"
                " belong to. Ask its operator.",
            )
        known = await store.of_identities(connection, [identity.id])
        challenge = await _challenge(request, connection, "second", identity.id)
    return frame.render(
        request,
        "second.html",
        form_targets=form_targets,
        options=party.login_options(challenge, known),
        request_id=request_id,
        to=place,
    )


async def _assert(
    people: People, party: RelyingParty, request: Request, answer: str, purpose: Purpose
) -> tuple[Passkey, Asserted]:
    """The passkey that answered a challenge of this browser. Raises :class:`PageError`."""
    passkey = None
    begun = False
    try:
        challenge = ceremonies.challenge_of(answer)
        whose = await _take(people, request, challenge, purpose)
        begun = True
        async with people.database.transaction() as connection:
            passkey = await store.by_credential(connection, ceremonies.credential_of(answer))
            if passkey is None:
                raise PasskeyError("there is no such passkey")
            if purpose == "second" and passkey.identity_id != whose:
                raise PasskeyError("the passkey is not of whom the password is")
            done = party.asserted(answer, challenge, passkey)
            await store.used(connection, passkey.id, sign_count=done.sign_count, synced=done.synced)
    except PasskeyError as error:
        async with people.database.transaction() as connection:
            # challenges are counted; what answers none of them is not
            if begun or await is_recorded(request, connection):
                await audit.append(
                    connection,
                    Act(
                        "login.failed",
                        subject=passkey.identity_id if passkey else None,
                        details={"amr": ["hwk"]},
                    ),
                )
        raise _refused(error, "You are not logged in") from error
    return passkey, done


async def _enter(
    people: People,
    request: Request,
    connection: Connection,
    passkey: Passkey,
    amr: Sequence[str],
) -> None:
    provider = await people.provider(connection)
    (identity,) = await identities.identities_by_id(connection, [passkey.identity_id])
    if identity.identity_provider != provider.id:
        raise _refused(PasskeyError("not a local identity"), "You are not logged in")
    await signing_in.sign_in(
        request, connection, identity_id=identity.id, provider_id=provider.id, amr=amr
    )


def _password_just_now(session: Session | None, identity_id: UUID) -> bool:
    if session is None or identity_id not in session.authentications:
        return False
    before = session.authentications[identity_id]
    return "pwd" in before.amr and (datetime.now(UTC) - before.at).total_seconds() <= RECENT_S


async def _challenge(
    request: Request, connection: Connection, purpose: Purpose, identity_id: UUID | None
) -> bytes:
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    await store.add_challenge(
        connection,
        challenge,
        frame.browser_value(request),
        purpose,
        identity_id,
        lifetime_s=CHALLENGE_S,
    )
    return challenge


async def _take(
    people: People, request: Request, challenge: bytes, purpose: Purpose
) -> UUID | None:
    """For whom the challenge was made. Raises :class:`PasskeyError`."""
    # in a transaction of its own: a challenge is used up by a wrong answer, too
    async with people.database.transaction() as connection:
        ours, whose = await store.take_challenge(
            connection, challenge, frame.browser_value(request), purpose, lifetime_s=CHALLENGE_S
        )
    if not ours:
        raise PasskeyError("the challenge is not this browser's, or was used already")
    return whose


async def _local(people: People, connection: Connection, me: Visitor) -> Identity | None:
    """The identity that passkeys would be of."""
    provider = await people.provider(connection)
    return next((one for one in me.identities if one.identity_provider == provider.id), None)


async def _own(people: People, connection: Connection, me: Visitor) -> Identity:
    mine = await _local(people, connection, me)
    if mine is None:
        raise PageError(
            403,
            "Passkeys are for accounts of this service",
            "You log in at your institution, which asks you for what it wants.",
        )
    return mine


def _json(text: str) -> Response:
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


def _no_passkey() -> PageError:
    return PageError(404, "There is no such passkey", "It may have been removed meanwhile.")


def _refused(error: PasskeyError, title: str) -> PageError:
    _log.warning("passkey.refused", error=str(error))
    return PageError(403, title, "The answer of the passkey could not be accepted. Try again.")
