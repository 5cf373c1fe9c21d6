"""The documents of projects, clients, secrets, scopes and policies."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from towpath.nexus.documents import identity_document
from towpath.nexus.store.clients import Client, Credential
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.policies import Policy
from towpath.nexus.store.projects import AdminGroup, Project
from towpath.nexus.store.scopes import Dependency, Scope


def client_document(client: Client, scope_ids: Sequence[UUID]) -> dict[str, Any]:
    """A client, without its secrets."""
    parent = client.parent_id or client.template_id
    return {
        "id": str(client.id),
        "name": client.name,
        "client_type": client.client_type,
        "public_client": client.public,
        "visibility": client.visibility,
        "grant_types": list(client.grant_types),
        "scopes": [str(one) for one in scope_ids],
        "redirect_uris": list(client.redirect_uris),
        "fqdns": [],
        "links": {
            "terms_and_conditions": client.terms_and_conditions,
            "privacy_policy": client.privacy_policy,
        },
        "parent_client": None if parent is None else str(parent),
        "project": None if client.project_id is None else str(client.project_id),
        "required_idp": None if client.required_idp is None else str(client.required_idp),
        "preselect_idp": None if client.preselect_idp is None else str(client.preselect_idp),
        "prompt_for_named_grant": client.prompt_for_named_grant,
        "userinfo_from_effective_identity": client.userinfo_from_effective_identity,
    }


def credential_document(credential: Credential, secret: str | None = None) -> dict[str, Any]:
    """A secret's name and age; the secret only in the answer to its making."""
    return {
        "id": str(credential.id),
        "name": credential.name,
        "client": str(credential.client_id),
        "created": credential.created_at.isoformat(),
        "secret": secret,
    }


def scope_document(scope: Scope, needs: Sequence[Dependency]) -> dict[str, Any]:
    """A scope, with what it needs."""
    return {
        "id": str(scope.id),
        "client": str(scope.client_id),
        "scope_string": scope.scope_string,
        "name": scope.name,
        "description": scope.description,
        "advertised": scope.advertised,
        "allows_refresh_token": scope.allows_refresh_token,
        "required_domains": list(scope.required_domains),
        "dependent_scopes": [
            {
                "scope": str(one.depends_on),
                "optional": one.optional,
                "requires_refresh_token": one.requires_refresh_token,
            }
            for one in needs
        ],
    }


def project_document(
    project: Project,
    admins: Mapping[UUID, Identity],
    seen: Mapping[UUID, Collection[str]],
    groups: Mapping[UUID, AdminGroup],
) -> dict[str, Any]:
    """A project, with its admins as far as the caller sees them: anybody may be named as one."""
    return {
        "id": str(project.id),
        "project_name": project.display_name,
        "display_name": project.display_name,
        "contact_email": project.contact_email,
        "admin_ids": [str(one) for one in project.admin_ids] or None,
        "admin_group_ids": [str(one) for one in project.admin_group_ids] or None,
        "admins": {
            "identities": [
                # whoever administers a project is known to the others by name and address
                identity_document(admins[one], seen[one])
                for one in project.admin_ids
                if one in admins
            ],
            "groups": [
                {
                    "id": str(one),
                    "name": groups[one].name,
                    "description": groups[one].description,
                    "organization": None,
                }
                for one in project.admin_group_ids
                if one in groups
            ],
        },
    }


def policy_document(policy: Policy) -> dict[str, Any]:
    """A policy."""
    return {
        "id": str(policy.id),
        "project_id": str(policy.project_id),
        "display_name": policy.display_name,
        "description": policy.description,
        "high_assurance": policy.high_assurance,
        "authentication_assurance_timeout": policy.authentication_assurance_timeout,
        "required_mfa": policy.required_mfa,
        "domain_constraints_include": policy.domain_constraints_include,
        "domain_constraints_exclude": policy.domain_constraints_exclude,
    }
