"""The documents of answers: every key of the Transfer API, null where we have nothing."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from towpath.gridftp.wire.listings import Entry
from towpath.platform import ids
from towpath.platform.errors import current_request_id
from towpath.transfer import names, times
from towpath.transfer.browse.filters import permissions, type_name
from towpath.transfer.rights import Standing
from towpath.transfer.store.endpoints import Endpoint, EntityType, Named
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.progress import Progress
from towpath.transfer.store.relays import Connection
from towpath.transfer.store.tasks import Event, NewItem, Status, Task

JsonObject = dict[str, Any]

# Free texts and preferences that an owner may set and that we only keep and show.
DETAIL_TEXTS = (
    "description",
    "organization",
    "department",
    "keywords",
    "contact_email",
    "contact_info",
    "info_link",
    "user_message",
    "user_message_link",
    "default_directory",
    "location",
)

NULL_ENDPOINT_FIELDS = (
    "acl_max_expiration_period_mins",
    "authentication_assurance_timeout",
    "authentication_policy_id",
    "authentication_timeout_mins",
    "globus_connect_setup_key",
    "https_server",
    "last_accessed_time",
    "local_user_info_available",
    "myproxy_dn",
    "myproxy_server",
    "oauth_server",
    "s3_url",
    "storage_type",
    "subscription_admin_verified",
    "subscription_id",
    "tlsftp_server",
)

NETWORK_NUMBERS = (
    "max_concurrency",
    "max_parallelism",
    "preferred_concurrency",
    "preferred_parallelism",
)
"""Of an endpoint with agents its managers may set them."""

FALSE_ENDPOINT_FIELDS = (
    "activated",
    "disable_anonymous_writes",
    "disable_verify",
    "force_encryption",
    "force_verify",
    "french_english_bilingual",
    "high_assurance",
    "in_use",
    "mfa_required",
    "requester_pays",
    "s3_owner_activated",
)


def result(data_type: str, code: str, message: str, resource: str, **more: Any) -> JsonObject:
    """A result document."""
    return {
        "DATA_TYPE": data_type,
        "code": code,
        "message": message,
        "request_id": current_request_id.get(),
        "resource": resource,
        **more,
    }


def only(document: JsonObject, fields: str | None) -> JsonObject:
    """The document limited to what `fields=a,b` asks for."""
    if not fields:
        return document
    wanted = {name.strip() for name in fields.split(",")}
    return {key: value for key, value in document.items() if key in wanted or key == "DATA_TYPE"}


GCS_VERSION = "5.4.76"
"""Of Globus Connect Server, whose Manager API endpoints with agents have."""


def manager_url(origin: str, endpoint_id: UUID) -> str:
    """Where an endpoint with agents and its collections are managed (GCS Manager API)."""
    return f"{origin}/gcs/{endpoint_id}"


def endpoint_document(
    endpoint: Endpoint,
    standing: Standing,
    connection: Connection | None = None,
    above: Sequence[Named] = (),
    *,
    origin: str,
) -> JsonObject:
    """An endpoint, with its one server, as somebody with this standing sees it.

    `connection`: of one with agents; `above`: what it belongs to, the nearest first.
    `origin`: of this deployment.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    name = canonical_name(endpoint.owner_string, endpoint.id)
    personal = endpoint.entity_type in (EntityType.PERSONAL, EntityType.PERSONAL_SHARE)
    managed = endpoint.entity_type is EntityType.CONNECT or endpoint.of_connect_server
    connected = None if connection is None else connection.connected
    paused = None if connection is None else connection.paused
    return {
        "DATA_TYPE": "endpoint",
        "id": str(endpoint.id),
        "entity_type": endpoint.entity_type,
        "display_name": endpoint.display_name,
        "canonical_name": name,
        "name": str(endpoint.id),
        "username": endpoint.owner_string,
        # of a server's collections the clients expect this
        "owner_id": str(endpoint.connect_id if endpoint.of_connect_server else endpoint.owner_id),
        "owner_string": endpoint.owner_string,
        "public": endpoint.public,
        "is_globus_connect": personal,
        "non_functional": not endpoint.functional,
        **_hierarchy(endpoint, standing, above),
        "gcp_connected": connected if personal else None,
        "gcp_paused": paused if personal else None,
        **{text: endpoint.details.get(text) for text in DETAIL_TEXTS},
        **{name: endpoint.managed.get(name) is True for name in FALSE_ENDPOINT_FIELDS},
        **dict.fromkeys(NULL_ENDPOINT_FIELDS),
        **{name: endpoint.managed.get(name) for name in NETWORK_NUMBERS},
        "gcs_manager_url": manager_url(origin, endpoint.connect_id) if managed else None,
        "gcs_version": GCS_VERSION if managed else None,
        "network_use": endpoint.details.get("network_use") or "normal",
        "expires_in": -1,
        "expire_time": None,
        "shareable": endpoint.shareable,
        "acl_available": endpoint.is_guest,
        "acl_editable": endpoint.is_guest and standing.manages_access,
        "my_effective_roles": list(standing.effective_roles),
        "DATA": [
            {
                "DATA_TYPE": "server",
                "id": 0,
                "hostname": endpoint.host,
                "port": endpoint.port,
                "scheme": "gsiftp",
                "uri": f"gsiftp://{host}:{endpoint.port}",
                "subject": endpoint.subject,
                "is_connected": connected,
                "is_paused": paused,
                "incoming_data_port_start": None,
                "incoming_data_port_end": None,
                "outgoing_data_port_start": None,
                "outgoing_data_port_end": None,
            }
        ]
        # with whom something is shared, need not know where it is
        if not endpoint.is_guest or standing.effective_roles
        else [],
        "data_hosts": [] if endpoint.is_guest else list(endpoint.data_hosts),
    }


def _hierarchy(endpoint: Endpoint, standing: Standing, above: Sequence[Named]) -> JsonObject:
    """What an endpoint belongs to; of a guest collection also which directory it is, for those who
    look after it.
    """
    inside = bool(standing.effective_roles)
    # what is private does not exist for those who have nothing to do with it (I7)
    host = next((one for one in above[:1] if endpoint.is_guest and (one.public or inside)), None)
    mapped = host if host is not None and host.entity_type is EntityType.COLLECTION else None
    site = above[-1] if above and endpoint.of_connect_server else None
    path = None
    if endpoint.share_path is not None and standing.manages_access:
        path = names.to_text(endpoint.share_path) + "/"
    named = None if host is None else canonical_name(host.owner_string, host.id)
    return {
        "non_functional_endpoint_id": None if site is None else str(site.id),
        "non_functional_endpoint_display_name": site.display_name
        if site is not None and (site.public or inside)
        else None,
        "host_endpoint": named,
        "host_endpoint_id": None if host is None else str(host.id),
        "host_endpoint_display_name": None if host is None else host.display_name,
        "host_path": path,
        "mapped_collection_id": None if mapped is None else str(mapped.id),
        "mapped_collection_display_name": None if mapped is None else mapped.display_name,
        "sharing_target_endpoint": named,
        "sharing_target_root_path": path,
    }


def canonical_name(owner_string: str, endpoint_id: UUID | str) -> str:
    """`owner#id`."""
    return f"{owner_string}#{endpoint_id}"


def file_document(entry: Entry, name: str) -> JsonObject:
    """A file or directory; `name` is a wire name."""
    link = None if entry.link_target is None else names.to_text(entry.link_target)
    return {
        "DATA_TYPE": "file",
        "name": names.to_text(name),
        "type": type_name(entry),
        "size": entry.size,
        "permissions": permissions(entry),
        "user": None if entry.owner is None else names.to_text(entry.owner),
        "group": None if entry.group is None else names.to_text(entry.group),
        "last_modified": times.show_file_time(entry.modified),
        "link_target": link,
        "link_size": None,
        "link_user": None,
        "link_group": None,
        "link_last_modified": None,
    }


def event_document(event: Event) -> JsonObject:
    """An event."""
    return {
        "DATA_TYPE": "event",
        "id": event.seq,
        "code": event.code,
        "description": event.description,
        "details": event.details,
        "is_error": event.is_error,
        "time": times.show(event.at),
    }


def event_list(page: Sequence[Event], total: int, *, limit: int, offset: int) -> JsonObject:
    """A page of a task's events."""
    return {
        "DATA_TYPE": "event_list",
        "length": len(page),
        "limit": limit,
        "offset": offset,
        "total": total,
        "DATA": [event_document(event) for event in page],
    }


def task_document(task: Task, now: datetime) -> JsonObject:
    """A task with all its counters; `now` is for the rate of one that still runs.

    One literal, and nothing made twice: it is asked for often.
    """
    options = task.options
    transfer = task.type == "TRANSFER"
    began = task.started_at or task.request_time
    duration_s = ((task.completion_time or now) - began).total_seconds()
    first = task.first_item
    is_ok, nice_status, nice_short, nice_details, nice_expires_in = _nice_status(task)
    canceled_by, canceled_message = _canceled(task)
    total, succeeded, failed, canceled, expired, pending = _subtasks(task)
    source_id, source_name = _named(task.source_endpoint_id, task.source_owner_string)
    destination_id, destination_name = _named(
        task.destination_endpoint_id, task.destination_owner_string
    )
    return {
        "DATA_TYPE": "task",
        "task_id": ids.show(task.id),
        "type": task.type,
        "status": task.status,
        "label": task.label,
        "owner_id": ids.show(task.owner_id),
        "owner_string": task.username,
        "username": task.username,
        "command": "API 0.10",
        "request_time": times.show(task.request_time),
        "completion_time": times.show(task.completion_time),
        "deadline": times.show(task.deadline),
        "fatal_error": task.fatal_error if task.status == Status.FAILED else None,
        "is_ok": is_ok,
        "nice_status": nice_status,
        "nice_status_short_description": nice_short,
        "nice_status_details": nice_details,
        "nice_status_expires_in": nice_expires_in,
        "is_paused": task.is_paused,
        "canceled_by_admin": canceled_by,
        "canceled_by_admin_message": canceled_message,
        "history_deleted": False,
        "faults": task.faults,
        "files": task.files,
        "directories": task.directories,
        "symlinks": task.symlinks,
        "files_skipped": task.files_skipped,
        "files_transferred": task.files_transferred if transfer else None,
        "bytes_transferred": task.bytes_transferred,
        "bytes_checksummed": task.bytes_checksummed,
        "bytes_resent": task.bytes_resent,
        "effective_bytes_per_second": int(task.bytes_transferred / max(duration_s, 1.0)),
        "subtasks_total": total,
        "subtasks_succeeded": succeeded,
        "subtasks_failed": failed,
        "subtasks_canceled": canceled,
        "subtasks_expired": expired,
        "subtasks_pending": pending,
        "subtasks_retrying": 0,
        "subtasks_skipped_errors": task.skipped_errors,
        "sync_level": options.get("sync_level"),
        "verify_checksum": options.get("verify_checksum", False),
        "encrypt_data": options.get("encrypt_data", False),
        "preserve_timestamp": options.get("preserve_timestamp", False),
        "skip_source_errors": options.get("skip_source_errors", False),
        "fail_on_quota_errors": options.get("fail_on_quota_errors", False),
        "delete_destination_extra": options.get("delete_destination_extra", False),
        "recursive_symlinks": options.get("recursive_symlinks", "ignore"),
        "filter_rules": options.get("filter_rules"),
        "first_item": None if first is None else item_document(first),
        "source_endpoint": source_name,
        "source_endpoint_id": source_id,
        "source_endpoint_display_name": task.source_display_name,
        "source_base_path": None,
        "source_host_endpoint": None,
        "source_host_endpoint_display_name": None,
        "source_host_endpoint_id": None,
        "source_host_path": None,
        "source_local_user": None,
        "source_local_user_status": "NO_PERMISSION",
        "source_mapped_collection_display_name": None,
        "source_mapped_collection_id": None,
        "destination_endpoint": destination_name,
        "destination_endpoint_id": destination_id,
        "destination_endpoint_display_name": task.destination_display_name,
        "destination_base_path": None,
        "destination_host_endpoint": None,
        "destination_host_endpoint_display_name": None,
        "destination_host_endpoint_id": None,
        "destination_host_path": None,
        "destination_local_user": None,
        "destination_local_user_status": "NO_PERMISSION" if destination_id else None,
        "destination_mapped_collection_display_name": None,
        "destination_mapped_collection_id": None,
    }


def _named(endpoint_id: UUID | None, owner: str | None) -> tuple[str | None, str | None]:
    """An endpoint's id and its canonical name, as far as there is one."""
    if endpoint_id is None:
        return None, None
    shown = ids.show(endpoint_id)
    return shown, canonical_name(owner, shown) if owner else None


def _canceled(task: Task) -> tuple[str | None, str | None]:
    """The activity manager who has ended it, and what he says. Who asks for the end of a task that
    ends by itself comes too late."""
    if task.status != Status.FAILED or _fatal_code(task) != EventCode.CANCELED:
        return None, None
    by = task.canceled_by
    return by, None if by is None else task.canceled_message


def _fatal_code(task: Task) -> str | None:
    return None if task.fatal_error is None else task.fatal_error.get("code")


def item_document(item: NewItem) -> JsonObject:
    """One thing that a task was asked for. Of a delete, `source_path` is the path."""
    return {
        "source_path": item.source_path,
        "destination_path": item.destination_path,
        "recursive": item.recursive,
        "checksum_algorithm": item.checksum_algorithm,
        "external_checksum": item.external_checksum,
    }


_OF_PROGRESS = (
    "task_id",
    "status",
    "nice_status",
    "nice_status_short_description",
    "nice_status_details",
    "is_paused",
    "label",
    "type",
    "files",
    "directories",
    "files_transferred",
    "files_skipped",
    "bytes_transferred",
    "bytes_checksummed",
    "bytes_resent",
    "faults",
    "subtasks_total",
    "subtasks_succeeded",
    "subtasks_failed",
    "subtasks_pending",
    "effective_bytes_per_second",
    "deadline",
    "completion_time",
)


def progress_document(task: Progress, rate: int, *, now: Callable[[], datetime]) -> JsonObject:
    """How a task stands, for those who watch it; `rate`: bytes that move in a second."""
    at = now()
    document = task_document(task, at)
    return {
        **{key: document[key] for key in _OF_PROGRESS},
        "bytes_total": task.bytes_found if task.type == "TRANSFER" else None,
        "bytes_per_second": rate,
        "walked": task.walked,
        "time": times.show(at),
    }


def files_document(task_id: str, told: JsonObject) -> JsonObject:
    """What is in flight, as the worker tells it (`engine.telling`)."""
    return {
        "task_id": task_id,
        "files": [
            {
                "path": path,
                **dict(
                    zip(
                        ("source_path", "destination_path"),
                        (f"{base.rstrip('/')}/{path}" if path else base for base in bases),
                        strict=True,
                    )
                ),
                "size": size,
                "bytes": moved,
                "bytes_per_second": rate,
                "state": state,
                "attempt": attempt,
            }
            for number, path, size, moved, rate, state, attempt in told["files"]
            for bases in [told["items"][str(number)]]
        ],
        "more": told["more"],
    }


class NiceStatus(StrEnum):
    """How an unfinished task does that has no fault; one that has shows its last fault's code.

    `docs/reference/tasks.md` has them all.
    """

    OK = "OK"
    QUEUED = "Queued"
    PAUSED = "PAUSED"
    PAUSED_BY_ADMIN = "PAUSED_BY_ADMIN"
    OWNER_SUSPENDED = "OWNER_SUSPENDED"
    CONSENT_REQUIRED = "CONSENT_REQUIRED"
    WAITING_FOR_TASK = "WAITING_FOR_TASK"


def _nice_status(task: Task) -> tuple[bool | None, str | None, str | None, str | None, int | None]:
    """Whether all is well, how it stands, the same in short, details, and until when that holds."""
    if task.finished:
        return None, None, None, None, None
    trouble, details = _trouble(task)
    status = trouble or (NiceStatus.OK if task.started_at else NiceStatus.QUEUED)
    short = status.replace("_", " ").lower() if trouble else status
    return trouble is None and task.status == Status.ACTIVE, status, short, details, -1


def _trouble(task: Task) -> tuple[str | None, str | None]:
    """Why a task that has not ended makes no progress, and more about it."""
    if task.suspended_from is not None:
        return NiceStatus.OWNER_SUSPENDED, json.dumps(
            {
                "reason": "The account of the task's owner is suspended.",
                "next": "It goes on when the account is restored.",
            }
        )
    if task.held_at is not None:
        return NiceStatus.PAUSED_BY_ADMIN, json.dumps(
            {
                "reason": "Who manages an endpoint of the task has paused it.",
                "messages": [*dict.fromkeys([*task.held_by.values(), *task.held_messages])],
                "since": times.show(task.held_at),
                "advice": "It goes on when they let it. Ask them, or cancel it.",
            }
        )
    if task.paused_at is not None:
        return NiceStatus.PAUSED, json.dumps(
            {
                "reason": "The task was paused by its owner.",
                "since": times.show(task.paused_at),
                "advice": "Resume it, or cancel it.",
            }
        )
    if task.wait is not None:
        return NiceStatus.WAITING_FOR_TASK, json.dumps(task.wait.details())
    if (outage := task.outage) is not None:
        return outage.code, json.dumps(outage.details())
    return task.nice_status, task.nice_status_details


def below(root: str, path: str) -> str:
    """A path of a task, as it is shown: the wire path below what it was asked for as `root`, which
    is '' where relative paths begin."""
    if not path:
        return root
    text = names.to_text(path)
    return f"{root.rstrip('/')}/{text}" if root else text


def _subtasks(task: Task) -> tuple[int, int, int, int, int, int]:
    """Files and directories found, and one for the task itself: all; and of them those that
    succeeded, failed, were canceled, have expired, are pending."""
    total = task.files + task.directories + 1
    if task.type == "DELETE":  # what it has left out it has not counted
        total += task.skipped_errors
    # extras that an applied plan leaves alone are told, and were not found by it
    others = max(total - task.subtasks_failed - task.skipped_errors, 0)
    if task.status == Status.SUCCEEDED:
        succeeded = others
    elif task.type == "DELETE":
        # A delete counts what it has deleted, not what it has found.
        succeeded = min(task.files + task.directories, others)
    else:
        succeeded = min(task.files_transferred + task.files_skipped, others)
    rest = others - succeeded
    failed = task.subtasks_failed
    if task.status != Status.FAILED:
        return total, succeeded, failed, 0, 0, rest
    fatal = _fatal_code(task)
    if fatal == EventCode.CANCELED:
        return total, succeeded, failed, rest, 0, 0
    if fatal == EventCode.EXPIRED:
        return total, succeeded, failed, 0, rest, 0
    return total, succeeded, failed + rest, 0, 0, 0
