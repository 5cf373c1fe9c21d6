"""Projects, clients, secrets, scopes and policies: who may make and change them."""

from typing import Any
from uuid import uuid4

import httpx

from plugins.nexus import Nexus, Person
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.developer.clients import REGISTRATIONS
from towpath.nexus.scopes import MANAGE_PROJECTS, TRANSFER_ALL

CLI = "95fdeba8-fac2-42bd-a357-e068d82ff78e"


class Developer:
    """Somebody with a token for the developer API."""

    def __init__(self, nexus: Nexus, person: Person, token: str) -> None:
        self.person = person
        self._http = nexus.http
        self._bearer = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        """The document of one of ``/v2/api``."""
        answer = await self._http.request(
            method, f"/v2/api/{path}", json=body, headers=self._bearer
        )
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def project(self, **fields: Any) -> str:
        """A new one; its id."""
        usual = {
            "display_name": "Tides",
            "contact_email": "tides@sea.example",
            "admin_ids": [str(self.person.identity_id)],
        }
        made = await self.call("POST", "projects", {"project": usual | fields}, 201)
        return str(made["project"]["id"])

    async def client(self, **fields: Any) -> str:
        """A new one; its id."""
        if "project" not in fields:
            fields["project"] = await self.project()
        usual = {"name": "Tide tables", "public_client": False}
        made = await self.call("POST", "clients", {"client": usual | fields}, 201)
        return str(made["client"]["id"])


async def developer(nexus: Nexus, name: str = "ada") -> Developer:
    person = await nexus.person(name)
    client = await nexus.client(redirect_uris=["https://app.example/callback"])
    document = await nexus.log_in_at(client, person, scope=f"openid {MANAGE_PROJECTS}")
    return Developer(nexus, person, document["access_token"])


async def basic(
    nexus: Nexus, client: ClientSecret, method: str, path: str, body: Any = None
) -> Any:
    auth = httpx.BasicAuth(str(client.client_id), client.client_secret)
    return await nexus.http.request(method, f"/v2/api/{path}", json=body, auth=auth)


async def test_a_program_registers_itself(nexus: Nexus) -> None:
    body = {"client": {"template_id": CLI, "name": "Globus CLI"}}
    answer = await nexus.http.post("/v2/api/clients", json=body)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    client, credential = document["client"], document["included"]["client_credential"]
    assert client["parent_client"] == CLI
    assert client["client_type"] == "confidential_client"
    assert credential["client"] == client["id"]
    made = ClientSecret(client["id"], credential["secret"])
    assert (await basic(nexus, made, "GET", f"clients/{client['id']}")).status_code == 200
    body = {"client": {"name": "child", "public_client": False}}
    assert (await basic(nexus, made, "POST", "clients", body)).status_code == 403
    gone = await basic(nexus, made, "DELETE", f"clients/{client['id']}")
    assert gone.json()["client"]["id"] == client["id"]
    assert (await basic(nexus, made, "GET", f"clients/{client['id']}")).status_code == 401


async def test_registrations_are_bounded(nexus: Nexus) -> None:
    body = {"client": {"template_id": CLI, "name": "Globus CLI"}}
    unknown = {"client": {"template_id": str(uuid4()), "name": "x"}}
    assert (await nexus.http.post("/v2/api/clients", json=unknown)).status_code == 404
    async with nexus.database.connection() as connection:
        await connection.execute(
            "UPDATE throttle SET level = 0"  # the test's own
        )
    for _ in range(REGISTRATIONS):
        answer = await nexus.http.post("/v2/api/clients", json=body)
        assert answer.status_code == 201
    answer = await nexus.http.post("/v2/api/clients", json=body)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) <= 61
    async with nexus.database.connection() as connection:
        await connection.execute("UPDATE client SET created_at = now() - interval '25 hours'")
        await connection.execute("DELETE FROM throttle")
        await nexus.http.post("/v2/api/clients", json=body)
        cursor = await connection.execute(
            "SELECT count(*) AS n FROM client WHERE template_id IS NOT NULL"
        )
        assert await cursor.fetchone() == {"n": 1}, "those that nobody used are gone"


async def test_a_project_and_all_that_is_in_it(nexus: Nexus) -> None:
    ada = await developer(nexus)
    project = await ada.project()
    shown = (await ada.call("GET", f"projects/{project}"))["project"]
    assert shown["admins"]["identities"][0]["username"] == ada.person.username
    assert shown["admin_group_ids"] is None
    assert [one["id"] for one in (await ada.call("GET", "projects"))["projects"]] == [project]
    changed = {"project": {"display_name": "Currents"}}
    assert (await ada.call("PUT", f"projects/{project}", changed))["project"][
        "display_name"
    ] == "Currents"

    client = await ada.client(project=project, redirect_uris=["https://app.example/cb"])
    await ada.call("DELETE", f"projects/{project}", expect=409)
    made = await ada.call(
        "POST", f"clients/{client}/credentials", {"credential": {"name": "first"}}, 201
    )
    secret = made["credential"]["secret"]
    listed = await ada.call("GET", f"clients/{client}/credentials")
    assert listed["credentials"][0]["secret"] is None
    program = ClientSecret(client, secret)  # type: ignore[arg-type]
    answer = await nexus.post("token", program, grant_type="client_credentials", scope=TRANSFER_ALL)
    assert answer.status_code == 200

    (transfer,) = (await ada.call("GET", f"scopes?scope_strings={TRANSFER_ALL}"))["scopes"]
    fields = {
        "name": "Predict tides",
        "description": "Predict, and fetch the data for it",
        "scope_suffix": "predict",
        "dependent_scopes": [
            {"scope": transfer["id"], "optional": False, "requires_refresh_token": True}
        ],
    }
    scope = (await ada.call("POST", f"clients/{client}/scopes", {"scope": fields}, 201))["scope"]
    assert scope["scope_string"] == f"https://auth.globus.org/scopes/{client}/predict"
    assert scope["dependent_scopes"] == fields["dependent_scopes"]
    await ada.call("POST", f"clients/{client}/scopes", {"scope": fields}, 409)
    one = f"scopes/{scope['id']}"
    renamed = await ada.call("PUT", one, {"scope": {"scope_suffix": "foretell"}})
    assert renamed["scope"]["scope_string"].endswith("/foretell")
    assert renamed["scope"]["dependent_scopes"] == fields["dependent_scopes"]
    assert scope["id"] in (await ada.call("GET", f"clients/{client}"))["client"]["scopes"]
    await ada.call("DELETE", one)
    await ada.call("GET", one, expect=404)

    policy = {
        "project_id": project,
        "display_name": "Staff",
        "description": "of the harbour",
        "high_assurance": True,
        "authentication_assurance_timeout": 600,
        "domain_constraints_include": ["harbour.example"],
    }
    made = (await ada.call("POST", "policies", {"policy": policy}, 201))["policy"]
    assert made.items() >= policy.items()
    place = f"policies/{made['id']}"
    await ada.call("PUT", place, {"policy": {"required_mfa": True}})
    assert (await ada.call("GET", place))["policy"]["required_mfa"] is True
    assert len((await ada.call("GET", "policies"))["policies"]) == 1
    await ada.call("DELETE", place)

    (credential,) = listed["credentials"]
    await ada.call("DELETE", f"clients/{client}/credentials/{credential['id']}")
    answer = await nexus.post("token", program, grant_type="client_credentials", scope="openid")
    assert answer.status_code == 401
    await ada.call("DELETE", f"clients/{client}")
    await ada.call("DELETE", f"projects/{project}")


async def test_others_do_not_find_it(nexus: Nexus) -> None:
    ada, eve = await developer(nexus), await developer(nexus, "eve")
    project = await ada.project()
    client = await ada.client(project=project)
    fields = {"name": "n", "description": "d", "scope_suffix": "s"}
    scope = (await ada.call("POST", f"clients/{client}/scopes", {"scope": fields}, 201))["scope"]
    policy = {"project_id": project, "display_name": "p", "description": "d"}
    made = (await ada.call("POST", "policies", {"policy": policy}, 201))["policy"]
    for method, path, body in (
        ("GET", f"projects/{project}", None),
        ("PUT", f"projects/{project}", {"project": {"display_name": "mine"}}),
        ("DELETE", f"projects/{project}", None),
        ("POST", "clients", {"client": {"name": "c", "project": project, "public_client": True}}),
        ("GET", f"clients/{client}", None),
        ("PUT", f"clients/{client}", {"client": {"redirect_uris": ["https://eve.example"]}}),
        ("DELETE", f"clients/{client}", None),
        ("GET", f"clients/{client}/credentials", None),
        ("POST", f"clients/{client}/credentials", {"credential": {"name": "mine"}}),
        ("POST", f"clients/{client}/scopes", {"scope": fields}),
        ("GET", f"scopes/{scope['id']}", None),
        ("PUT", f"scopes/{scope['id']}", {"scope": {"name": "mine"}}),
        ("DELETE", f"scopes/{scope['id']}", None),
        ("POST", "policies", {"policy": policy}),
        ("GET", f"policies/{made['id']}", None),
        ("PUT", f"policies/{made['id']}", {"policy": {"description": "mine"}}),
        ("DELETE", f"policies/{made['id']}", None),
    ):
        await eve.call(method, path, body, 404)
    assert (await eve.call("GET", f"scopes?ids={scope['id']}"))["scopes"] == []
    # and it cannot be carried off into one's own project either
    own = await eve.project()
    moved = {"policy": {"project_id": own}}
    await eve.call("PUT", f"policies/{made['id']}", moved, 404)
    await ada.call("PUT", f"policies/{made['id']}", moved, 404)


async def test_it_takes_the_scope(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=["https://app.example/callback"])
    document = await nexus.log_in_at(client)
    weak = Developer(nexus, await nexus.person("bob"), document["access_token"])
    for path in ("projects", "clients", "scopes", "policies"):
        await weak.call("GET", path, expect=403)
        assert (await nexus.http.get(f"/v2/api/{path}")).status_code == 401
    # projects belong to identities: a client's secret alone is not enough
    for path in ("projects", "policies"):
        assert (await basic(nexus, client, "GET", path)).status_code == 403


async def test_child_clients(nexus: Nexus) -> None:
    parent, stranger = await nexus.client(), await nexus.client()
    body = {"client": {"name": "child", "public_client": False}}
    child = (await basic(nexus, parent, "POST", "clients", body)).json()["client"]
    assert child["parent_client"] == str(parent.client_id)
    place = f"clients/{child['id']}"
    made = await basic(
        nexus, parent, "POST", f"{place}/credentials", {"credential": {"name": "first"}}
    )
    own = ClientSecret(child["id"], made.json()["credential"]["secret"])
    assert (await basic(nexus, own, "GET", place)).status_code == 200
    assert (await basic(nexus, own, "POST", "clients", body)).status_code == 403, "no grandchildren"
    assert (await basic(nexus, own, "GET", f"clients/{parent.client_id}")).status_code == 404
    assert (await basic(nexus, stranger, "GET", place)).status_code == 404
    ids = {one["id"] for one in (await basic(nexus, parent, "GET", "clients")).json()["clients"]}
    assert ids == {str(parent.client_id), child["id"]}
    assert (await basic(nexus, parent, "DELETE", f"clients/{parent.client_id}")).status_code == 200
    assert (await basic(nexus, own, "GET", place)).status_code == 401, "it went with its parent"


IMPOSSIBLE: list[dict[str, Any]] = [
    {"redirect_uris": ["javascript:alert(1)"]},
    {"redirect_uris": ["http://app.example/cb"]},
    {"redirect_uris": ["https://app.example/cb#part"]},
    {"redirect_uris": ["https://user@app.example/cb"]},
    {"redirect_uris": ["https://app.example\\@evil.example"]},
    {"redirect_uris": ["com.example.app:/cb"]},
    {"redirect_uris": ["https://app.example;x/cb"]},
    {"name": "a\nb"},
    {"name": " "},
    {"links": {"privacy_policy": "javascript:alert(1)"}},
    {"required_idp": str(uuid4())},
    {"client_type": "public_installed_client"},
    {"client_type": "gardener"},
    {"visibility": "loud"},
]


async def test_clients_that_cannot_be(nexus: Nexus) -> None:
    ada = await developer(nexus)
    usual = {"name": "Tide tables", "public_client": False, "project": await ada.project()}
    for fields in IMPOSSIBLE:
        answer = await ada.call("POST", "clients", {"client": usual | fields}, 400)
        assert answer["errors"][0]["status"] == "400"


async def test_a_project_keeps_an_admin_that_exists(nexus: Nexus) -> None:
    ada = await developer(nexus)
    project = await ada.project()
    for fields in (
        {"admin_ids": []},
        {"admin_ids": [str(uuid4())]},
        {"admin_group_ids": [str(uuid4())]},
    ):
        await ada.call("PUT", f"projects/{project}", {"project": fields}, 400)
    body = {"project": {"display_name": "x", "contact_email": "x@y.example", "admin_ids": []}}
    await ada.call("POST", "projects", body, 400)


async def test_parts_of_the_deployment_are_not_deleted(nexus: Nexus) -> None:
    for client in (nexus.operator, nexus.transfer):
        gone = await basic(nexus, client, "DELETE", f"clients/{client.client_id}")
        assert gone.status_code == 403


async def test_a_scope_that_goes_takes_its_tokens_along(nexus: Nexus) -> None:
    ada = await developer(nexus)
    client = await ada.client()
    fields = {"name": "n", "description": "d", "scope_suffix": "s"}
    scope = (await ada.call("POST", f"clients/{client}/scopes", {"scope": fields}, 201))["scope"]
    app = await nexus.client()
    answer = await nexus.post(
        "token", app, grant_type="client_credentials", scope=scope["scope_string"]
    )
    token = answer.json()["access_token"]
    assert answer.json()["resource_server"] == client
    await ada.call("DELETE", f"scopes/{scope['id']}")
    assert (await nexus.post("token/validate", app, token=token)).json() == {"active": False}
