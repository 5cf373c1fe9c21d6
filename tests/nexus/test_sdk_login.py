"""The unmodified SDK: its applications, its clients of Auth, and dependent tokens.

Against a whole deployment, which the tests with a browser share.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import globus_sdk
import pytest
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.scopes import AuthScopes, GroupsScopes, Scope, TransferScopes

from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from plugins.terminal_browser import TerminalBrowser
from towpath.cli.deployment import Deployment
from towpath.cli.env import variables

pytestmark = BROWSER_GROUP

PASSWORD = "a heron stands in cold water"
CLI = "95fdeba8-fac2-42bd-a357-e068d82ff78e"


@dataclass
class Desk:
    """Somebody who writes programs with the SDK."""

    url: str
    browser: TerminalBrowser
    username: str

    @property
    def code_page(self) -> str:
        return f"{self.url}/v2/web/auth-code"

    def config(self, **more: Any) -> globus_sdk.GlobusAppConfig:
        """Of an application whose login this person answers."""
        browser = self.browser

        class Answered(CommandLineLoginFlowManager):
            def print_authorize_url(self, authorize_url: str) -> None:
                self.url = authorize_url

            def prompt_for_code(self) -> str:
                return browser.allow(self.url)

        return globus_sdk.GlobusAppConfig(
            login_flow_manager=Answered,
            login_redirect_uri=self.code_page,
            token_storage="memory",
            **more,
        )


@pytest.fixture(scope="module")
def desk(running: Running) -> Iterator[Desk]:
    name = f"u{uuid4().hex[:8]}"
    running.towpath(
        *("admin", "user", "add", name, "--full-name", "Grace", "--email", f"{name}@sea.example"),
        *("--password-file", "-"),
        typed=PASSWORD + "\n",
    )
    trust = ssl.create_default_context(cafile=str(running.authority))
    browser = TerminalBrowser(running.url, trust, name, PASSWORD)
    with pytest.MonkeyPatch.context() as patched:
        for key, value in variables(Deployment.find(running.data), {}, user=True).items():
            patched.setenv(key, value)
        yield Desk(running.url, browser, name)
    browser.close()


@pytest.fixture(scope="module")
def developer(desk: Desk) -> Iterator[globus_sdk.AuthClient]:
    """A client of Auth with a token of somebody who has logged in: of a program that has registered
    itself.
    """
    made = globus_sdk.NativeAppAuthClient(CLI).create_native_app_instance(CLI, "desk")
    credential = made["included"]["client_credential"]
    app = globus_sdk.UserApp(
        "desk",
        client_id=credential["client"],
        client_secret=credential["secret"],
        config=desk.config(),
        scope_requirements={"auth.globus.org": [AuthScopes.manage_projects]},
    )
    with app, globus_sdk.AuthClient(app=app) as client:
        yield client


@pytest.fixture(scope="module")
def project(developer: globus_sdk.AuthClient) -> str:
    me = developer.userinfo()["sub"]
    made = developer.create_project("Tides", "tides@sea.example", admin_ids=[me])
    return str(made["project"]["id"])


def test_a_user_app_with_refresh_tokens(
    desk: Desk, developer: globus_sdk.AuthClient, project: str
) -> None:
    client_id = developer.create_client("Tide tables", project, public_client=True)["client"]["id"]
    app = globus_sdk.UserApp(
        "tides",
        client_id=client_id,
        config=desk.config(request_refresh_tokens=True),
        scope_requirements={"transfer.api.globus.org": [TransferScopes.all]},
    )
    with app, globus_sdk.TransferClient(app=app) as transfer:
        assert transfer.endpoint_search(filter_scope="my-endpoints")["DATA"] == []
        authorizer = app.get_authorizer("transfer.api.globus.org")
        assert isinstance(authorizer, globus_sdk.RefreshTokenAuthorizer)
        first = authorizer.refresh_token
        assert authorizer.handle_missing_authorization()
        authorizer.ensure_valid_token()
        assert authorizer.refresh_token != first, "a program without a secret gets a new one"
        assert transfer.endpoint_search(filter_scope="my-endpoints")["DATA"] == []
        # what somebody else might have kept ends all that came of this login
        native = globus_sdk.NativeAppAuthClient(client_id)
        with pytest.raises(globus_sdk.AuthAPIError) as refused:
            native.oauth2_refresh_token(first)
        assert refused.value.http_status == 401
        with pytest.raises(globus_sdk.AuthAPIError):
            native.oauth2_refresh_token(authorizer.refresh_token)
        app.logout()


def test_consents_are_a_forest(desk: Desk, developer: globus_sdk.AuthClient, project: str) -> None:
    timer = Scope("https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer")
    timer = timer.with_dependency(Scope(str(TransferScopes.all)))
    client_id = developer.create_client("Timers", project, public_client=True)["client"]["id"]
    app = globus_sdk.UserApp(
        "timers",
        client_id=client_id,
        config=desk.config(),
        scope_requirements={
            "524230d7-ea86-4a52-8312-86065a9e0417": [timer],
            "auth.globus.org": [AuthScopes.manage_projects],
        },
    )
    with app, globus_sdk.AuthClient(app=app) as auth:
        me = auth.userinfo()["sub"]
        forest = auth.get_consents(me).to_forest()
        assert forest.meets_scope_requirements(timer)
        assert not forest.meets_scope_requirements(GroupsScopes.all)


def test_a_service_acts_for_who_called_it(
    desk: Desk, developer: globus_sdk.AuthClient, project: str
) -> None:
    service = developer.create_client("Harbour", project, public_client=False)["client"]["id"]
    secret = developer.create_client_credential(service, "first")["credential"]["secret"]
    view = str(GroupsScopes.view_my_groups_and_memberships)
    (groups,) = developer.get_scopes(scope_strings=[view])["scopes"]
    scope = developer.create_scope(
        service,
        "Berth ships",
        "Berth ships, for members",
        "berth",
        dependent_scopes=[globus_sdk.DependentScopeSpec(groups["id"], False, True)],
    )["scope"]["scope_string"]
    caller = developer.create_client("Ship", project, public_client=True)["client"]["id"]
    app = globus_sdk.UserApp(
        "ship", client_id=caller, config=desk.config(), scope_requirements={service: [scope]}
    )
    with app:
        authorizer = app.get_authorizer(service)
        assert isinstance(authorizer, globus_sdk.AccessTokenAuthorizer)
        token = authorizer.access_token
    harbour = globus_sdk.ConfidentialAppAuthClient(service, secret)
    seen = harbour.oauth2_token_introspect(token, include="identity_set,session_info")
    assert seen["active"]
    assert service in seen["aud"]
    assert list(seen["session_info"]["authentications"]) == [seen["sub"]]
    for refresh in (False, True):
        answer = harbour.oauth2_get_dependent_tokens(token, refresh_tokens=refresh)
        own = answer.by_resource_server["groups.api.globus.org"]
        assert own["scope"] == view
        assert bool(own["refresh_token"]) is refresh
        used = globus_sdk.AccessTokenAuthorizer(own["access_token"])
        with globus_sdk.GroupsClient(authorizer=used) as client:
            assert list(client.get_my_groups()) == []
    # another service gets nothing for it
    other = developer.create_client("Pirates", project, public_client=False)["client"]["id"]
    stolen = developer.create_client_credential(other, "first")["credential"]["secret"]
    pirates = globus_sdk.ConfidentialAppAuthClient(other, stolen)
    with pytest.raises(globus_sdk.AuthAPIError):
        pirates.oauth2_get_dependent_tokens(token)
    assert pirates.oauth2_token_introspect(token).data == {"active": False}
    harbour.oauth2_revoke_token(token)
    assert not harbour.oauth2_token_introspect(own["access_token"])["active"], "it went along"


def test_a_confidential_application(
    desk: Desk, developer: globus_sdk.AuthClient, project: str
) -> None:
    uri = "https://app.example/callback"
    client_id = developer.create_client(
        "Portal", project, client_type="confidential_client", redirect_uris=[uri]
    )["client"]["id"]
    secret = developer.create_client_credential(client_id, "first")["credential"]["secret"]
    client = globus_sdk.ConfidentialAppAuthClient(client_id, secret)
    client.oauth2_start_flow(uri, ["openid", "email"], refresh_tokens=True, state="s")
    place = desk.browser.allow(client.oauth2_get_authorize_url())
    code = dict(part.split("=") for part in place.partition("?")[2].split("&"))["code"]
    tokens = client.oauth2_exchange_code_for_tokens(code)
    claims = tokens.decode_id_token()
    assert claims["aud"] == client_id
    assert claims["email"] == f"{desk.username}@sea.example"
    refreshed = client.oauth2_refresh_token(
        tokens.by_resource_server["auth.globus.org"]["refresh_token"]
    )
    assert refreshed["refresh_token"], "the clients keep what comes last"


def test_a_client_app(developer: globus_sdk.AuthClient, project: str) -> None:
    client_id = developer.create_client("Night shift", project, client_type="client_identity")[
        "client"
    ]["id"]
    secret = developer.create_client_credential(client_id, "first")["credential"]["secret"]
    app = globus_sdk.ClientApp(
        "night",
        client_id=client_id,
        client_secret=secret,
        config=globus_sdk.GlobusAppConfig(token_storage="memory"),
    )
    with app, globus_sdk.TransferClient(app=app) as transfer:
        assert transfer.endpoint_search(filter_scope="my-endpoints")["DATA"] == []


def test_every_developer_resource(developer: globus_sdk.AuthClient, project: str) -> None:
    me = developer.userinfo()["sub"]
    assert developer.get_project(project)["project"]["admin_ids"] == [me]
    assert project in [one["id"] for one in developer.get_projects()]
    developer.update_project(project, display_name="Tides again")
    client = developer.create_client("Buoy", project, public_client=False)["client"]["id"]
    links = {
        one: f"https://sea.example/{one}" for one in ("terms_and_conditions", "privacy_policy")
    }
    developer.update_client(client, name="Buoy 2", **links)
    assert developer.get_client(client_id=client)["client"]["links"]["privacy_policy"]
    assert client in [one["id"] for one in developer.get_clients()]
    credential = developer.create_client_credential(client, "one")["credential"]["id"]
    assert [one["id"] for one in developer.get_client_credentials(client)] == [credential]
    developer.delete_client_credential(client, credential)
    scope = developer.create_scope(client, "Look", "Look at it", "look")["scope"]["id"]
    developer.update_scope(scope, description="Look at the buoy", advertised=True)
    assert developer.get_scope(scope)["scope"]["advertised"]
    assert scope in [one["id"] for one in developer.get_scopes()]
    developer.delete_scope(scope)
    policy = developer.create_policy(
        project_id=project,
        display_name="Crew",
        description="The crew alone",
        high_assurance=True,
        authentication_assurance_timeout=600,
        domain_constraints_include=["sea.example"],
    )["policy"]["id"]
    developer.update_policy(policy, required_mfa=True)
    assert developer.get_policy(policy)["policy"]["required_mfa"]
    assert policy in [one["id"] for one in developer.get_policies()]
    developer.delete_policy(policy)
    developer.delete_client(client)
