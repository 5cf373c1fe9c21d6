"""Commands that ask the manager of a Connect server endpoint. Most of them have two names."""

import json

from compat.rows import differs, works
from compat.stage import ACCOUNT, Stage

NO_SUBSCRIPTIONS = "There are no subscriptions: nothing has to be paid for. The command is refused."
ONLY_POSIX = (
    "Storage is what the endpoint's nodes have, under accounts of theirs. Credentials for S3 are"
    " refused."
)
BY_MAPPING = (
    "Accounts follow from the identity mapping of the endpoint's nodes: everybody has the one"
    " credential that it gives him. Others are refused."
)


@works("gcs endpoint show")
def _(stage: Stage, *show: str) -> None:
    assert "Lab" in stage.globus.text(*show, stage.lab)


@works("gcs endpoint update")
def _(stage: Stage, *update: str) -> None:
    stage.globus.run(*update, stage.lab, "--description", "Ours")
    assert stage.deployment.get(f"endpoint/{stage.lab}")["description"] == "Ours"


@differs(NO_SUBSCRIPTIONS, "gcs endpoint set-subscription-id")
def _(stage: Stage, *words: str) -> None:
    assert "no subscriptions" in stage.globus.fails(*words, stage.lab, "DEFAULT").lower()


@works("gcs endpoint role create")
def _(stage: Stage, *create: str) -> None:
    assert stage.globus.text(*create, stage.lab, "activity_monitor", stage.bob.username)


@works("gcs endpoint role list")
def _(stage: Stage, *words: str) -> None:
    assert stage.manager_role() in stage.globus.text(*words, stage.lab, "--all-roles")


@works("gcs endpoint role show")
def _(stage: Stage, *show: str) -> None:
    assert "activity_monitor" in stage.globus.text(*show, stage.lab, stage.manager_role())


@works("gcs endpoint role delete")
def _(stage: Stage, *delete: str) -> None:
    role = stage.manager_role()
    stage.globus.run(*delete, stage.lab, role)
    assert role not in stage.globus.text(
        *("gcs", "endpoint", "role", "list", stage.lab, "--all-roles")
    )


@works("endpoint storage-gateway list", "gcs storage-gateway list")
def _(stage: Stage, *words: str) -> None:
    assert stage.gateway in stage.globus.text(*words, stage.lab)


@works("endpoint user-credential list", "gcs user-credential list")
def _(stage: Stage, *words: str) -> None:
    assert stage.user_credential in stage.globus.text(*words, stage.lab)


@works("endpoint user-credential show", "gcs user-credential show")
def _(stage: Stage, *show: str) -> None:
    assert ACCOUNT in stage.globus.text(*show, stage.lab, stage.user_credential)


@works("endpoint user-credential delete", "gcs user-credential delete")
def _(stage: Stage, *delete: str) -> None:
    credential = stage.user_credential
    for one in stage.manager.get_collection_list(filter="guest_collections"):
        stage.manager.delete_collection(one["id"])
    stage.globus.run(*delete, stage.lab, credential)
    del stage.user_credential  # another one is there when it is asked for


@works("endpoint user-credential create posix", "gcs user-credential create posix")
def _(stage: Stage, *create: str) -> None:
    stage.globus.run(*create, stage.lab, stage.gateway, stage.ann.username, ACCOUNT)


@works("endpoint user-credential create from-json", "gcs user-credential create from-json")
def _(stage: Stage, *create: str) -> None:
    stage.globus.run(*create, stage.lab, _document(stage))


@works("endpoint user-credential update from-json", "gcs user-credential update from-json")
def _(stage: Stage, *update: str) -> None:
    stage.globus.run(*update, stage.lab, stage.user_credential, _document(stage))


def _document(stage: Stage) -> str:
    return json.dumps(
        {
            "DATA_TYPE": "user_credential#1.0.0",
            "identity_id": stage.ann.id,
            "username": ACCOUNT,
            "storage_gateway_id": stage.gateway,
        }
    )


@differs(ONLY_POSIX, "endpoint user-credential create s3", "gcs user-credential create s3")
def _(stage: Stage, *create: str) -> None:
    stage.globus.fails(*create, stage.lab, stage.gateway, stage.ann.username, ACCOUNT, "id", "key")


@works("collection list", "gcs collection list")
def _(stage: Stage, *words: str) -> None:
    assert stage.collection in stage.globus.text(*words, stage.lab)


@works("collection show", "gcs collection show")
def _(stage: Stage, *show: str) -> None:
    assert "Lab data" in stage.globus.text(*show, stage.collection)


@works("collection create mapped", "gcs collection create mapped")
def _(stage: Stage, *create: str) -> None:
    stage.globus.run(*create, stage.lab, "Made", "--base-path", str(stage.open_for_managers))


@works("collection create guest", "gcs collection create guest")
def _(stage: Stage, *create: str) -> None:
    stage.globus.run(*create, stage.collection, "/", "Shared")


@works("collection update", "gcs collection update")
def _(stage: Stage, *update: str) -> None:
    stage.globus.run(*update, stage.collection, "--description", "Ours")


@works("collection delete", "gcs collection delete")
def _(stage: Stage, *delete: str) -> None:
    guest = stage.guest_of_lab()
    stage.globus.run(*delete, guest)
    assert guest not in stage.globus.text("gcs", "collection", "list", stage.lab)


@works("collection role list", "gcs collection role list")
def _(stage: Stage, *words: str) -> None:
    role = stage.manager_role(stage.collection)
    assert role in stage.globus.text(*words, stage.collection, "--all-roles")


@works("collection role show", "gcs collection role show")
def _(stage: Stage, *show: str) -> None:
    role = stage.manager_role(stage.collection)
    assert "activity_monitor" in stage.globus.text(*show, stage.collection, role)


@works("collection role delete", "gcs collection role delete")
def _(stage: Stage, *delete: str) -> None:
    stage.globus.run(*delete, stage.collection, stage.manager_role(stage.collection))
