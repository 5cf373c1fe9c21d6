"""How each method is called, and what stands for the ids that its example has."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import globus_sdk

from conformance.examples import Example, Sdk
from conformance.stage import Stage, basic, bearer
from plugins.nexus import REDIRECT
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.well_known import CLI_TEMPLATES

SUBSCRIPTION = str(uuid4())


@dataclass(frozen=True)
class Call:
    """A request to make."""

    make: Callable[[Sdk], object]
    ids: Mapping[str, str] = field(default_factory=dict)
    """Ids and names of the example, and ours in their places."""
    login: Mapping[str, str] | None = None
    """The header; None: the developer's own token."""


Prepare = Callable[[Stage, Example], Awaitable[Call]]
CALLS: dict[str, Prepare] = {}


def method(prepare: Prepare) -> Prepare:
    """By the function's name."""
    CALLS[prepare.__name__] = prepare
    return prepare


def _ours(arguments: Mapping[str, Any], **ours: str) -> dict[str, str]:
    """Ours in the places of those arguments that there are."""
    return {str(arguments[name]): id_ for name, id_ in ours.items() if arguments.get(name)}


async def _client_ids(stage: Stage, arguments: Mapping[str, Any]) -> dict[str, str]:
    return _ours(
        arguments,
        project=stage.project_id,
        required_idp=stage.provider_id,
        preselect_idp=stage.provider_id,
    )


async def _scope_ids(stage: Stage, client_id: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    ids = {}
    for needed in arguments.get("dependent_scopes") or ():
        document = needed if isinstance(needed, dict) else vars(needed)
        ids[str(document["scope"])] = str((await stage.scope(client_id))["id"])
    return ids


@method
async def create_child_client(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    _, parent = await stage.secret(await stage.client("confidential_client"))
    return Call(
        lambda sdk: sdk.application.create_child_client(**arguments),
        await _client_ids(stage, arguments),
        basic(parent),
    )


@method
async def create_client(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    return Call(
        lambda sdk: sdk.auth.create_client(**arguments), await _client_ids(stage, arguments)
    )


@method
async def create_native_app_instance(_stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    template = str(next(iter(CLI_TEMPLATES)))
    return Call(
        lambda sdk: sdk.native.create_native_app_instance(**arguments),
        _ours(arguments, template_id=template),
        {},
    )


@method
async def update_client(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    ids = await _client_ids(stage, arguments)
    ids |= _ours(arguments, client_id=await stage.client())
    return Call(lambda sdk: sdk.auth.update_client(**arguments), ids)


@method
async def get_client(stage: Stage, example: Example) -> Call:
    facts = example.facts
    document = example.response.json["client"]
    client_id = await stage.client(document["client_type"], visibility=document["visibility"])
    if example.case == "fqdn":
        return Call(lambda sdk: sdk.auth.get_client(fqdn=facts["fqdn"]))
    return Call(
        lambda sdk: sdk.auth.get_client(client_id=facts["client_id"]),
        _ours(facts, client_id=client_id),
    )


@method
async def get_clients(stage: Stage, example: Example) -> Call:
    document = example.response.json["clients"][0]
    await stage.client(document["client_type"], visibility=document["visibility"])
    return Call(lambda sdk: sdk.auth.get_clients())


@method
async def delete_client(stage: Stage, example: Example) -> Call:
    facts = example.facts
    document = example.response.json["client"]
    client_id = await stage.client(document["client_type"], visibility=document["visibility"])
    return Call(
        lambda sdk: sdk.auth.delete_client(facts["client_id"]), _ours(facts, client_id=client_id)
    )


@method
async def create_client_credential(stage: Stage, example: Example) -> Call:
    facts = example.facts
    client_id = await stage.client("confidential_client")
    return Call(
        lambda sdk: sdk.auth.create_client_credential(facts["client_id"], facts["name"]),
        _ours(facts, client_id=client_id),
    )


async def _with_credential(stage: Stage, facts: Mapping[str, Any]) -> dict[str, str]:
    client_id = await stage.client("confidential_client")
    credential_id, _ = await stage.secret(client_id)
    return _ours(facts, client_id=client_id, credential_id=credential_id)


@method
async def get_client_credentials(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.get_client_credentials(facts["client_id"]),
        await _with_credential(stage, facts),
    )


@method
async def delete_client_credential(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.delete_client_credential(facts["client_id"], facts["credential_id"]),
        await _with_credential(stage, facts),
    )


@method
async def create_policy(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    return Call(
        lambda sdk: sdk.auth.create_policy(**arguments),
        _ours(arguments, project_id=stage.project_id),
    )


@method
async def update_policy(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    ids = _ours(arguments, policy_id=await stage.policy(), project_id=await stage.project())
    return Call(lambda sdk: sdk.auth.update_policy(**arguments), ids)


@method
async def get_policy(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.get_policy(facts["policy_id"]),
        _ours(facts, policy_id=await stage.policy(example.response.json["policy"])),
    )


@method
async def get_policies(stage: Stage, example: Example) -> Call:
    for document in example.response.json["policies"]:
        await stage.policy(document)
    return Call(lambda sdk: sdk.auth.get_policies())


@method
async def delete_policy(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.delete_policy(facts["policy_id"]),
        _ours(facts, policy_id=await stage.policy(example.response.json["policy"])),
    )


async def _administrators(stage: Stage, facts: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """The SDK's arguments for a project's administrators, and the ids."""
    if "admin_group_id" in facts:
        arguments = {"admin_group_ids": [facts["admin_group_id"]]}
        return arguments, _ours(facts, admin_group_id=await stage.group())
    arguments = {"admin_ids": [facts["admin_id"]]}
    return arguments, _ours(facts, admin_id=str(stage.person.identity_id))


@method
async def create_project(stage: Stage, example: Example) -> Call:
    administrators, ids = await _administrators(stage, example.facts)
    return Call(
        lambda sdk: sdk.auth.create_project(
            "Guardians of the Galaxy", "support@globus.org", **administrators
        ),
        ids,
    )


@method
async def update_project(stage: Stage, example: Example) -> Call:
    administrators, ids = await _administrators(stage, example.facts)
    ids |= _ours(example.facts, id=await stage.project("Before"))
    return Call(
        lambda sdk: sdk.auth.update_project(
            example.facts["id"], display_name="Guardians of the Galaxy", **administrators
        ),
        ids,
    )


@method
async def get_project(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.get_project(facts["project_id"]),
        _ours(facts, project_id=stage.project_id),
    )


@method
async def get_projects(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.auth.get_projects())


@method
async def delete_project(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.auth.delete_project(facts["id"]), _ours(facts, id=await stage.project())
    )


@method
async def create_scope(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    client_id = await stage.client("resource_server")
    ids = _ours(arguments, client_id=client_id) | await _scope_ids(stage, client_id, arguments)
    return Call(lambda sdk: sdk.auth.create_scope(**arguments), ids)


@method
async def update_scope(stage: Stage, example: Example) -> Call:
    arguments = example.arguments
    client_id = await stage.client("resource_server")
    ids = await _scope_ids(stage, client_id, arguments)
    ids |= _ours(arguments, scope_id=(await stage.scope(client_id))["id"])
    return Call(lambda sdk: sdk.auth.update_scope(**arguments), ids)


@method
async def get_scope(stage: Stage, example: Example) -> Call:
    facts = example.facts
    scope = await stage.scope(await stage.client("resource_server"))
    return Call(
        lambda sdk: sdk.auth.get_scope(facts["scope_id"]), _ours(facts, scope_id=scope["id"])
    )


@method
async def get_scopes(stage: Stage, example: Example) -> Call:
    facts = example.facts
    scope = await stage.scope(await stage.client("resource_server"))
    if "scope_id" in facts:
        return Call(
            lambda sdk: sdk.auth.get_scopes(ids=facts["scope_id"]),
            _ours(facts, scope_id=scope["id"]),
        )
    if "scope_string" in facts:
        return Call(
            lambda sdk: sdk.auth.get_scopes(scope_strings=facts["scope_string"]),
            _ours(facts, scope_string=scope["scope_string"]),
        )
    return Call(lambda sdk: sdk.auth.get_scopes())


@method
async def delete_scope(stage: Stage, example: Example) -> Call:
    facts = example.facts
    scope = await stage.scope(await stage.client("resource_server"))
    return Call(
        lambda sdk: sdk.auth.delete_scope(facts["scope_id"]), _ours(facts, scope_id=scope["id"])
    )


@method
async def get_consents(stage: Stage, example: Example) -> Call:
    facts = example.facts
    await stage.tokens(TRANSFER_ALL)
    return Call(
        lambda sdk: sdk.auth.get_consents(facts["identity_id"], all=True),
        _ours(facts, identity_id=str(stage.person.identity_id)),
    )


@method
async def get_identities(stage: Stage, example: Example) -> Call:
    facts = example.facts
    known = str(stage.person.identity_id)
    unused = f"{uuid4().hex}@{stage.domain}"
    match example.case:
        case "default":  # nobody has logged in with it yet
            ids = _ours(facts, username=unused)
            return Call(
                lambda sdk: sdk.auth.get_identities(usernames=facts["username"], provision=True),
                ids,
            )
        case "multiple":
            names = facts["usernames"]
            ids = {names[0]: unused, names[1]: stage.person.username}
            return Call(lambda sdk: sdk.auth.get_identities(usernames=names, provision=True), ids)
        case "empty":
            return Call(lambda sdk: sdk.auth.get_identities(ids=str(uuid4())))
        case "unauthorized":
            return Call(lambda sdk: sdk.auth.get_identities(ids=str(uuid4())), login={})
        case _:
            ids = _ours(facts, id=known)
            return Call(lambda sdk: sdk.auth.get_identities(ids=facts["id"]), ids)


@method
async def get_identity_providers(stage: Stage, example: Example) -> Call:
    facts = example.facts
    wanted = facts.get("ids") or [facts["id"]]
    if example.case == "globus_staff":
        domains = facts["domains"]
        return Call(
            lambda sdk: sdk.auth.get_identity_providers(domains=domains),
            {domains[0]: stage.domain},
        )
    return Call(
        lambda sdk: sdk.auth.get_identity_providers(ids=wanted),
        dict.fromkeys(wanted, stage.provider_id),
    )


@method
async def userinfo(stage: Stage, example: Example) -> Call:
    if example.case == "unauthorized":
        return Call(lambda sdk: sdk.auth.userinfo(), login={})
    document = await stage.tokens("email")
    return Call(lambda sdk: sdk.auth.userinfo(), login=bearer(document["access_token"]))


@method
async def oauth2_client_credentials_tokens(stage: Stage, example: Example) -> Call:
    scope = example.response.json["scope"]
    return Call(
        lambda sdk: sdk.application.oauth2_client_credentials_tokens(scope),
        login=basic(stage.application),
    )


@method
async def oauth2_exchange_code_for_tokens(stage: Stage, example: Example) -> Call:
    wrong = example.case == "invalid_grant"
    scope = TRANSFER_ALL if wrong else example.response.json["scope"]
    code = "no code" if wrong else await stage.code(scope)

    def exchange(sdk: Sdk) -> object:
        sdk.application.oauth2_start_flow(REDIRECT, scope)
        return sdk.application.oauth2_exchange_code_for_tokens("CODE")

    return Call(exchange, {"CODE": code}, basic(stage.application))


@method
async def oauth2_get_dependent_tokens(stage: Stage, example: Example) -> Call:
    client, token = await stage.resource_server()
    refresh = "refresh_token" in example.response.json[0]
    return Call(
        lambda sdk: sdk.application.oauth2_get_dependent_tokens("TOKEN", refresh_tokens=refresh),
        {"TOKEN": token},
        basic(client),
    )


@method
async def oauth2_revoke_token(stage: Stage, _example: Example) -> Call:
    document = await stage.tokens(TRANSFER_ALL)
    return Call(
        lambda sdk: sdk.application.oauth2_revoke_token("TOKEN"),
        {"TOKEN": document["access_token"]},
        basic(stage.application),
    )


@method
async def oauth2_token_introspect(stage: Stage, example: Example) -> Call:
    document = await stage.tokens(example.facts["scope"])
    return Call(
        lambda sdk: sdk.application.oauth2_token_introspect("TOKEN"),
        {"TOKEN": document["access_token"]},
        basic(stage.application),
    )


@method
async def create_group(_stage: Stage, example: Example) -> Call:
    document = example.response.json
    fields = {"name": document["name"], "description": document["description"]}
    return Call(lambda sdk: sdk.groups.create_group(fields))


@method
async def get_group(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.groups.get_group(facts["group_id"], include=["my_memberships", "policies"]),
        _ours(facts, group_id=await stage.group()),
    )


@method
async def delete_group(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.groups.delete_group(facts["group_id"]),
        _ours(facts, group_id=await stage.group()),
    )


@method
async def get_my_groups(stage: Stage, _example: Example) -> Call:
    await stage.group()
    return Call(lambda sdk: sdk.groups.get_my_groups())


@method
async def get_group_by_subscription_id(_stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.groups.get_group_by_subscription_id(facts["subscription_id"]),
        _ours(facts, subscription_id=SUBSCRIPTION),
    )


@method
async def set_group_policies(stage: Stage, example: Example) -> Call:
    facts = example.facts
    policies = globus_sdk.GroupPolicies(
        is_high_assurance=False,
        group_visibility=globus_sdk.GroupVisibility.private,
        group_members_visibility=globus_sdk.GroupMemberVisibility.managers,
        join_requests=False,
        signup_fields=[globus_sdk.GroupRequiredSignupFields.address1],
        authentication_assurance_timeout=28800,
    )
    return Call(
        lambda sdk: sdk.groups.set_group_policies(facts["group_id"], policies),
        _ours(facts, group_id=await stage.group()),
    )


@method
async def set_subscription_admin_verified(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.groups.set_subscription_admin_verified(
            facts["group_id"], facts["subscription_id"]
        ),
        _ours(facts, group_id=await stage.group(), subscription_id=SUBSCRIPTION),
    )
