"""The Auth API and its pages, composed."""

from fastapi import FastAPI

from towpath.nexus.api.data_access import add_data_access_route
from towpath.nexus.api.identities import add_identity_routes
from towpath.nexus.api.principals import add_principal_routes
from towpath.nexus.api.profiles import add_profile_routes
from towpath.nexus.developer.clients import add_client_routes
from towpath.nexus.developer.projects import add_policy_routes, add_project_routes
from towpath.nexus.developer.scopes import add_scope_routes
from towpath.nexus.federation.logins import Logins
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.oauth.routes import add_discovery_routes, add_token_routes
from towpath.nexus.pages import (
    account,
    applications,
    authorize,
    frame,
    groups,
    joining,
    login,
    logout,
    passkeys,
    upstreams,
    visibility,
    visitor,
)
from towpath.nexus.pages import people as people_pages
from towpath.nexus.people.passwords import Passwords
from towpath.nexus.people.service import People
from towpath.platform.database import Database
from towpath.platform.errors import AUTH_ERRORS
from towpath.platform.http import add_routes, new_app
from towpath.platform.mail import NoMailer, Post
from towpath.platform.settings import PeopleSettings

PREFIXES = ("/v2/oauth2", "/v2/api", "/v2/web", "/account", "/groups", "/.well-known", "/jwk.json")
"""The paths on the deployment's origin that are nexus'."""

_PEOPLE = PeopleSettings()

_PAGES = (
    login,
    joining,
    account,
    applications,
    groups,
    passkeys,
    visibility,
    people_pages,
)

BODY_LIMIT = 64 * 1024


def create_app(
    database: Database,
    *,
    issuer: str,
    keys: KeyRing,
    people: PeopleSettings = _PEOPLE,
    post: Post | None = None,
    passwords: Passwords | None = None,
    logins: Logins | None = None,
) -> FastAPI:
    """The app. ``issuer`` is the deployment's origin; ``keys`` are ready (`KeyRing.ensure`);
    without ``post`` no mail is sent, without ``logins`` (those at upstream providers) nobody logs
    in elsewhere.
    """
    app = new_app("nexus", AUTH_ERRORS, max_body_bytes=BODY_LIMIT)
    frame.install(app, frame.Frame.of(issuer, people))
    visitor.install(app)
    service = People(
        database=database,
        settings=people,
        passwords=passwords or Passwords(people.logins_at_once),
        post=post or Post(NoMailer(), "nobody@localhost"),
        origin=issuer,
    )
    for pages in _PAGES:
        add_routes(app, pages.routes(service))
    if logins is not None:
        add_routes(app, upstreams.routes(database, logins))
    core = Core(database, issuer, keys)
    add_routes(app, authorize.routes(core))
    add_routes(app, logout.routes(core))
    add_token_routes(app, core)
    add_discovery_routes(app, core)
    add_identity_routes(app, core)
    add_principal_routes(app, core)
    add_data_access_route(app, core)
    add_client_routes(app, core)
    add_scope_routes(app, core)
    add_project_routes(app, core)
    add_policy_routes(app, core)
    add_profile_routes(app, core)
    return app
