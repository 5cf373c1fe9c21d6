"""Who may do what, where: a table of all routes of the API, of which every cell is tried.

A route that has no row fails the test. For each route the table says who may; all others are
refused: with 401 who has not logged in, with 404 who may not see what it is about, with 403 who
sees it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi.routing import iter_route_contexts

from plugins.standings import NOT_LOGGED_IN, ROLES, Persona, Place, Standings
from plugins.tasks import store_task
from towpath.transfer.store.rows import fetch_one

LOGGED_IN = frozenset(Persona) - frozenset(NOT_LOGGED_IN)
WITH_ROLE = frozenset({Persona.OWNER, *ROLES})
INVITED = frozenset({Persona.READER, Persona.WRITER, Persona.MEMBER})
NOBODY: frozenset[Persona] = frozenset()

Who = Mapping[Place, frozenset[Persona]]
"""By place: who."""

SEES: Who = {
    Place.HOST: WITH_ROLE,
    Place.GUEST: WITH_ROLE | INVITED,
    Place.PUBLIC: LOGGED_IN,
    Place.FOREIGN: NOBODY,
}


def _at_own(*personas: Persona) -> Who:
    some = frozenset(personas)
    return {Place.HOST: some, Place.GUEST: some, Place.PUBLIC: NOBODY, Place.FOREIGN: NOBODY}


ADMINISTERS = _at_own(Persona.OWNER, Persona.ADMINISTRATOR)
MANAGES_ACTIVITY = _at_own(Persona.OWNER, Persona.ADMINISTRATOR, Persona.ACTIVITY_MANAGER)
MONITORS_ACTIVITY = _at_own(
    Persona.OWNER, Persona.ADMINISTRATOR, Persona.ACTIVITY_MANAGER, Persona.ACTIVITY_MONITOR
)
MANAGES_ACCESS = _at_own(Persona.OWNER, Persona.ADMINISTRATOR, Persona.ACCESS_MANAGER)
_FULL = MANAGES_ACCESS[Place.GUEST]
# elsewhere the endpoint's own login decides
READS: Who = {**SEES, Place.GUEST: _FULL | INVITED}
WRITES: Who = {**SEES, Place.GUEST: _FULL | {Persona.WRITER}}


@dataclass(frozen=True)
class Row:
    """A route. `may`: who gets past authorization; their answer has one of the statuses `then`.

    `path` and `body` may name `{place}`, the body `{task}`; `of_task`: it is about the owner's
    task.
    """

    then: tuple[int, ...]
    may: Who | None = None
    """None: everybody who has logged in; it is about nothing that is somebody's."""
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    of_task: bool = False
    of_others_task: bool = False
    """It is about somebody else's task at the host."""
    anywhere: frozenset[Persona] | None = None
    """Who gets past it, whatever it is about: all others are refused with 403."""
    refused: int | None = None
    """For those who come with a person's token where none is of use."""


SOME_ID = str(uuid4())
ROLE = {"principal_type": "identity", "principal": SOME_ID, "role": "administrator"}
RULE = {"principal_type": "identity", "principal": SOME_ID, "path": "/x/", "permissions": "r"}
PLACE = "{place}"

# What goes past authorization ends at a missing credential: 400, or wherever nobody listens: 502.
AT_THE_SERVER = (400, 409, 502)


def _task(*then: int, **more: Any) -> Row:
    return Row(then, of_task=True, **more)


def _others_task(*then: int) -> Row:
    return Row(then, of_others_task=True, anywhere=MONITORS)


MONITORS = MONITORS_ACTIVITY[Place.HOST]
MANAGERS = MANAGES_ACTIVITY[Place.HOST]
TASKS = {"message": "x", "task_id_list": ["{task}"]}
BOOKMARK_V2 = {
    "data": {
        "type": "Bookmark",
        "attributes": {"name": "{new}", "path": "/data/"},
        "relationships": {"collection": {"data": {"type": "Collection", "id": PLACE}}},
    }
}

ROUTES: dict[str, Row] = {
    # endpoints
    "POST /endpoint": Row(
        (201,), body={"display_name": "x", "DATA": [{"uri": "gsiftp://example.org"}]}
    ),
    "GET /endpoint/{endpoint_id}": Row((200,), SEES),
    "PUT /endpoint/{endpoint_id}": Row((200,), ADMINISTERS, {"description": "x"}),
    "DELETE /endpoint/{endpoint_id}": Row((200,), ADMINISTERS),
    "GET /endpoint_search": Row((200,), query={"filter_scope": "my-endpoints"}),
    "POST /endpoint/{endpoint_id}/setup_key": Row((400,), ADMINISTERS),
    "POST /endpoint/{endpoint_id}/test": Row((200, 400), SEES),
    "POST /endpoint_test": Row((400,), body={"display_name": "x"}),
    # credentials: everybody has his own
    "GET /endpoint/{endpoint_id}/credential": Row((200,), SEES),
    "PUT /endpoint/{endpoint_id}/credential": Row((400,), SEES, {"proxy": ""}),
    "DELETE /endpoint/{endpoint_id}/credential": Row((400, 404), SEES),
    "POST /endpoint/{endpoint_id}/credential/myproxy": Row((400,), SEES, {"server": ""}),
    "GET /credential_list": Row((200,)),
    # roles and rules
    "GET /endpoint/{endpoint_id}/role_list": Row((200,), ADMINISTERS),
    "POST /endpoint/{endpoint_id}/role": Row((201, 409), ADMINISTERS, ROLE),
    "GET /endpoint/{endpoint_id}/role/{role_id}": Row((404,), ADMINISTERS),
    "DELETE /endpoint/{endpoint_id}/role/{role_id}": Row((404,), ADMINISTERS),
    "GET /endpoint/{endpoint_id}/access_list": Row((200, 400), MANAGES_ACCESS),
    "POST /endpoint/{endpoint_id}/access": Row((201, 400, 409), MANAGES_ACCESS, RULE),
    "GET /endpoint/{endpoint_id}/access/{rule_id}": Row((400, 404), MANAGES_ACCESS),
    "PUT /endpoint/{endpoint_id}/access/{rule_id}": Row(
        (400, 404), MANAGES_ACCESS, {"permissions": "rw"}
    ),
    "DELETE /endpoint/{endpoint_id}/access/{rule_id}": Row((400, 404), MANAGES_ACCESS),
    # what is shared
    "POST /shared_endpoint": Row(
        AT_THE_SERVER, SEES, {"display_name": "x", "host_endpoint": PLACE, "host_path": "/"}
    ),
    "GET /endpoint/{endpoint_id}/my_shared_endpoint_list": Row((200,), SEES),
    "GET /endpoint/{endpoint_id}/shared_endpoint_list": Row((200,), SEES),
    # files
    "GET /operation/endpoint/{endpoint_id}/ls": Row(AT_THE_SERVER, READS, query={"path": "/data/"}),
    "GET /operation/endpoint/{endpoint_id}/stat": Row(
        AT_THE_SERVER, READS, query={"path": "/data/x"}
    ),
    "POST /operation/endpoint/{endpoint_id}/mkdir": Row(
        AT_THE_SERVER, WRITES, {"path": "/data/new"}
    ),
    "POST /operation/endpoint/{endpoint_id}/rename": Row(
        AT_THE_SERVER, WRITES, {"old_path": "/data/a", "new_path": "/data/b"}
    ),
    # submissions
    "GET /submission_id": Row((200,)),
    "POST /transfer": Row(
        (202, 400),
        WRITES,
        {
            "submission_id": "{new}",
            "source_endpoint": PLACE,
            "destination_endpoint": PLACE,
            "DATA": [{"source_path": "/data/a", "destination_path": "/data/b"}],
        },
    ),
    "POST /transfer/plan": Row(
        (202, 400, 409),
        WRITES,
        {
            "submission_id": "{new}",
            "source_endpoint": PLACE,
            "destination_endpoint": PLACE,
            "DATA": [{"source_path": "/data/a", "destination_path": "/data/b"}],
        },
    ),
    "GET /plan/{plan_id}": Row((404,)),
    "GET /plan/{plan_id}/entries": Row((404,)),
    "POST /plan/{plan_id}/apply": Row((404,), body={"submission_id": "{new}"}),
    "DELETE /plan/{plan_id}": Row((404,)),
    "POST /delete/plan": Row(
        (202, 400, 409),
        WRITES,
        {"submission_id": "{new}", "endpoint": PLACE, "DATA": [{"path": "/data/a"}]},
    ),
    "POST /delete": Row(
        (202, 400),
        WRITES,
        {"submission_id": "{new}", "endpoint": PLACE, "DATA": [{"path": "/data/a"}]},
    ),
    # tasks: everybody's are his own affair
    "GET /task_list": Row((200,)),
    "GET /task/{task_id}": _task(200),
    "PUT /task/{task_id}": _task(409, body={"label": "x"}),
    "POST /task/{task_id}/cancel": _task(200),
    "POST /task/{task_id}/pause": _task(200),
    "POST /task/{task_id}/resume": _task(200),
    "POST /task/{task_id}/run_again": _task(400, body={"submission_id": "{new}"}),
    "GET /task/{task_id}/items": _task(200),
    "GET /task/{task_id}/event_list": _task(200),
    "GET /task/{task_id}/successful_transfers": _task(200),
    "GET /task/{task_id}/skipped_errors": _task(200),
    "GET /task/{task_id}/fidelity": _task(200),
    "GET /task/{task_id}/throughput": _task(200),
    "GET /task/{task_id}/explain": _task(200),
    "GET /task/{task_id}/pause_info": _task(200),
    "GET /task/{task_id}/progress": _task(200),  # a stream, which ends with the task
    "GET /task_progress": Row((400,), query={"last_event_id": "none"}),  # would go on for ever
    # others' tasks
    "GET /endpoint_manager/monitored_endpoints": Row((200,), anywhere=MONITORS),
    "GET /endpoint_manager/endpoint/{endpoint_id}": Row((200,), MONITORS_ACTIVITY),
    "GET /endpoint_manager/endpoint/{endpoint_id}/hosted_endpoint_list": Row(
        (200,), MONITORS_ACTIVITY
    ),
    "GET /endpoint_manager/endpoint/{endpoint_id}/access_list": Row((200, 400), MONITORS_ACTIVITY),
    "GET /endpoint_manager/task_list": Row(
        (200,), anywhere=MONITORS, query={"filter_status": "ACTIVE"}
    ),
    "GET /endpoint_manager/task/{task_id}": _others_task(200),
    "GET /endpoint_manager/task/{task_id}/event_list": _others_task(200),
    "GET /endpoint_manager/task/{task_id}/pause_info": _others_task(200),
    "GET /endpoint_manager/task/{task_id}/successful_transfers": _others_task(200),
    "GET /endpoint_manager/task/{task_id}/skipped_errors": _others_task(200),
    "POST /endpoint_manager/admin_cancel": Row((200,), anywhere=MANAGERS, body=TASKS),
    "GET /endpoint_manager/admin_cancel/{cancel_id}": Row((404,)),
    "POST /endpoint_manager/admin_pause": Row((200,), anywhere=MANAGERS, body=TASKS),
    "POST /endpoint_manager/admin_resume": Row((200,), anywhere=MANAGERS, body=TASKS),
    "GET /endpoint_manager/pause_rule_list": Row((200,), anywhere=MONITORS),
    "POST /endpoint_manager/pause_rule": Row(
        (201,),
        MANAGES_ACTIVITY,
        {"endpoint_id": PLACE, "message": "x", "identity_id": SOME_ID},
    ),
    "GET /endpoint_manager/pause_rule/{rule_id}": Row((404,)),
    "PUT /endpoint_manager/pause_rule/{rule_id}": Row((404,), body={"message": "x"}),
    "DELETE /endpoint_manager/pause_rule/{rule_id}": Row((404,)),
    "GET /endpoint/{endpoint_id}/my_effective_pause_rule_list": Row((200,), SEES),
    # servers, subscriptions, activation
    "GET /endpoint/{endpoint_id}/server_list": Row((200,), SEES),
    "GET /endpoint/{endpoint_id}/server/{server_id}": Row((404,), SEES),
    "PUT /endpoint/{endpoint_id}/subscription": Row((200,), ADMINISTERS, {"subscription_id": None}),
    "PUT /endpoint/{endpoint_id}/subscription_admin_verified": Row(
        (400,), ADMINISTERS, {"subscription_admin_verified": True}
    ),
    "GET /endpoint/{endpoint_id}/activation_requirements": Row((200,), SEES),
    "POST /endpoint/{endpoint_id}/autoactivate": Row((200,), SEES),
    "POST /endpoint/{endpoint_id}/activate": Row((200, 400), SEES, {"DATA": []}),
    "POST /endpoint/{endpoint_id}/deactivate": Row((200,), SEES),
    # version 2
    "GET /v2/bookmarks": Row((200,)),
    "POST /v2/bookmarks": Row((201,), SEES, BOOKMARK_V2),
    "GET /v2/bookmarks/{bookmark_id}": Row((404,)),
    "PATCH /v2/bookmarks/{bookmark_id}": Row(
        (404,), body={"data": {"type": "Bookmark", "attributes": {"pinned": True}}}
    ),
    "DELETE /v2/bookmarks/{bookmark_id}": Row((404,)),
    # bookmarks
    "GET /bookmark_list": Row((200,)),
    "POST /bookmark": Row((201,), SEES, {"name": "{new}", "endpoint_id": PLACE, "path": "/data/"}),
    "GET /bookmark/{bookmark_id}": Row((404,)),
    "PUT /bookmark/{bookmark_id}": Row((404,), body={"pinned": True}),
    "DELETE /bookmark/{bookmark_id}": Row((404,)),
    # manifests; their keys are for everybody
    "GET /task/{task_id}/manifest": _task(200),
    "GET /manifest_keys": Row((200,), refused=200),
    # being told: everybody has his own webhooks
    "GET /webhook_list": Row((200,)),
    "POST /webhook": Row((201,), body={"url": "https://a.example/", "topics": ["task.failed"]}),
    "GET /webhook/{webhook_id}": Row((404,)),
    "PUT /webhook/{webhook_id}": Row((404,), body={"enabled": False}),
    "DELETE /webhook/{webhook_id}": Row((404,)),
    "POST /webhook/{webhook_id}/secret": Row((404,)),
    "POST /webhook/{webhook_id}/test": Row((404,)),
    "GET /webhook/{webhook_id}/delivery_list": Row((404,)),
    "GET /notifications": Row((200,)),
    "PUT /notifications": Row((200,), body={"mail": True}),
    # links in mails are keys themselves
    "GET /unsubscribe": Row((404,), query={"key": "none"}, refused=404),
    "POST /unsubscribe": Row((404,), query={"key": "none"}, refused=404),
    # agents and relays have tokens of their own
    "GET /connect/authority": Row((404,), refused=404),
    "POST /connect/setup": Row((400,), refused=400),
    "GET /connect/configuration": Row((401,), refused=401),
    "POST /connect/certificate": Row((401,), refused=401),
    "PUT /connect/report": Row((401,), refused=401),
    "PUT /relay": Row((403,)),
    "POST /relay/agent": Row((403,)),
    "POST /relay/presence": Row((403,)),
    "POST /relay/dial": Row((403,)),
}


def _routes(standings: Standings) -> dict[str, str]:
    """By key of the table: the path."""
    return {
        f"{method} {(route.path or '').removeprefix('/v0.10')}": route.path or ""
        for route in iter_route_contexts(standings.app.routes)
        for method in route.methods or ()
    }


def _filled(value: Any, place: UUID, task: UUID) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, place, task) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, place, task) for one in value]
    words = {PLACE: str(place), "{task}": str(task), "{new}": str(uuid4())}
    return words.get(value, value)


@dataclass(frozen=True)
class Cell:
    """One thing that somebody tries somewhere."""

    key: str
    row: Row
    persona: Persona
    place: Place

    def expected(self) -> tuple[tuple[int, ...], str | None]:
        """The statuses, and the code of a refusal; None: any."""
        row = self.row
        if self.persona in NOT_LOGGED_IN:
            if row.refused is not None:
                return (row.refused,), None
            return (401,), "ClientError.AuthenticationFailed"
        if row.of_task:
            if self.persona is Persona.OWNER:
                return row.then, None
            return (404,), "TaskNotFound"
        if row.anywhere is not None and self.persona not in row.anywhere:
            return (403,), "PermissionDenied"
        if row.may is None or self.persona in row.may[self.place]:
            return row.then, None
        if self.persona in SEES[self.place]:
            return (403,), "PermissionDenied"
        return (404,), "EndpointNotFound"

    def fault(self, answer: httpx.Response) -> str | None:
        """What is wrong with the answer."""
        statuses, code = self.expected()
        told = _code(answer) if answer.status_code >= 400 else None
        refused = code is None and told in ("EndpointNotFound", "TaskNotFound")
        if answer.status_code in statuses and not refused and code in (None, told):
            return None
        return (
            f"{self.persona} at {self.place}: {self.key}: {answer.status_code} {told},"
            f" not {statuses} {code}: {answer.text[:200]}"
        )


def _code(answer: httpx.Response) -> str | None:
    """Of an error, in either shape."""
    document = answer.json()
    code: str | None = document.get("errors", [document])[0].get("code")
    return code


def _cells(keys: Mapping[str, str]) -> Iterator[Cell]:
    # first what depends on who has which role: whoever has made an endpoint has all of them there
    for key in sorted(keys, key=lambda key: ROUTES[key].anywhere is None):
        row = ROUTES[key]
        about_place = row.may is not None
        for place in Place if about_place else (Place.HOST,):
            for persona in Persona:
                yield Cell(key, row, persona, place)


async def _try(
    standings: Standings, cell: Cell, path: str, own_task: UUID, others_task: UUID
) -> httpx.Response:
    task = own_task if cell.row.of_task else others_task
    place = standings.places[cell.place]
    method = cell.key.partition(" ")[0]
    ids = {"endpoint_id": place, "task_id": task}
    url = path.format_map({**dict.fromkeys(_names(path), SOME_ID), **ids})
    api = standings.people[cell.persona]
    body = _filled(cell.row.body, place, task)
    answer = await api.http.request(method, url, params=dict(cell.row.query), json=body)
    if method == "DELETE" and answer.status_code == 200:
        async with standings.database.connection() as conn:
            await conn.execute("UPDATE endpoint SET deleted_at = NULL")
    return answer


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


async def test_every_route_for_everybody_everywhere(standings: Standings) -> None:
    keys = _routes(standings)
    assert set(keys) - set(ROUTES) == set(), "routes without a row"
    assert set(ROUTES) - set(keys) == set(), "rows without a route"
    task = await _finished_task(standings)
    others = await _others_task_at_host(standings)
    faults = []
    for cell in _cells(keys):
        answer = await _try(standings, cell, keys[cell.key], task, others)
        if (fault := cell.fault(answer)) is not None:
            faults.append(fault)
    assert not faults, "\n".join(faults)


async def _others_task_at_host(standings: Standings) -> UUID:
    number = await store_task(standings.database)
    async with standings.database.connection() as conn:
        row = await fetch_one(
            conn,
            "UPDATE task SET source_endpoint_id = %s WHERE task_no = %s RETURNING id",
            (standings.places[Place.HOST], number),
        )
    assert row is not None
    task: UUID = row[0]
    return task


async def _finished_task(standings: Standings) -> UUID:
    number = await store_task(standings.database, standings.people[Persona.OWNER].sub)
    async with standings.database.connection() as conn:
        row = await fetch_one(
            conn,
            "UPDATE task SET status = 'FAILED', completion_time = now(), fatal_error ="
            """ '{"code": "CANCELED", "description": "canceled"}' WHERE task_no = %s"""
            " RETURNING id",
            (number,),
        )
    assert row is not None
    task: UUID = row[0]
    return task
