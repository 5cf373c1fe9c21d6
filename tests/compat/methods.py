"""Every method of the SDK's clients of Transfer, Timers and the Connect Server Manager: how it is
called, and, if the answer is an error that is meant, which.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import globus_sdk
from globus_sdk import DeleteData, GlobusAPIError, TimerJob, TransferData

from compat.stage import ACCOUNT, Stage

CLIENTS = (globus_sdk.TransferClient, globus_sdk.TimersClient, globus_sdk.GCSClient)
NO_STREAMS = (404, "this deployment has no Streams service")
NO_SUBSCRIPTIONS = (400, "no subscriptions")
ONE_GATEWAY = (422, "the files of")
"""The one that there is goes with the endpoint."""


@dataclass(frozen=True)
class Method:
    """`error`: the status, and a part of the message, of an answer that is documented."""

    call: Callable[[Stage], object]
    error: tuple[int, str] | None = None


METHODS: dict[str, Method] = {}


def methods() -> Iterator[str]:
    """All of them, as `Client.method`."""
    inherited = set(dir(globus_sdk.BaseClient))
    for client in CLIENTS:
        for name, _ in inspect.getmembers(client, inspect.isfunction):
            if not name.startswith("_") and name not in inherited:
                yield f"{client.__name__}.{name}"


def try_method(stage: Stage, name: str) -> str | None:
    """Why it fails; None: it is as its row says."""
    row = METHODS[name]
    try:
        answer = row.call(stage)
        if isinstance(answer, Iterator):
            list(answer)
    except GlobusAPIError as error:
        told = f"{error.http_status} {error.code}: {error.message}"
        if row.error is None:
            return told
        status, part = row.error
        return None if error.http_status == status and part in told else told
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return f"{type(error).__name__}: {error}"
    return None if row.error is None else "it works"


def _transfer(
    name: str, call: Callable[[Stage], object], error: tuple[int, str] | None = None
) -> None:
    METHODS[f"TransferClient.{name}"] = Method(call, error)


def _timers(name: str, call: Callable[[Stage], object]) -> None:
    METHODS[f"TimersClient.{name}"] = Method(call)


def _manager(
    name: str, call: Callable[[Stage], object], error: tuple[int, str] | None = None
) -> None:
    METHODS[f"GCSClient.{name}"] = Method(call, error)


def _data(stage: Stage) -> TransferData:
    file = stage.file()
    data = TransferData(source_endpoint=stage.a, destination_endpoint=stage.b)
    data.add_item(str(file), f"{file}.copy")
    return data


def _delete(stage: Stage) -> object:
    data = DeleteData(endpoint=stage.a)
    data.add_item(str(stage.file()))
    return stage.ann.transfer.submit_delete(data)


def _app_scope(client: type[globus_sdk.BaseClient], name: str) -> Callable[[Stage], object]:
    """Of clients with an application; the application only remembers the scope."""

    def call(stage: Stage) -> object:
        app = globus_sdk.ClientApp(
            "test",
            client_id=stage.ann.id,
            client_secret=stage.globus.environment["GLOBUS_CLI_CLIENT_SECRET"],
            config=globus_sdk.GlobusAppConfig(token_storage="memory"),
        )
        made = client(app=app)
        return getattr(made, name)(str(uuid4()))

    return call


SOME = str(uuid4())
TUNNEL = {"data": {"type": "Tunnel", "attributes": {"submission_id": SOME}}}

_transfer(
    "add_app_data_access_scope",
    _app_scope(globus_sdk.TransferClient, "add_app_data_access_scope"),
)
_transfer("get_submission_id", lambda on: on.ann.transfer.get_submission_id())
_transfer("submit_transfer", lambda on: on.ann.transfer.submit_transfer(_data(on)))
_transfer("submit_delete", _delete)
_transfer("task_list", lambda on: iter(on.ann.transfer.paginated.task_list(limit=5).items()))
_transfer("get_task", lambda on: on.ann.transfer.get_task(on.task()))
_transfer(
    "update_task",
    lambda on: on.ann.transfer.update_task(on.unfinished_task(), {"label": "another"}),
)
_transfer("cancel_task", lambda on: on.ann.transfer.cancel_task(on.unfinished_task()))
_transfer(
    "task_wait", lambda on: on.ann.transfer.task_wait(on.task(), timeout=30, polling_interval=1)
)
_transfer("task_event_list", lambda on: iter(on.ann.transfer.task_event_list(on.task())))
_transfer("task_pause_info", lambda on: on.ann.transfer.task_pause_info(on.task()))
_transfer(
    "task_successful_transfers",
    lambda on: iter(on.ann.transfer.paginated.task_successful_transfers(on.task()).items()),
)
_transfer(
    "task_skipped_errors",
    lambda on: iter(on.ann.transfer.paginated.task_skipped_errors(on.task()).items()),
)
_transfer("operation_ls", lambda on: iter(on.ann.transfer.operation_ls(on.a, str(on.root))))
_transfer("operation_stat", lambda on: on.ann.transfer.operation_stat(on.a, str(on.root)))
_transfer(
    "operation_mkdir",
    lambda on: on.ann.transfer.operation_mkdir(on.a, str(on.directory() / "made")),
)


def _rename(stage: Stage) -> object:
    file = stage.file()
    return stage.ann.transfer.operation_rename(stage.a, str(file), f"{file}.old")


_transfer("operation_rename", _rename)
_transfer("get_endpoint", lambda on: on.ann.transfer.get_endpoint(on.a))
_transfer(
    "update_endpoint", lambda on: on.ann.transfer.update_endpoint(on.a, {"description": "told"})
)
_transfer("delete_endpoint", lambda on: on.ann.transfer.delete_endpoint(on.guest()))
_transfer(
    "endpoint_search",
    lambda on: iter(on.ann.transfer.paginated.endpoint_search("lake").items()),
)
_transfer("endpoint_server_list", lambda on: iter(on.ann.transfer.endpoint_server_list(on.a)))
_transfer("get_endpoint_server", lambda on: on.ann.transfer.get_endpoint_server(on.a, 0))
_transfer("create_shared_endpoint", lambda on: on.guest())
_transfer("my_shared_endpoint_list", lambda on: iter(on.ann.transfer.my_shared_endpoint_list(on.a)))
_transfer(
    "get_shared_endpoint_list",
    lambda on: iter(on.ann.transfer.paginated.get_shared_endpoint_list(on.a).items()),
)
_transfer(
    "my_effective_pause_rule_list",
    lambda on: iter(on.ann.transfer.my_effective_pause_rule_list(on.a)),
)
_transfer(
    "set_subscription_id",
    lambda on: on.ann.transfer.set_subscription_id(on.laptop, SOME),
    NO_SUBSCRIPTIONS,
)
_transfer(
    "set_subscription_admin_verified",
    lambda on: on.ann.transfer.set_subscription_admin_verified(on.laptop, True),
    (400, "this service has none"),
)

# Access rules and roles.


def _of_guest(act: Callable[[Stage, str], object]) -> Callable[[Stage], object]:
    return lambda stage: act(stage, stage.guest())


_transfer("add_endpoint_acl_rule", _of_guest(lambda on, guest: on.rule(guest)))
_transfer(
    "endpoint_acl_list", _of_guest(lambda on, guest: iter(on.ann.transfer.endpoint_acl_list(guest)))
)
_transfer(
    "get_endpoint_acl_rule",
    _of_guest(lambda on, guest: on.ann.transfer.get_endpoint_acl_rule(guest, on.rule(guest))),
)
_transfer(
    "update_endpoint_acl_rule",
    _of_guest(
        lambda on, guest: on.ann.transfer.update_endpoint_acl_rule(
            guest, on.rule(guest), {"DATA_TYPE": "access", "permissions": "rw"}
        )
    ),
)
_transfer(
    "delete_endpoint_acl_rule",
    _of_guest(lambda on, guest: on.ann.transfer.delete_endpoint_acl_rule(guest, on.rule(guest))),
)
_transfer("add_endpoint_role", _of_guest(lambda on, guest: on.role(guest)))
_transfer(
    "endpoint_role_list",
    _of_guest(lambda on, guest: iter(on.ann.transfer.endpoint_role_list(guest))),
)
_transfer(
    "get_endpoint_role",
    _of_guest(lambda on, guest: on.ann.transfer.get_endpoint_role(guest, on.role(guest))),
)
_transfer(
    "delete_endpoint_role",
    _of_guest(lambda on, guest: on.ann.transfer.delete_endpoint_role(guest, on.role(guest))),
)

# Bookmarks.


def _bookmark(stage: Stage) -> str:
    document = {"endpoint_id": stage.a, "path": f"{stage.root}/", "name": str(uuid4())}
    return str(stage.ann.transfer.create_bookmark(document)["id"])


_transfer("create_bookmark", _bookmark)
_transfer("bookmark_list", lambda on: iter(on.ann.transfer.bookmark_list()))
_transfer("get_bookmark", lambda on: on.ann.transfer.get_bookmark(_bookmark(on)))
_transfer(
    "update_bookmark",
    lambda on: on.ann.transfer.update_bookmark(_bookmark(on), {"name": str(uuid4())}),
)
_transfer("delete_bookmark", lambda on: on.ann.transfer.delete_bookmark(_bookmark(on)))

# What who manages endpoints sees and does.


def _pause_rule(stage: Stage) -> str:
    made = stage.ann.transfer.endpoint_manager_create_pause_rule(
        {"DATA_TYPE": "pause_rule", "endpoint_id": stage.laptop, "message": "quiet, please"}
    )
    return str(made["id"])


_transfer(
    "endpoint_manager_monitored_endpoints",
    lambda on: iter(on.ann.transfer.endpoint_manager_monitored_endpoints()),
)
_transfer(
    "endpoint_manager_get_endpoint", lambda on: on.ann.transfer.endpoint_manager_get_endpoint(on.a)
)
_transfer(
    "endpoint_manager_hosted_endpoint_list",
    lambda on: iter(on.ann.transfer.endpoint_manager_hosted_endpoint_list(on.a)),
)
_transfer(
    "endpoint_manager_acl_list",
    _of_guest(lambda on, guest: iter(on.ann.transfer.endpoint_manager_acl_list(guest))),
)
_transfer(
    "endpoint_manager_task_list",
    lambda on: iter(
        on.ann.transfer.paginated.endpoint_manager_task_list(filter_endpoint=on.a).items()
    ),
)
_transfer(
    "endpoint_manager_get_task", lambda on: on.ann.transfer.endpoint_manager_get_task(on.task())
)
_transfer(
    "endpoint_manager_task_event_list",
    lambda on: iter(
        on.ann.transfer.endpoint_manager_task_event_list(on.task(), filter_is_error=False)
    ),
)
_transfer(
    "endpoint_manager_task_pause_info",
    lambda on: on.ann.transfer.endpoint_manager_task_pause_info(on.task()),
)
_transfer(
    "endpoint_manager_task_successful_transfers",
    lambda on: iter(on.ann.transfer.endpoint_manager_task_successful_transfers(on.task())),
)
_transfer(
    "endpoint_manager_task_skipped_errors",
    lambda on: iter(on.ann.transfer.endpoint_manager_task_skipped_errors(on.task())),
)
_transfer(
    "endpoint_manager_cancel_tasks",
    lambda on: on.ann.transfer.endpoint_manager_cancel_tasks([on.unfinished_task()], "enough"),
)


def _cancel_status(stage: Stage) -> object:
    told = stage.ann.transfer.endpoint_manager_cancel_tasks([stage.unfinished_task()], "enough")
    return stage.ann.transfer.endpoint_manager_cancel_status(told["id"])


_transfer("endpoint_manager_cancel_status", _cancel_status)
_transfer(
    "endpoint_manager_pause_tasks",
    lambda on: on.ann.transfer.endpoint_manager_pause_tasks([on.unfinished_task()], "wait"),
)
_transfer(
    "endpoint_manager_resume_tasks",
    lambda on: on.ann.transfer.endpoint_manager_resume_tasks([on.unfinished_task()]),
)
_transfer("endpoint_manager_create_pause_rule", _pause_rule)
_transfer(
    "endpoint_manager_pause_rule_list",
    lambda on: iter(on.ann.transfer.endpoint_manager_pause_rule_list(filter_endpoint=on.laptop)),
)
_transfer(
    "endpoint_manager_get_pause_rule",
    lambda on: on.ann.transfer.endpoint_manager_get_pause_rule(_pause_rule(on)),
)
_transfer(
    "endpoint_manager_update_pause_rule",
    lambda on: on.ann.transfer.endpoint_manager_update_pause_rule(
        _pause_rule(on), {"DATA_TYPE": "pause_rule", "message": "still"}
    ),
)
_transfer(
    "endpoint_manager_delete_pause_rule",
    lambda on: on.ann.transfer.endpoint_manager_delete_pause_rule(_pause_rule(on)),
)

# Streams: there are none.

_transfer(
    "create_tunnel",
    lambda on: on.ann.transfer.create_tunnel(TUNNEL),
    NO_STREAMS,
)
_transfer("delete_tunnel", lambda on: on.ann.transfer.delete_tunnel(SOME), NO_STREAMS)
_transfer("get_tunnel", lambda on: on.ann.transfer.get_tunnel(SOME), NO_STREAMS)
_transfer("get_tunnel_events", lambda on: on.ann.transfer.get_tunnel_events(SOME), NO_STREAMS)
_transfer("list_tunnels", lambda on: on.ann.transfer.list_tunnels(), NO_STREAMS)
_transfer("update_tunnel", lambda on: on.ann.transfer.update_tunnel(SOME, {}), NO_STREAMS)
_transfer(
    "get_stream_access_point",
    lambda on: on.ann.transfer.get_stream_access_point(SOME),
    NO_STREAMS,
)

# Timers.

_timers("add_app_flow_user_scope", _app_scope(globus_sdk.TimersClient, "add_app_flow_user_scope"))
_timers(
    "add_app_transfer_data_access_scope",
    _app_scope(globus_sdk.TimersClient, "add_app_transfer_data_access_scope"),
)
_timers("create_timer", lambda on: on.timer())


def _job(stage: Stage) -> object:
    body = {**_data(stage), "skip_activation_check": True}
    body.pop("submission_id", None)
    return stage.ann.timers.create_job(
        TimerJob(
            callback_url="https://actions.automate.globus.org/transfer/transfer/run",
            callback_body={"body": body},
            start="2040-01-01T00:00:00+00:00",
            interval=3600,
            name="Old style",
        )
    )


_timers("create_job", _job)
_timers("list_jobs", lambda on: on.ann.timers.list_jobs())
_timers("get_job", lambda on: on.ann.timers.get_job(on.timer()))
_timers("update_job", lambda on: on.ann.timers.update_job(on.timer(), {"name": "another"}))
_timers("pause_job", lambda on: on.ann.timers.pause_job(on.timer()))


def _resume(stage: Stage) -> object:
    timer = stage.timer()
    stage.ann.timers.pause_job(timer)
    return stage.ann.timers.resume_job(timer, update_credentials=False)


_timers("resume_job", _resume)
_timers("delete_job", lambda on: on.ann.timers.delete_job(on.timer()))

# The manager of a Connect server endpoint.

_manager("get_gcs_endpoint_scopes", lambda on: on.manager.get_gcs_endpoint_scopes(on.lab))
_manager("get_gcs_collection_scopes", lambda on: on.manager.get_gcs_collection_scopes(SOME))
_manager("get_gcs_info", lambda on: on.manager.get_gcs_info())
_manager("get_endpoint", lambda on: on.manager.get_endpoint())
_manager(
    "update_endpoint",
    lambda on: on.manager.update_endpoint(
        globus_sdk.EndpointDocument(description="told"), include="endpoint"
    ),
)
_manager("get_collection_list", lambda on: iter(on.manager.paginated.get_collection_list().items()))
_manager("get_collection", lambda on: on.manager.get_collection(on.collection))
_manager("create_collection", lambda on: on.guest_of_lab())
_manager(
    "update_collection",
    lambda on: on.manager.update_collection(
        on.collection, globus_sdk.MappedCollectionDocument(description="told")
    ),
)
_manager("delete_collection", lambda on: on.manager.delete_collection(on.guest_of_lab()))
_manager(
    "get_storage_gateway_list",
    lambda on: iter(on.manager.paginated.get_storage_gateway_list().items()),
)
_manager("get_storage_gateway", lambda on: on.manager.get_storage_gateway(on.gateway))
_manager(
    "create_storage_gateway",
    lambda on: on.manager.create_storage_gateway(
        globus_sdk.StorageGatewayDocument(
            display_name="Other", connector_id="145812c8-decc-41f1-83cf-bb2a85a2a70b"
        )
    ),
    ONE_GATEWAY,
)
_manager(
    "update_storage_gateway",
    lambda on: on.manager.update_storage_gateway(
        on.gateway, globus_sdk.StorageGatewayDocument(display_name="Another name")
    ),
)
_manager(
    "delete_storage_gateway",
    lambda on: on.manager.delete_storage_gateway(on.gateway),
    ONE_GATEWAY,
)
_manager("get_role_list", lambda on: iter(on.manager.paginated.get_role_list().items()))
_manager("create_role", lambda on: on.manager_role())
_manager("get_role", lambda on: on.manager.get_role(on.manager_role()))
_manager("delete_role", lambda on: on.manager.delete_role(on.manager_role()))
_manager(
    "get_user_credential_list",
    lambda on: iter(on.manager.paginated.get_user_credential_list().items()),
)
_manager("get_user_credential", lambda on: on.manager.get_user_credential(on.user_credential))


def _credential(stage: Stage) -> globus_sdk.UserCredentialDocument:
    return globus_sdk.UserCredentialDocument(
        storage_gateway_id=stage.gateway, identity_id=stage.ann.id, username=ACCOUNT
    )


_manager("create_user_credential", lambda on: on.manager.create_user_credential(_credential(on)))
_manager(
    "update_user_credential",
    lambda on: on.manager.update_user_credential(on.user_credential, _credential(on)),
)
_manager("delete_user_credential", lambda on: on.manager.delete_user_credential(on.user_credential))
