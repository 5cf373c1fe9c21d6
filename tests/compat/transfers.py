"""Commands of files, tasks, endpoints and bookmarks."""

import json
import time
from uuid import uuid4

from compat.rows import differs, works
from compat.stage import TASK_S, Stage

NO_SUBSCRIPTIONS = "There are no subscriptions: nothing has to be paid for. The command is refused."


@works("ls")
def _(stage: Stage, *ls: str) -> None:
    file = stage.file()
    assert stage.globus.text(*ls, f"{stage.a}:{file.parent}/") == "file.txt\n"
    (file.parent / "deep").mkdir()
    (file.parent / "deep" / "two").touch()
    told = stage.globus.text(*ls, "-r", f"{stage.a}:{file.parent}/")
    assert set(told.split()) == {"file.txt", "deep/", "deep/two"}
    some = stage.globus.json(*ls, f"{stage.a}:{file.parent}", "--filter", "~*.no")
    assert [one["name"] for one in some["DATA"] if one["type"] == "file"] == []


@works("stat")
def _(stage: Stage, *stat: str) -> None:
    file = stage.file("12345")
    assert stage.globus.json(*stat, f"{stage.a}:{file}")["size"] == 5
    assert "Nothing found" in stage.globus.text(*stat, f"{stage.a}:{file}-not")


@works("mkdir")
def _(stage: Stage, *mkdir: str) -> None:
    made = stage.directory() / "made"
    assert "created successfully" in stage.globus.text(*mkdir, f"{stage.a}:{made}")
    assert made.is_dir()


@works("rename")
def _(stage: Stage, *rename: str) -> None:
    file = stage.file()
    stage.globus.run(*rename, stage.a, str(file), f"{file}.old")
    assert not file.exists()


@works("transfer")
def _(stage: Stage, *transfer: str) -> None:
    file = stage.file()
    told = stage.globus.json(*transfer, f"{stage.a}:{file}", f"{stage.b}:{file}.copy")
    assert told["code"] == "Accepted"
    assert stage.deployment.wait(told["task_id"], TASK_S)["status"] == "SUCCEEDED"
    assert file.with_name("file.txt.copy").read_text() == file.read_text()


@works("delete")
def _(stage: Stage, *delete: str) -> None:
    file = stage.file()
    told = stage.globus.json(*delete, f"{stage.a}:{file}")
    assert stage.deployment.wait(told["task_id"], TASK_S)["status"] == "SUCCEEDED"
    assert not file.exists()


@works("rm")
def _(stage: Stage, *rm: str) -> None:
    file = stage.file()
    stage.globus.run(*rm, "-r", f"{stage.a}:{file.parent}")
    assert not file.parent.exists()


@works("task list")
def _(stage: Stage, *words: str) -> None:
    task = stage.task()
    listed = stage.globus.json(*words, "--filter-status", "SUCCEEDED", "--limit", "100")["DATA"]
    assert task in {one["task_id"] for one in listed}


@works("task show")
def _(stage: Stage, *show: str) -> None:
    task = stage.task()
    assert "SUCCEEDED" in stage.globus.text(*show, task)
    assert "file.txt" in stage.globus.text(*show, task, "--successful-transfers")
    stage.globus.run(*show, task, "--skipped-errors")


@works("task wait")
def _(stage: Stage, *wait: str) -> None:
    stage.globus.run(*wait, stage.task(), "--polling-interval", "1")
    late = ("--timeout", "1", "--polling-interval", "1", "--timeout-exit-code", "55")
    stage.globus.run(*wait, stage.unfinished_task(), *late, expect=55)


@works("task event-list")
def _(stage: Stage, *words: str) -> None:
    task = stage.task()
    assert stage.globus.json(*words, task)["DATA"][0]["code"] == "SUCCEEDED"
    assert stage.globus.json(*words, task, "--filter-errors")["DATA"] == []


@works("task cancel")
def _(stage: Stage, *cancel: str) -> None:
    task = stage.unfinished_task()
    assert stage.globus.json(*cancel, task)["code"] in ("Canceled", "CancelAccepted")
    assert stage.deployment.wait(task, TASK_S)["fatal_error"]["code"] == "CANCELED"
    stage.unfinished_task()
    stage.globus.run(*cancel, "--all")


@works("task update")
def _(stage: Stage, *update: str) -> None:
    task = stage.unfinished_task()
    stage.globus.run(*update, task, "--label", "renamed", "--deadline", "2040-01-01")
    assert stage.deployment.task(task)["label"] == "renamed"


@works("task pause-info")
def _(stage: Stage, *words: str) -> None:
    assert "is not paused" in stage.globus.text(*words, stage.task())
    assert "paused" in stage.globus.text(*words, stage.unfinished_task())


@works("task generate-submission-id")
def _(stage: Stage, *words: str) -> None:
    assert len(stage.globus.text(*words).strip()) == 36


@works("endpoint search")
def _(stage: Stage, *search: str) -> None:
    assert stage.a in stage.globus.text(*search, "lake")
    assert stage.a in stage.globus.text(*search, "--filter-scope", "my-endpoints")
    stage.globus.run(*search, "lake", "--filter-owner-id", stage.ann.username)


@works("endpoint show")
def _(stage: Stage, *show: str) -> None:
    assert "Lake A" in stage.globus.text(*show, stage.a)


@works("endpoint local-id")
def _(stage: Stage, *words: str) -> None:
    assert "No Globus Connect Personal installation" in stage.globus.fails(*words)


def _other_endpoint(stage: Stage) -> str:
    made = stage.ann.transfer.post(
        "/v0.10/endpoint",
        data={"DATA_TYPE": "endpoint", "display_name": "Other", "is_globus_connect": True},
    )
    return str(made["id"])


@works("endpoint update")
def _(stage: Stage, *update: str) -> None:
    other = _other_endpoint(stage)
    stage.globus.run(*update, other, "--description", "told")
    assert stage.deployment.get(f"endpoint/{other}")["description"] == "told"


@works("endpoint delete")
def _(stage: Stage, *delete: str) -> None:
    other = _other_endpoint(stage)
    stage.globus.run(*delete, other)
    assert "EndpointDeleted" in stage.globus.fails("endpoint", "show", other)


@works("endpoint my-shared-endpoint-list")
def _(stage: Stage, *words: str) -> None:
    assert stage.guest() in stage.globus.text(*words, stage.a)


@differs(NO_SUBSCRIPTIONS, "endpoint set-subscription-id")
def _(stage: Stage, *words: str) -> None:
    _no_subscriptions(stage, *words, stage.a, str(uuid4()))


@differs(NO_SUBSCRIPTIONS, "gcp set-subscription-id")
def _(stage: Stage, *words: str) -> None:
    _no_subscriptions(stage, *words, stage.laptop, str(uuid4()))


@differs(NO_SUBSCRIPTIONS, "gcp set-subscription-admin-verified")
def _(stage: Stage, *words: str) -> None:
    _no_subscriptions(stage, *words, stage.laptop, "true")


def _no_subscriptions(stage: Stage, *words: str) -> None:
    said = stage.globus.fails(*words)
    assert "subscription" in said.lower(), said


@works(
    "endpoint activate",
    "endpoint create",
    "endpoint deactivate",
    "endpoint is-activated",
    "endpoint server",
)
def _(stage: Stage, *words: str) -> None:
    """The program itself says that there is no such command any more."""
    assert "removed" in stage.globus.attempt(*words).stderr.lower()


@works("endpoint permission create")
def _(stage: Stage, *create: str) -> None:
    guest = stage.guest()
    who = ("--permissions", "rw", "--identity", stage.bob.id)
    told = stage.globus.json(*create, *who, f"{guest}:/")
    assert told["access_id"]
    stage.globus.run(*create, "--permissions", "r", "--all-authenticated", f"{guest}:/")
    stage.globus.run(*create, "--permissions", "r", "--group", stage.group(), f"{guest}:/")
    assert stage.bob.globus.json("ls", f"{guest}:/")["DATA"] == []


@works("endpoint permission list")
def _(stage: Stage, *words: str) -> None:
    guest = stage.guest()
    rule = stage.rule(guest)
    assert rule in stage.globus.text(*words, guest)


@works("endpoint permission show")
def _(stage: Stage, *show: str) -> None:
    guest = stage.guest()
    assert stage.bob.username in stage.globus.text(*show, guest, stage.rule(guest))


@works("endpoint permission update")
def _(stage: Stage, *update: str) -> None:
    guest = stage.guest()
    rule = stage.rule(guest)
    stage.globus.run(*update, guest, rule, "--permissions", "rw")
    assert stage.ann.transfer.get_endpoint_acl_rule(guest, rule)["permissions"] == "rw"


@works("endpoint permission delete")
def _(stage: Stage, *delete: str) -> None:
    guest = stage.guest()
    stage.globus.run(*delete, guest, stage.rule(guest))
    assert stage.bob.globus.fails("ls", f"{guest}:/")


@works("endpoint role create")
def _(stage: Stage, *create: str) -> None:
    told = stage.globus.json(
        *create, stage.guest(), "--identity", stage.bob.id, "--role", "administrator"
    )
    assert told["id"]


@works("endpoint role list")
def _(stage: Stage, *words: str) -> None:
    guest = stage.guest()
    assert stage.role(guest) in stage.globus.text(*words, guest)


@works("endpoint role show")
def _(stage: Stage, *show: str) -> None:
    guest = stage.guest()
    assert "activity_monitor" in stage.globus.text(*show, guest, stage.role(guest))


@works("endpoint role delete")
def _(stage: Stage, *delete: str) -> None:
    guest = stage.guest()
    role = stage.role(guest)
    stage.globus.run(*delete, guest, role)
    assert role not in stage.globus.text("endpoint", "role", "list", guest)


@works("bookmark create")
def _(stage: Stage, *create: str) -> None:
    assert "Bookmark ID" in stage.globus.text(*create, f"{stage.a}:{stage.root}/", "mine")


@works("bookmark list")
def _(stage: Stage, *words: str) -> None:
    name = stage.bookmark()
    told = stage.globus.text(*words)
    assert name in told
    assert "Lake A" in told


@works("bookmark show")
def _(stage: Stage, *show: str) -> None:
    assert stage.globus.text(*show, stage.bookmark()).strip() == f"{stage.a}:{stage.root}/"


@works("bookmark rename")
def _(stage: Stage, *rename: str) -> None:
    name = stage.bookmark()
    stage.globus.run(*rename, name, f"{name}2")
    stage.globus.run("bookmark", "show", f"{name}2")


@works("bookmark delete")
def _(stage: Stage, *delete: str) -> None:
    assert "deleted" in stage.globus.text(*delete, stage.bookmark())


@works("gcp create mapped")
def _(stage: Stage, *create: str) -> None:
    assert stage.globus.json(*create, "Phone")["globus_connect_setup_key"]


@works("gcp create guest")
def _(stage: Stage, *create: str) -> None:
    shared = f"{stage.laptop}:{stage.root}/laptop-files/"
    guest = stage.globus.json(*create, "Of mine", shared)["id"]
    stage.rule(guest)
    assert stage.bob.globus.json("ls", f"{guest}:/")["DATA"] == []


@works("gcp update mapped")
def _(stage: Stage, *update: str) -> None:
    stage.globus.run(*update, stage.laptop, "--description", "at home")
    assert stage.deployment.get(f"endpoint/{stage.laptop}")["description"] == "at home"


@works("gcp update guest")
def _(stage: Stage, *update: str) -> None:
    guest = stage.guest_of_laptop()
    stage.globus.run(*update, guest, "--display-name", "Another name")
    assert stage.deployment.get(f"endpoint/{guest}")["display_name"] == "Another name"


@works("timer create transfer")
def _(stage: Stage, *create: str) -> None:
    file = stage.file()
    when = ("--start", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 172_800)))
    told = stage.globus.json(
        *(*create, *when, "--interval", "1d", "--stop-after-runs", "2", "--name", "Nightly"),
        *(f"{stage.a}:{file}", f"{stage.b}:{file}.copy"),
    )
    assert told["name"] == "Nightly"


@works("timer list")
def _(stage: Stage, *words: str) -> None:
    timer = stage.timer()
    assert timer in json.dumps(stage.globus.json(*words))


@works("timer show")
def _(stage: Stage, *show: str) -> None:
    assert "Nightly" in stage.globus.text(*show, stage.timer())


@works("timer pause")
def _(stage: Stage, *pause: str) -> None:
    assert "paused" in stage.globus.text(*pause, stage.timer()).lower()


@works("timer resume")
def _(stage: Stage, *resume: str) -> None:
    timer = stage.timer()
    stage.ann.timers.pause_job(timer)
    assert "resumed" in stage.globus.text(*resume, timer).lower()


@works("timer delete")
def _(stage: Stage, *delete: str) -> None:
    timer = stage.timer()
    stage.globus.run(*delete, timer)
    assert stage.globus.fails("timer", "show", timer)
