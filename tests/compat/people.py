"""Commands of logins, identities and groups, and those that ask nobody."""

from uuid import uuid4

from compat.rows import differs, works
from compat.stage import Stage

NO_SUBSCRIPTIONS = "There are no subscriptions: nothing has to be paid for. None is found."
GROUPS = "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships"


def _logged_in(stage: Stage) -> None:
    """The person of the terminal."""
    try:
        stage.terminal.run("whoami")
    except AssertionError:
        stage.terminal.with_a_code("login", "--no-local-server")


@works("login")
def _(stage: Stage, *login: str) -> None:
    said = stage.terminal.with_a_code(*login, "--no-local-server", "--force")
    assert "You have successfully logged in" in said
    assert "already logged in" in stage.terminal.run(*login)


@works("logout")
def _(stage: Stage, *logout: str) -> None:
    _logged_in(stage)
    stage.terminal.run(*logout, "--yes")
    assert "Missing login" in stage.terminal.run("whoami", expect=4)


@works("whoami")
def _(stage: Stage, *whoami: str) -> None:
    assert stage.globus.text(*whoami).strip() == stage.ann.username
    _logged_in(stage)
    assert stage.terminal.json(*whoami)["name"] == "Grace"
    stage.terminal.run(*whoami, "--linked-identities")


@works("session show")
def _(stage: Stage, *show: str) -> None:
    _logged_in(stage)
    assert len(stage.terminal.json(*show)["authentications"]) == 1


@works("session update")
def _(stage: Stage, *update: str) -> None:
    _logged_in(stage)
    stage.terminal.with_a_code(*update, "--all", "--no-local-server")


@works("session consent")
def _(stage: Stage, *consent: str) -> None:
    _logged_in(stage)
    stage.terminal.with_a_code(*consent, GROUPS, "--no-local-server")


@works("get-identities")
def _(stage: Stage, *words: str) -> None:
    assert stage.globus.text(*words, stage.ann.username).strip() == stage.ann.id
    assert stage.globus.text(*words, stage.ann.id).strip() == stage.ann.username


@works("cli-profile-list")
def _(stage: Stage, *words: str) -> None:
    _logged_in(stage)
    assert "towpath" in stage.terminal.run(*words, "--all")


@works("list-commands", "version")
def _(stage: Stage, *words: str) -> None:
    assert len(stage.globus.text(*words)) > 20


@works("update")
def _(stage: Stage, *update: str) -> None:
    """It asks PyPI, not us; where that cannot be reached it says so."""
    stage.globus.attempt(*update, "--help")


@works("group create")
def _(stage: Stage, *create: str) -> None:
    assert stage.globus.json(*create, "Lake", "--description", "Water")["id"]


@works("group list")
def _(stage: Stage, *words: str) -> None:
    assert stage.group() in stage.globus.text(*words)


@works("group show")
def _(stage: Stage, *show: str) -> None:
    assert "Lake" in stage.globus.text(*show, stage.group())


@works("group update")
def _(stage: Stage, *update: str) -> None:
    group = stage.group()
    stage.globus.run(*update, group, "--name", "Sea")
    assert stage.ann.groups.get_group(group)["name"] == "Sea"


@works("group delete")
def _(stage: Stage, *delete: str) -> None:
    group = stage.group()
    stage.globus.run(*delete, group)
    assert stage.globus.fails("group", "show", group)


@works("group set-policies")
def _(stage: Stage, *policies: str) -> None:
    stage.globus.run(*policies, stage.group(), "--visibility", "authenticated")


def _open_group(stage: Stage) -> str:
    group = stage.group()
    stage.globus.run(
        *("group", "set-policies", group, "--visibility", "authenticated", "--join-requests")
    )
    return group


@works("group join")
def _(stage: Stage, *join: str) -> None:
    told = stage.bob.globus.json(*join, _open_group(stage), "--request")
    assert told["request_join"][0]["status"] == "pending"


@works("group leave")
def _(stage: Stage, *leave: str) -> None:
    group = stage.group()
    stage.globus.run("group", "member", "add", group, stage.bob.id)
    assert "Left group" in stage.bob.globus.text(*leave, group)


@works("group member add")
def _(stage: Stage, *add: str) -> None:
    told = stage.globus.json(*add, stage.group(), stage.bob.username, "--role", "manager")
    assert told["add"][0]["role"] == "manager"


@works("group member invite")
def _(stage: Stage, *invite: str) -> None:
    stage.globus.run(*invite, stage.group(), stage.bob.username)


@works("group member approve")
def _(stage: Stage, *approve: str) -> None:
    group = _open_group(stage)
    stage.bob.globus.run("group", "join", group, "--request")
    stage.globus.run(*approve, group, stage.bob.id)


@works("group member reject")
def _(stage: Stage, *reject: str) -> None:
    group = _open_group(stage)
    stage.bob.globus.run("group", "join", group, "--request")
    assert stage.globus.json(*reject, group, stage.bob.id)["reject"][0]["status"] == "rejected"


@works("group member remove")
def _(stage: Stage, *remove: str) -> None:
    group = stage.group()
    stage.globus.run("group", "member", "add", group, stage.bob.id)
    stage.globus.run(*remove, group, stage.bob.id)


@works("group member list")
def _(stage: Stage, *words: str) -> None:
    assert stage.ann.username in stage.globus.text(*words, stage.group())


@works("group invite accept", "group invite decline")
def _(stage: Stage, *words: str) -> None:
    group = stage.group()
    stage.globus.run("group", "member", "invite", group, stage.bob.id)
    stage.bob.globus.run(*words, group)


@differs(NO_SUBSCRIPTIONS, "group get-by-subscription", "group get-subscription-info")
def _(stage: Stage, *words: str) -> None:
    assert "no subscriptions" in stage.globus.fails(*words, str(uuid4()))


@differs(NO_SUBSCRIPTIONS, "group set-subscription-admin-verified")
def _(stage: Stage, *words: str) -> None:
    assert "no subscriptions" in stage.globus.fails(*words, stage.group(), str(uuid4()))


@works("api auth")
def _(stage: Stage, *api: str) -> None:
    assert stage.globus.json(*api, "GET", "/v2/oauth2/userinfo")["sub"] == stage.ann.id


@works("api groups")
def _(stage: Stage, *api: str) -> None:
    assert stage.group() in stage.globus.text(*api, "GET", "/v2/groups/my_groups")


@works("api transfer")
def _(stage: Stage, *api: str) -> None:
    told = stage.globus.json(*api, "GET", "/task_list", "-Q", "limit=1")
    assert told["DATA_TYPE"] == "task_list"
    assert "TaskNotFound" in stage.globus.fails(*api, "GET", f"/task/{uuid4()}")


@works("api timer", "api timers")
def _(stage: Stage, *api: str) -> None:
    assert "jobs" in stage.globus.json(*api, "GET", "/jobs/")


@works("api gcs")
def _(stage: Stage, *api: str) -> None:
    told = stage.globus.json(*api, stage.lab, "GET", "/collections")
    assert stage.collection in {one["id"] for one in told["data"]}
