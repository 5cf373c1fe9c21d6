"""The examples of Transfer, Timers and the Connect Server Manager: of a whole deployment."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import globus_sdk
import requests
from globus_sdk.experimental import (
    BookmarkCreateDocument,
    BookmarkUpdateDocument,
    TransferClientV2,
)

from compat.stage import ACCOUNT, Someone, Stage
from conformance.calls import Call
from conformance.compare import Compared, told, with_ours
from conformance.examples import Example, Sdk, examples, request_of

SERVICES = ("transfer", "transfer.v2", "timer", "globus_connect_server")
POSIX = "145812c8-decc-41f1-83cf-bb2a85a2a70b"

Prepare = Callable[[Stage, Example], Call]
CALLS: dict[str, Prepare] = {}


def method(prepare: Prepare) -> Prepare:
    """By the function's name, `__` for each dot."""
    CALLS[prepare.__name__.replace("__", ".")] = prepare
    return prepare


def compare_all(stage: Stage) -> list[Compared]:
    """All examples."""
    sdk = Sdk.make()
    return [compare(stage, example, sdk) for example in examples(SERVICES)]


def compare(stage: Stage, example: Example, sdk: Sdk) -> Compared:
    """Make the SDK's request of the deployment instead, with ids of ours in it."""
    try:
        call = CALLS[f"{example.service}.{example.method}"](stage, example)
    except Exception as error:  # noqa: BLE001 - what cannot be prepared is a difference
        return Compared(example, [f"cannot be asked: {error}"])
    request = request_of(example, call.make, sdk)
    address = urlsplit(str(request.url))
    path = with_ours(address.path + (f"?{address.query}" if address.query else ""), call)
    answer = requests.request(
        str(request.method),
        _origin(stage, example) + path,
        data=with_ours(_text(request.body), call).encode(),
        headers={
            "Authorization": (call.login or {}).get("Authorization") or _bearer(stage, example),
            **(
                {"Content-Type": request.headers["Content-Type"]}
                if "Content-Type" in request.headers
                else {}
            ),
        },
        verify=str(stage.deployment.data_dir / "tls" / "ca.pem"),
        timeout=60,
    )
    return Compared(example, list(told(example, answer.status_code, answer.json(), call)))


def _origin(stage: Stage, example: Example) -> str:
    if example.service != "globus_connect_server":
        return stage.deployment.url
    return str(stage.ann.transfer.get_endpoint(stage.lab)["gcs_manager_url"])


def _bearer(stage: Stage, example: Example, someone: Someone | None = None) -> str:
    who = someone or stage.ann
    client: globus_sdk.BaseClient = {
        "transfer": who.transfer,
        "transfer.v2": who.transfer,
        "timer": who.timers,
    }.get(example.service) or who.manager(_origin(stage, example), stage.lab)
    assert client.authorizer is not None
    return str(client.authorizer.get_authorization_header())


def _text(body: Any) -> str:
    return body.decode() if isinstance(body, bytes) else str(body or "")


def _ours(facts: Mapping[str, Any], **ours: str) -> dict[str, str]:
    return {str(facts[name]): id_ for name, id_ in ours.items() if facts.get(name)}


# Transfer.


def _at_endpoint(make: Callable[[Sdk, str], object]) -> Prepare:
    """A call with an endpoint's id."""

    def prepare(stage: Stage, example: Example) -> Call:
        facts = example.facts
        return Call(lambda sdk: make(sdk, facts["endpoint_id"]), _ours(facts, endpoint_id=stage.a))

    return prepare


def _simple(make: Callable[[Sdk], object]) -> Prepare:
    return lambda _stage, _example: Call(make)


@method
def transfer__cancel_task(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.transfer.cancel_task(facts["task_id"]),
        _ours(facts, task_id=stage.unfinished_task()),
    )


@method
def transfer__endpoint_manager_task_list(stage: Stage, example: Example) -> Call:
    stage.task()
    facts = example.facts
    return Call(
        lambda sdk: sdk.transfer.endpoint_manager_task_list(filter_endpoint=facts["source"]),
        _ours(facts, source=stage.a),
    )


@method
def transfer__endpoint_manager_task_successful_transfers(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.transfer.endpoint_manager_task_successful_transfers(facts["task_id"]),
        _ours(facts, task_id=stage.task()),
    )


CALLS["transfer.get_endpoint"] = _at_endpoint(lambda sdk, one: sdk.transfer.get_endpoint(one))
CALLS["transfer.update_endpoint"] = _at_endpoint(
    lambda sdk, one: sdk.transfer.update_endpoint(one, {"description": "told"})
)
CALLS["transfer.get_submission_id"] = _simple(lambda sdk: sdk.transfer.get_submission_id())
CALLS["transfer.task_list"] = _simple(lambda sdk: sdk.transfer.task_list())


@method
def transfer__operation_mkdir(stage: Stage, example: Example) -> Call:
    facts = example.facts
    path = str(stage.directory() / "made")
    return Call(
        lambda sdk: sdk.transfer.operation_mkdir(facts["endpoint_id"], path),
        _ours(facts, endpoint_id=stage.a),
    )


@method
def transfer__operation_rename(stage: Stage, example: Example) -> Call:
    facts = example.facts
    file = stage.file()
    return Call(
        lambda sdk: sdk.transfer.operation_rename(facts["endpoint_id"], str(file), f"{file}.old"),
        _ours(facts, endpoint_id=stage.a),
    )


@method
def transfer__operation_stat(stage: Stage, example: Example) -> Call:
    facts = example.facts
    endpoint, path = stage.a, str(stage.file())
    if example.case == "not_found":
        path += ".not"
    if example.case == "permission_denied":
        endpoint, path = stage.laptop, "/etc/hostname"
    return Call(
        lambda sdk: sdk.transfer.operation_stat(facts["endpoint_id"], path),
        _ours(facts, endpoint_id=endpoint),
    )


def _subscription(make: Callable[[Sdk, str], object]) -> Prepare:
    def prepare(stage: Stage, example: Example) -> Call:
        facts = example.facts
        ids = {} if example.case == "not_found" else _ours(facts, endpoint_id=stage.a)
        return Call(lambda sdk: make(sdk, facts["endpoint_id"]), ids)

    return prepare


CALLS["transfer.set_subscription_id"] = _subscription(
    lambda sdk, one: sdk.transfer.set_subscription_id(one, str(uuid4()))
)
CALLS["transfer.set_subscription_admin_verified"] = _subscription(
    lambda sdk, one: sdk.transfer.set_subscription_admin_verified(one, True)
)


@method
def transfer__submit_transfer(stage: Stage, example: Example) -> Call:
    data = globus_sdk.TransferData(
        source_endpoint=stage.a, destination_endpoint=stage.b, submission_id=str(uuid4())
    )
    if example.case != "failure":
        file = stage.file()
        data.add_item(str(file), f"{file}.copy")
    return Call(lambda sdk: sdk.transfer.submit_transfer(data))


@method
def transfer__submit_delete(stage: Stage, _example: Example) -> Call:
    data = globus_sdk.DeleteData(endpoint=stage.a, submission_id=str(uuid4()))
    data.add_item(str(stage.file()))
    return Call(lambda sdk: sdk.transfer.submit_delete(data))


def _bookmark(name: str, make: Callable[[TransferClientV2, Mapping[str, Any]], object]) -> None:
    """Of version 2. The example's own is made where there is one."""

    def prepare(stage: Stage, example: Example) -> Call:
        facts = example.facts
        ours = _ours(facts, collection=stage.a)
        if "bookmark_id" in facts and name != "create_bookmark":
            ours |= _ours(facts, bookmark_id=stage.bookmark_id(stage.bookmark()))
        return Call(lambda sdk: make(sdk.transfer_v2, facts), ours)

    CALLS[f"transfer.v2.{name}"] = prepare


_bookmark(
    "create_bookmark",
    lambda sdk, facts: sdk.create_bookmark(
        BookmarkCreateDocument(facts["collection"], facts["name"], facts["path"])
    ),
)
_bookmark(
    "update_bookmark",
    lambda sdk, facts: sdk.update_bookmark(
        facts["bookmark_id"], BookmarkUpdateDocument(facts["name"], facts["path"])
    ),
)
_bookmark(
    "get_bookmark",
    lambda sdk, facts: sdk.get_bookmark(
        facts["bookmark_id"], query_params={"include": "collection"}
    ),
)
_bookmark("delete_bookmark", lambda sdk, facts: sdk.delete_bookmark(facts["bookmark_id"]))
_bookmark(
    "list_bookmarks",
    lambda sdk, _facts: sdk.list_bookmarks(query_params={"include": "collection"}),
)


def _tunnel(
    name: str, make: Callable[[globus_sdk.TransferClient | TransferClientV2, str], object]
) -> None:
    """In both versions. There are none; asked are those of the examples."""

    def prepare(_stage: Stage, example: Example) -> Call:
        facts = example.facts
        one = facts.get("tunnel_id") or facts.get("access_point_id") or ""
        if example.service == "transfer.v2":
            return Call(lambda sdk: make(sdk.transfer_v2, one))
        return Call(lambda sdk: make(sdk.transfer, one))

    CALLS[f"transfer.{name}"] = CALLS[f"transfer.v2.{name}"] = prepare


TUNNEL = {"data": {"type": "Tunnel", "attributes": {"submission_id": str(uuid4())}}}
_tunnel("create_tunnel", lambda sdk, _one: sdk.create_tunnel(TUNNEL))
_tunnel("delete_tunnel", lambda sdk, one: sdk.delete_tunnel(one))
_tunnel("get_tunnel", lambda sdk, one: sdk.get_tunnel(one))
_tunnel("get_tunnel_events", lambda sdk, one: sdk.get_tunnel_events(one))
_tunnel("list_tunnels", lambda sdk, _one: sdk.list_tunnels())
_tunnel("update_tunnel", lambda sdk, one: sdk.update_tunnel(one, {}))
_tunnel("get_stream_access_point", lambda sdk, one: sdk.get_stream_access_point(one))


@method
def transfer__v2__list_stream_access_points(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.transfer_v2.list_stream_access_points())


# Timers.


def _at_job(make: Callable[[Sdk, str], object]) -> Prepare:
    def prepare(stage: Stage, example: Example) -> Call:
        facts = example.facts
        return Call(lambda sdk: make(sdk, facts["job_id"]), _ours(facts, job_id=stage.timer()))

    return prepare


CALLS["timer.get_job"] = _at_job(lambda sdk, one: sdk.timers.get_job(one))
CALLS["timer.delete_job"] = _at_job(lambda sdk, one: sdk.timers.delete_job(one))
CALLS["timer.pause_job"] = _at_job(lambda sdk, one: sdk.timers.pause_job(one))
CALLS["timer.resume_job"] = _at_job(lambda sdk, one: sdk.timers.resume_job(one))
CALLS["timer.update_job"] = _at_job(lambda sdk, one: sdk.timers.update_job(one, {"name": "new"}))


@method
def timer__list_jobs(stage: Stage, _example: Example) -> Call:
    stage.timer()
    return Call(lambda sdk: sdk.timers.list_jobs())


@method
def timer__create_timer(stage: Stage, example: Example) -> Call:
    if example.case != "default":
        flow = globus_sdk.FlowTimer(
            flow_id=uuid4(), schedule=globus_sdk.OnceTimerSchedule(), body={"body": {}}
        )
        return Call(lambda sdk: sdk.timers.create_timer(flow))
    data = globus_sdk.TransferData(source_endpoint=stage.a, destination_endpoint=stage.b)
    data.add_item("/share/godata/file1.txt", "/~/dst.txt")
    timer = globus_sdk.TransferTimer(
        name="Very Cool Timer",
        schedule=globus_sdk.RecurringTimerSchedule(
            604_800, start="2040-10-27T05:00:00+00:00", end={"condition": "iterations", "count": 2}
        ),
        body=data,
    )
    return Call(lambda sdk: sdk.timers.create_timer(timer))


@method
def timer__create_job(stage: Stage, example: Example) -> Call:
    if example.case == "validation_error":
        return Call(lambda sdk: sdk.timers.create_job({"callback_body": {}}))
    item = {"source_path": "/share/godata/file1.txt", "destination_path": "/~/file1.txt"}
    body = {
        "label": "example timer",
        "skip_source_errors": True,
        "sync_level": 3,
        "verify_checksum": True,
        "source_endpoint_id": stage.a,
        "destination_endpoint_id": stage.b,
        "transfer_items": [{**item, "recursive": False}],
    }
    job = globus_sdk.TimerJob(
        "https://actions.automate.globus.org/transfer/transfer/run",
        {"body": body},
        "2040-04-01T19:30:00+00:00",
        864_000,
        name="example timer",
    )
    return Call(lambda sdk: sdk.timers.create_job(job))


# The manager of a Connect server endpoint.


def _gateway(stage: Stage, example: Example) -> dict[str, str]:
    return _ours(example.facts, id=stage.gateway)


@method
def globus_connect_server__create_storage_gateway(_stage: Stage, example: Example) -> Call:
    document: dict[str, Any] = {"DATA_TYPE": "storage_gateway#1.0.0"}
    if example.case == "default":
        document |= {"display_name": "example gateway 1", "connector_id": POSIX}
    return Call(lambda sdk: sdk.manager.create_storage_gateway(document))


@method
def globus_connect_server__update_storage_gateway(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(
        lambda sdk: sdk.manager.update_storage_gateway(facts["id"], {"display_name": "new"}),
        _gateway(stage, example),
    )


@method
def globus_connect_server__delete_storage_gateway(stage: Stage, example: Example) -> Call:
    facts = example.facts
    login = None
    if example.case == "permission_denied_error":
        login = {"Authorization": _bearer(stage, example, stage.bob)}
    return Call(
        lambda sdk: sdk.manager.delete_storage_gateway(facts["id"]), _gateway(stage, example), login
    )


@method
def globus_connect_server__get_storage_gateway(stage: Stage, example: Example) -> Call:
    facts = example.facts
    return Call(lambda sdk: sdk.manager.get_storage_gateway(facts["id"]), _gateway(stage, example))


@method
def globus_connect_server__get_storage_gateway_list(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.manager.get_storage_gateway_list())


@method
def globus_connect_server__get_collection_list(stage: Stage, example: Example) -> Call:
    login = None
    if example.case == "forbidden":
        login = {"Authorization": _bearer(stage, example, stage.bob)}
    return Call(lambda sdk: sdk.manager.get_collection_list(), {}, login)


@method
def globus_connect_server__get_endpoint(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.manager.get_endpoint())


@method
def globus_connect_server__get_gcs_info(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.manager.get_gcs_info())


@method
def globus_connect_server__update_endpoint(_stage: Stage, example: Example) -> Call:
    document = globus_sdk.EndpointDocument(display_name="Lab")
    if example.case == "include_endpoint":
        return Call(lambda sdk: sdk.manager.update_endpoint(document, include="endpoint"))
    return Call(lambda sdk: sdk.manager.update_endpoint(document))


@method
def globus_connect_server__get_user_credential_list(_stage: Stage, _example: Example) -> Call:
    return Call(lambda sdk: sdk.manager.get_user_credential_list())


def _credential(make: Callable[[Sdk, str, dict[str, Any]], object]) -> Prepare:
    def prepare(stage: Stage, example: Example) -> Call:
        facts = example.facts
        document = {
            "DATA_TYPE": "user_credential#1.0.0",
            "identity_id": stage.ann.id,
            "username": ACCOUNT,
            "storage_gateway_id": stage.gateway,
        }
        return Call(
            lambda sdk: make(sdk, facts["id"], document), _ours(facts, id=stage.user_credential)
        )

    return prepare


CALLS["globus_connect_server.create_user_credential"] = _credential(
    lambda sdk, _one, document: sdk.manager.create_user_credential(document)
)
CALLS["globus_connect_server.update_user_credential"] = _credential(
    lambda sdk, one, document: sdk.manager.update_user_credential(one, document)
)
CALLS["globus_connect_server.get_user_credential"] = _credential(
    lambda sdk, one, _document: sdk.manager.get_user_credential(one)
)
CALLS["globus_connect_server.delete_user_credential"] = _credential(
    lambda sdk, one, _document: sdk.manager.delete_user_credential(one)
)
